import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { list, object, oneOf, text } from '../protocol/form.js';
import { changeValue } from '../store/change.js';
import { KEYSPACE } from '../store/keyspace.js';
import type { Entry, Store } from '../store/store.js';
import { decodeValue, encodeValue } from '../store/value.js';

const VERSION = 1;
const tag = object({ key: text({ max: 128 }), value: text({ min: 0, max: 256 }) });
const schema = object({ v: oneOf(VERSION), tags: list(tag, { max: LIMITS.resource_tags_max }) });

export interface ResourceTag {
  readonly key: string;
  readonly value: string;
}

/** What users wrote on clusters and backups, one stored value for each resource. */
export class ResourceTags {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  /** In the order of their keys. */
  async of(resource: string): Promise<readonly ResourceTag[]> {
    return tagsIn(await this.#store.get(KEYSPACE.resourceTags(resource)));
  }

  /**
   * Overwrites tags that have the same keys.
   * @throws CloudHsmResourceLimitExceededException when there would be too many
   */
  async add(resource: string, tags: readonly ResourceTag[]): Promise<void> {
    const added = new Set(tags.map(({ key }) => key));
    await this.#change(resource, (present) => {
      const result = [...present.filter(({ key }) => !added.has(key)), ...tags];
      if (result.length <= LIMITS.resource_tags_max) return result;
      const sentence = `A resource has at most ${LIMITS.resource_tags_max} tags.`;
      throw new KeyspanError('CloudHsmResourceLimitExceededException', sentence);
    });
  }

  /** Keys that the resource does not have are passed over. */
  async remove(resource: string, keys: readonly string[]): Promise<void> {
    const removed = new Set(keys);
    await this.#change(resource, (present) => present.filter(({ key }) => !removed.has(key)));
  }

  async #change(
    resource: string,
    change: (tags: readonly ResourceTag[]) => readonly ResourceTag[],
  ): Promise<void> {
    await changeValue(this.#store, KEYSPACE.resourceTags(resource), (entry) => {
      const tags = change(tagsIn(entry)).toSorted((a, b) => (a.key < b.key ? -1 : 1));
      return encodeValue(VERSION, { tags });
    });
  }
}

const tagsIn = (entry: Entry | undefined): readonly ResourceTag[] =>
  entry ? decodeValue(entry.value, schema).tags : [];
