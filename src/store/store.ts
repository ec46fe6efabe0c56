import type { CommitPart } from '../core/commit.js';

/**
 * One stored fact. Revisions are the store's one counter: each commit that writes takes the
 * next number.
 */
export interface Entry {
  readonly key: string;
  /** shared with the store and its watches: not to be modified */
  readonly value: Uint8Array;
  /** the revision that made the key; a key that was deleted and put again begins anew */
  readonly createRevision: number;
  /** the revision that last wrote the key */
  readonly modRevision: number;
  /** the store session that the entry vanishes with */
  readonly lease?: string;
}

export interface RangeOptions {
  /** at most this many entries; never more than LIMITS.store_range_max, which is the default */
  readonly limit?: number;
  /** only keys that sort after this one (byte order of UTF-8) */
  readonly after?: string;
}

export interface Range {
  /** in the byte order of their keys */
  readonly entries: readonly Entry[];
  /** the store's revision at the time of reading */
  readonly revision: number;
  /** whether there are further entries behind the last one */
  readonly more: boolean;
}

/** What one commit did to the keys that a watch covers. */
export interface WatchBatch {
  readonly revision: number;
  /**
   * Empty when the commits up to `revision` touched none of these keys: it only tells how far the
   * watch has come, so that a reader can wait for a revision.
   */
  readonly events: readonly WatchEvent[];
}

export type WatchEvent =
  | { readonly type: 'put'; readonly key: string; readonly entry: Entry }
  | { readonly type: 'delete'; readonly key: string };

/**
 * Batches in the order of their revisions, each once, for one reader. Ends when disposed; fails
 * with StoreClosed when the store closes, and with StoreCompacted when its reader is so slow that
 * more than LIMITS.store_history_max batches wait for it.
 */
export interface Watch extends AsyncIterable<WatchBatch>, AsyncDisposable {}

/**
 * A lease: the entries put under it vanish when it ends. It is kept alive until it is disposed
 * or its store is lost.
 */
export interface StoreSession extends AsyncDisposable {
  readonly id: string;
  /** aborted when the session was lost */
  readonly lost: AbortSignal;
}

export interface StoreReader {
  get(key: string): Promise<Entry | undefined>;
  range(prefix: string, options?: RangeOptions): Promise<Range>;
  /**
   * Begins with the first revision after `afterRevision`. @throws StoreCompacted when that is
   * gone
   */
  watch(prefix: string, afterRevision: number): Promise<Watch>;
}

/** The one place of facts. etcd-shaped, so that etcd can stand behind it. */
export interface Store extends StoreReader, AsyncDisposable {
  /** random, made with the store: tokens remember it */
  readonly id: string;
  /**
   * Makes all writes or none; they are durable when it returns. No two writes may name one key. A
   * commit that changes nothing (no writes, or deletes of absent keys) takes no revision.
   * @returns the revision of the commit, or the present one when nothing changed
   * @throws StoreConflict when a compare does not hold, StoreTooLarge, StoreSessionLost,
   * StoreClosed, StoreFailed
   */
  commit(part: CommitPart): Promise<number>;
  /** @param ttlMs how long the session outlives a store client that went silent */
  session(ttlMs: number): Promise<StoreSession>;
  /** Forgets the history up to `revision`: watches from before it fail with StoreCompacted. */
  compact(revision: number): Promise<void>;
}
