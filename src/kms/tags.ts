import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import type { KmsParams } from '../protocol/kms.js';

export interface Tag {
  readonly key: string;
  readonly value: string;
}

/** Checks the tags that a new key shall have. @throws TagException */
export function readTags(given: KmsParams<'CreateKey'>['Tags'] = []): Tag[] {
  if (given.length > LIMITS.kms_tags_max) throw refused('Too many tags');
  const tags = given.map(({ TagKey, TagValue }) => ({ key: TagKey, value: TagValue }));
  if (new Set(tags.map(({ key }) => key)).size < tags.length) throw refused('Duplicate tag keys');
  if (tags.some(({ key }) => key.toLowerCase().startsWith('aws:'))) {
    throw refused('Tags beginning with aws: are reserved');
  }
  return tags;
}

const refused = (sentence: string): KeyspanError => new KeyspanError('TagException', sentence);
