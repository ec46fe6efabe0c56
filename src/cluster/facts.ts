import { KeyspanError, isKeyspanError } from '../core/errors.js';
import type { ClusterId, HsmId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import { KEYSPACE } from '../store/keyspace.js';
import type { Store } from '../store/store.js';
import {
  decodeCluster,
  decodeHsm,
  encodeCluster,
  encodeHsm,
  type ClusterRecord,
  type HsmRecord,
} from './cluster.js';

/** The ids of the clusters in the store. */
export async function listClusters(store: Store): Promise<ClusterId[]> {
  const { entries } = await store.range(KEYSPACE.clusters);
  return entries.map(({ value }) => decodeCluster(value).id);
}

/**
 * Reads and changes the records of one cluster and its HSMs: each change is one conditional
 * commit.
 */
export class ClusterFacts {
  readonly #store: Store;
  readonly #id: ClusterId;

  constructor(store: Store, id: ClusterId) {
    this.#store = store;
    this.#id = id;
  }

  async cluster(): Promise<ClusterRecord> {
    const entry = await this.#store.get(KEYSPACE.cluster(this.#id));
    if (!entry) throw new KeyspanError('StoreCorrupt', `cluster ${this.#id} is missing`);
    return decodeCluster(entry.value);
  }

  async hsms(): Promise<HsmRecord[]> {
    const { entries } = await this.#store.range(KEYSPACE.hsms(this.#id));
    const hsms = entries.map(({ value }) => decodeHsm(value));
    return hsms.sort((a, b) => a.eniIp.localeCompare(b.eniIp) || a.eniPort - b.eniPort);
  }

  changeCluster(change: (record: ClusterRecord) => ClusterRecord): Promise<ClusterRecord> {
    const codec = { decode: decodeCluster, encode: encodeCluster };
    return this.#change(KEYSPACE.cluster(this.#id), codec, change);
  }

  changeHsm(id: HsmId, change: (record: HsmRecord) => HsmRecord): Promise<HsmRecord> {
    const codec = { decode: decodeHsm, encode: encodeHsm };
    return this.#change(KEYSPACE.hsm(this.#id, id), codec, change);
  }

  async #change<T>(
    key: string,
    codec: { decode: (value: Uint8Array) => T; encode: (record: T) => Uint8Array },
    change: (record: T) => T,
  ): Promise<T> {
    for (let attempt = 0; attempt < LIMITS.commit_attempts_max; attempt += 1) {
      const entry = await this.#store.get(key);
      if (!entry) throw new KeyspanError('StoreCorrupt', `${key} is missing`);
      const record = change(codec.decode(entry.value));
      try {
        await this.#store.commit({
          compares: [{ key, modRevision: entry.modRevision }],
          writes: [{ op: 'put', key, value: codec.encode(record) }],
        });
        return record;
      } catch (error) {
        if (!isKeyspanError(error, 'StoreConflict')) throw error;
      }
    }
    throw new KeyspanError('StoreConflict');
  }
}
