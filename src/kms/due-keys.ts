import type { CommitPart, Write } from '../core/commit.js';
import { isKmsKeyId, type KmsKeyId } from '../core/ids.js';
import { object, oneOf } from '../protocol/form.js';
import { KEYSPACE } from '../store/keyspace.js';
import { Snapshot } from '../store/snapshot.js';
import type { Store } from '../store/store.js';
import { decodeValue, encodeValue } from '../store/value.js';
import { civilMs, encodeKey, type KeyFact, type KeyRecord } from './records.js';

/**
 * What is to be done with keys by itself, and when: an index in the store beside the keys' records,
 * written with them in one commit. So nobody has to read all keys to find the one whose day comes,
 * not even at a start.
 */
const VERSION = 1;
const dueRecord = object({ v: oneOf(VERSION) });

/** A key that something is to be done with. */
export interface DueKey {
  /** where the index names it */
  readonly path: string;
  /** civil time, in milliseconds */
  readonly atMs: number;
  readonly account: string;
  readonly region: string;
  readonly id: KmsKeyId;
}

type Timed = Pick<KeyRecord, 'id' | 'account' | 'region' | 'state' | 'deletionDate' | 'rotation'>;

/** When a key is to be removed or rotated, in milliseconds; a disabled one is not rotated. */
export function dueAtMs({ state, deletionDate, rotation }: Timed): number | undefined {
  if (state === 'PendingDeletion') return civilMs(deletionDate ?? 0);
  return state === 'Enabled' && rotation ? civilMs(rotation.next) : undefined;
}

/** Where the index names a key, if it does. */
export function duePath(key: Timed): string | undefined {
  const atMs = dueAtMs(key);
  if (atMs === undefined) return undefined;
  return KEYSPACE.kmsDueKey(atMs, key.account, key.region, key.id);
}

const put = (path: string): Write => ({ op: 'put', key: path, value: encodeValue(VERSION, {}) });

/** The part of a commit that makes a key. */
export function addPart(key: KeyRecord): CommitPart {
  const path = KEYSPACE.kmsKey(key.account, key.region, key.id);
  const due = duePath(key);
  return {
    compares: [{ key: path, modRevision: null }],
    writes: [{ op: 'put', key: path, value: encodeKey(key) }, ...(due ? [put(due)] : [])],
  };
}

/** The part of a commit that changes a key, if it still is what was read. */
export function changePart(from: KeyFact, to: KeyRecord): CommitPart {
  const [before, after] = [duePath(from), duePath(to)];
  const writes: Write[] = [{ op: 'put', key: from.path, value: encodeKey(to) }];
  if (before !== after) {
    if (before) writes.push({ op: 'delete', key: before });
    if (after) writes.push(put(after));
  }
  return { compares: [{ key: from.path, modRevision: from.modRevision }], writes };
}

/** The part of a commit that ends a key, if it still is what was read. */
export function endPart(key: KeyFact): CommitPart {
  const due = duePath(key);
  return {
    compares: [{ key: key.path, modRevision: key.modRevision }],
    writes: [key.path, ...(due ? [due] : [])].map((path) => ({ op: 'delete', key: path })),
  };
}

/** The index, followed. */
export class DueKeys implements AsyncDisposable {
  readonly #entries: Snapshot<unknown>;

  private constructor(entries: Snapshot<unknown>) {
    this.#entries = entries;
  }

  /** @param changed is called when the index changed. @throws StoreClosed, StoreFailed */
  static async open(store: Store, changed: () => void): Promise<DueKeys> {
    const decode = ({ value }: { value: Uint8Array }): unknown => decodeValue(value, dueRecord);
    return new DueKeys(await Snapshot.open(store, KEYSPACE.kmsDue, decode, { onChange: changed }));
  }

  /** The key that comes due first, or first behind another. @throws StoreCorrupt */
  next(after?: DueKey): DueKey | undefined {
    const page = after ? { limit: 1, after: after.path } : { limit: 1 };
    const [entry] = this.#entries.entries(KEYSPACE.kmsDue, page);
    return entry && parse(entry.key);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#entries[Symbol.asyncDispose]();
  }
}

function parse(path: string): DueKey | undefined {
  const [, at, account = '', region = '', id = ''] = path.split('/');
  return isKmsKeyId(id) ? { path, atMs: Number(at), account, region, id } : undefined;
}
