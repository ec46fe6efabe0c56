import { randomBytes } from 'node:crypto';
import { monotonic } from '../core/clock.js';
import type { CommitPart, Write } from '../core/commit.js';
import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { applyPart, checkKey, checkPart, checkPrefix } from './conditional-commit.js';
import { pageSize, SortedKeys } from './key-order.js';
import { LeaseTable } from './lease-table.js';
import type {
  Entry,
  Range,
  RangeOptions,
  Store,
  StoreSession,
  Watch,
  WatchBatch,
  WatchEvent,
} from './store.js';
import { WatchHub } from './watch-hub.js';

/** The present entries by key and in order. */
class MemoryTable {
  readonly #entries = new Map<string, Entry>();
  readonly #keys = new SortedKeys();

  find(key: string): Entry | undefined {
    return this.#entries.get(key);
  }

  put(entry: Entry): void {
    if (!this.#entries.has(entry.key)) this.#keys.add(entry.key);
    this.#entries.set(entry.key, entry);
  }

  delete(key: string): void {
    this.#entries.delete(key);
    this.#keys.delete(key);
  }

  select(prefix: string, options: { after?: string | undefined; limit: number }): Entry[] {
    const keys = this.#keys.select(prefix, options);
    return keys.flatMap((key) => this.#entries.get(key) ?? []);
  }

  underLease(lease: string): Entry[] {
    return [...this.#entries.values()].filter((entry) => entry.lease === lease);
  }
}

/** The caller may reuse its bytes after a commit. */
function ownValue(write: Write): Write {
  return write.op === 'put' ? { ...write, value: new Uint8Array(write.value) } : write;
}

/** A store that lives as long as its process: for tests and as the model of the others. */
export class MemoryStore implements Store {
  readonly id = randomBytes(16).toString('hex');
  readonly #table = new MemoryTable();
  readonly #hub = new WatchHub();
  readonly #leases: LeaseTable;
  /** the batches of the revisions #forgotten + 1 to #revision, without gaps */
  readonly #history: WatchBatch[] = [];
  #revision = 0;
  #forgotten = 0;
  #closed = false;

  constructor(options: { now?: () => number } = {}) {
    this.#leases = new LeaseTable({
      now: options.now ?? monotonic,
      deleteEntries: (lease) => this.#deleteLeased(lease),
    });
  }

  static open(options: { now?: () => number } = {}): Promise<MemoryStore> {
    return Promise.resolve(new MemoryStore(options));
  }

  async get(key: string): Promise<Entry | undefined> {
    this.#assertOpen();
    checkKey(key);
    return this.#table.find(key);
  }

  async range(prefix: string, options: RangeOptions = {}): Promise<Range> {
    this.#assertOpen();
    checkPrefix(prefix);
    const limit = pageSize(options);
    const found = this.#table.select(prefix, { after: options.after, limit: limit + 1 });
    const more = found.length > limit;
    return { entries: found.slice(0, limit), revision: this.#revision, more };
  }

  async commit(part: CommitPart): Promise<number> {
    this.#assertOpen();
    checkPart(part);
    this.#leases.check(part);
    const owned = { compares: part.compares, writes: part.writes.map(ownValue) };
    this.#record(applyPart(this.#table, owned, this.#revision + 1));
    return this.#revision;
  }

  async watch(prefix: string, afterRevision: number): Promise<Watch> {
    this.#assertOpen();
    checkPrefix(prefix);
    if (afterRevision < this.#forgotten) throw new KeyspanError('StoreCompacted');
    const watch = this.#hub.open(prefix, afterRevision);
    watch.begin(this.#history.slice(afterRevision - this.#forgotten), this.#revision);
    return watch;
  }

  async session(ttlMs: number): Promise<StoreSession> {
    this.#assertOpen();
    return this.#leases.open(ttlMs);
  }

  async compact(revision: number): Promise<void> {
    this.#assertOpen();
    this.#forget(Math.min(revision, this.#revision));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#leases.close();
    this.#hub.close(new KeyspanError('StoreClosed'));
  }

  #assertOpen(): void {
    if (this.#closed) throw new KeyspanError('StoreClosed');
  }

  #record(events: readonly WatchEvent[]): void {
    if (events.length === 0) return;
    this.#revision += 1;
    const batch = { revision: this.#revision, events };
    this.#history.push(batch);
    this.#forget(this.#revision - LIMITS.store_history_max);
    this.#hub.publish(batch);
  }

  #forget(revision: number): void {
    if (revision <= this.#forgotten) return;
    this.#history.splice(0, revision - this.#forgotten);
    this.#forgotten = revision;
  }

  async #deleteLeased(lease: string): Promise<void> {
    this.#assertOpen();
    const keys = this.#table.underLease(lease).map((entry) => entry.key);
    for (const key of keys) this.#table.delete(key);
    this.#record(keys.map((key) => ({ type: 'delete', key })));
  }
}
