import { joinParts, type CommitPart } from '../core/commit.js';
import { KeyspanError, isKeyspanError } from '../core/errors.js';
import { isHsmId, type ClusterId, type HsmId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import { changeValue } from '../store/change.js';
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

  /**
   * One change of membership: it raises the epoch, and with it everything else happens or nothing.
   * A directory of an HSM that leaves is remembered until it is gone.
   */
  async changeMembership(change: {
    readonly join?: { readonly record: HsmRecord; readonly secret: CommitPart };
    readonly leave?: HsmId;
    /** one HSM is left: keys can be on no more than that */
    readonly alone?: boolean;
    /** what else changes with it */
    readonly also?: (record: ClusterRecord) => ClusterRecord;
  }): Promise<ClusterRecord> {
    const key = KEYSPACE.cluster(this.#id);
    for (let attempt = 0; attempt < LIMITS.commit_attempts_max; attempt += 1) {
      const entry = await this.#store.get(key);
      if (!entry) throw new KeyspanError('StoreCorrupt', `${key} is missing`);
      const before = decodeCluster(entry.value);
      const { join, leave, alone, also = (same) => same } = change;
      const subnets = {
        ...before.subnets,
        ...(join && { [join.record.az]: join.record.subnetId }),
      };
      const availability = alone ? 1 : before.availability;
      const founder = before.founder ?? join?.record.id ?? null;
      const epoch = before.epoch + 1;
      const record = also({ ...before, subnets, availability, founder, epoch });
      const cluster: CommitPart = {
        compares: [{ key, modRevision: entry.modRevision }],
        writes: [{ op: 'put', key, value: encodeCluster(record) }],
      };
      const parts = [cluster, ...(join ? this.#joining(join) : [])];
      if (leave) parts.push(this.#leaving(leave));
      if (await this.#tryCommit(joinParts(...parts))) return record;
    }
    throw new KeyspanError('StoreConflict');
  }

  #joining(join: { readonly record: HsmRecord; readonly secret: CommitPart }): CommitPart[] {
    const key = KEYSPACE.hsm(this.#id, join.record.id);
    const value = encodeHsm(join.record);
    const record: CommitPart = {
      compares: [{ key, modRevision: null }],
      writes: [{ op: 'put', key, value }],
    };
    return [record, join.secret];
  }

  #leaving(id: HsmId): CommitPart {
    return {
      compares: [],
      writes: [
        { op: 'delete', key: KEYSPACE.hsm(this.#id, id) },
        { op: 'delete', key: KEYSPACE.hsmSecret(this.#id, id) },
        { op: 'put', key: KEYSPACE.removedHsm(this.#id, id), value: Buffer.from(id) },
      ],
    };
  }

  /** HSMs that left and whose directories may still be there. */
  async removed(): Promise<HsmId[]> {
    const prefix = KEYSPACE.removedHsms(this.#id);
    const { entries } = await this.#store.range(prefix);
    return entries.map(({ key }) => key.slice(prefix.length)).filter(isHsmId);
  }

  /** The directory of an HSM that left is gone. */
  async forgetRemoved(id: HsmId): Promise<void> {
    const key = KEYSPACE.removedHsm(this.#id, id);
    await this.#store.commit({ compares: [], writes: [{ op: 'delete', key }] });
  }

  async #tryCommit(part: CommitPart): Promise<boolean> {
    try {
      await this.#store.commit(part);
      return true;
    } catch (error) {
      if (isKeyspanError(error, 'StoreConflict')) return false;
      throw error;
    }
  }

  async #change<T>(
    key: string,
    codec: { decode: (value: Uint8Array) => T; encode: (record: T) => Uint8Array },
    change: (record: T) => T,
  ): Promise<T> {
    let record: T | undefined;
    await changeValue(this.#store, key, (entry) => {
      if (!entry) throw new KeyspanError('StoreCorrupt', `${key} is missing`);
      record = change(codec.decode(entry.value));
      return codec.encode(record);
    });
    return record as T;
  }
}
