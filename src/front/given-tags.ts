import type { ResourceTag } from '../cluster/resource-tags.js';
import { KeyspanError } from '../core/errors.js';
import type { CloudHsmParams } from '../protocol/cloudhsm.js';

/** The tags of a request. @throws CloudHsmTagException */
export function readTags(given: CloudHsmParams<'TagResource'>['TagList']): ResourceTag[] {
  const tags = given.map(({ Key: key, Value: value }) => ({ key, value }));
  const refused = (sentence: string): KeyspanError =>
    new KeyspanError('CloudHsmTagException', sentence);
  if (new Set(tags.map(({ key }) => key)).size < tags.length) {
    throw refused('A tag key is given twice.');
  }
  if (tags.some(({ key }) => key.toLowerCase().startsWith('aws:'))) {
    throw refused('Tag keys that begin with aws: are reserved.');
  }
  return tags;
}
