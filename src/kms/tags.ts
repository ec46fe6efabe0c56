import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import type { KmsParams } from '../protocol/kms.js';
import type { AccessDetails } from './access-context.js';
import { authorizeKey } from './authorize.js';
import { requireState } from './key.js';
import { changeKey } from './key-change.js';
import { findOwnKey } from './key-lookup.js';
import { pageMembers, readMarker } from './pages.js';
import type { KeyFact, Tag } from './records.js';
import type { Answer, KmsParts, KmsRequest } from './request.js';

const LIST_LIMIT = 50;

/** Checks tags that a key shall have. @throws TagException */
export function readTags(given: KmsParams<'CreateKey'>['Tags'] = []): Tag[] {
  if (given.length > LIMITS.kms_tags_max) throw refused('Too many tags');
  const tags = requestTags(given);
  if (new Set(tags.map(({ key }) => key)).size < tags.length) throw refused('Duplicate tag keys');
  refuseReserved(tags.map(({ key }) => key));
  return tags;
}

/** Tags of a request as they are given, unchecked. */
export const requestTags = (given: KmsParams<'CreateKey'>['Tags'] = []): Tag[] =>
  given.map(({ TagKey, TagValue }) => ({ key: TagKey, value: TagValue }));

function refuseReserved(keys: readonly string[]): void {
  if (keys.some((key) => key.toLowerCase().startsWith('aws:'))) {
    throw refused('Tags beginning with aws: are reserved');
  }
}

function findTagged(
  kms: KmsParts,
  request: KmsRequest<'TagResource' | 'UntagResource'>,
  details: AccessDetails,
): KeyFact {
  const key = findOwnKey(kms.facts, request, request.params.KeyId);
  authorizeKey(kms, request, key, details);
  requireState(key, 'attach');
  return key;
}

/** A tag whose key is there already gets the new value. */
export async function tagResource(
  kms: KmsParts,
  request: KmsRequest<'TagResource'>,
): Promise<Answer> {
  const key = findTagged(kms, request, { requestTags: requestTags(request.params.Tags) });
  const given = readTags(request.params.Tags);
  const named = new Set(given.map((tag) => tag.key));
  const tags = [...key.tags.filter((tag) => !named.has(tag.key)), ...given];
  if (tags.length > LIMITS.kms_tags_max) throw refused('Too many tags');
  await changeKey(kms, request, key, { tags });
  return {};
}

/** Keys of tags that are not there are passed over, as at AWS. */
export async function untagResource(
  kms: KmsParts,
  request: KmsRequest<'UntagResource'>,
): Promise<Answer> {
  const { TagKeys } = request.params;
  const key = findTagged(kms, request, { keys: () => [['aws:TagKeys', TagKeys]] });
  const named = new Set(TagKeys);
  refuseReserved([...named]);
  const tags = key.tags.filter((tag) => !named.has(tag.key));
  if (tags.length < key.tags.length) await changeKey(kms, request, key, { tags });
  return {};
}

/** In the order of their keys, so that a marker stays good when tags come and go. */
export async function listResourceTags(
  kms: KmsParts,
  request: KmsRequest<'ListResourceTags'>,
): Promise<Answer> {
  const { KeyId, Limit = LIST_LIMIT, Marker } = request.params;
  const key = findOwnKey(kms.facts, request, KeyId);
  authorizeKey(kms, request, key);
  const after = readMarker(Marker);
  const found = key.tags
    .filter((tag) => after === undefined || tag.key > after)
    .sort((a, b) => (a.key < b.key ? -1 : 1));
  const { items, members } = pageMembers(found, Limit, (tag) => tag.key);
  return { Tags: items.map((tag) => ({ TagKey: tag.key, TagValue: tag.value })), ...members };
}

const refused = (sentence: string): KeyspanError => new KeyspanError('TagException', sentence);
