import { KeyspanError } from '../core/errors.js';
import type { CloudHsmAnswer, CloudHsmParams } from '../protocol/cloudhsm.js';
import type { AwsCaller } from './aws-json.js';
import { ownBackups } from './cloudhsm-backups.js';
import { ownClusters, type CloudHsmParts } from './cloudhsm-clusters.js';
import { readTags } from './given-tags.js';
import { formatToken, readToken } from './next-token.js';

const PER_PAGE = 100;

/** The tags of a resource in the order of their keys. @throws as `requireResource` */
export async function listTags(
  parts: CloudHsmParts,
  params: CloudHsmParams<'ListTags'>,
  caller: AwsCaller,
): Promise<CloudHsmAnswer<'ListTags'>> {
  requireResource(parts, params.ResourceId, caller);
  // a key may be longer than a token may be: a token says how many were shown
  const first = positionIn(readToken(params.NextToken));
  const end = first + (params.MaxResults ?? PER_PAGE);
  const tags = await parts.tags.of(params.ResourceId);
  const TagList = tags.slice(first, end).map(({ key: Key, value: Value }) => ({ Key, Value }));
  return end < tags.length ? { TagList, NextToken: formatToken(String(end)) } : { TagList };
}

/**
 * @throws CloudHsmTagException, CloudHsmResourceLimitExceededException, and as
 * `requireResource`
 */
export async function tagResource(
  parts: CloudHsmParts,
  params: CloudHsmParams<'TagResource'>,
  caller: AwsCaller,
): Promise<CloudHsmAnswer<'TagResource'>> {
  const tags = readTags(params.TagList);
  requireResource(parts, params.ResourceId, caller);
  await parts.tags.add(params.ResourceId, tags);
  return {};
}

/** @throws as `requireResource` */
export async function untagResource(
  parts: CloudHsmParts,
  params: CloudHsmParams<'UntagResource'>,
  caller: AwsCaller,
): Promise<CloudHsmAnswer<'UntagResource'>> {
  requireResource(parts, params.ResourceId, caller);
  await parts.tags.remove(params.ResourceId, params.TagKeyList);
  return {};
}

/** @throws CloudHsmResourceNotFoundException, also for what belongs to others */
function requireResource(parts: CloudHsmParts, id: string, caller: AwsCaller): void {
  if (ownClusters(parts, caller).some(({ record }) => record.id === id)) return;
  if (ownBackups(parts, caller).some((record) => record.id === id)) return;
  const sentence = `The resource ${id} could not be found.`;
  throw new KeyspanError('CloudHsmResourceNotFoundException', sentence);
}

function positionIn(token: string | undefined): number {
  if (token === undefined) return 0;
  if (/^\d{1,4}$/.test(token)) return Number(token);
  throw new KeyspanError('CloudHsmInvalidRequestException', 'The NextToken is not valid.');
}
