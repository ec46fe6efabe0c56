import { pause } from '../core/deadline.js';
import { isKeyspanError, KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { SortedKeys } from './key-order.js';
import type { Entry, Range, StoreReader, Watch, WatchBatch } from './store.js';

/** One parsed entry of a snapshot. */
export interface SnapshotEntry<T> {
  readonly key: string;
  readonly value: T;
  readonly modRevision: number;
}

export interface SnapshotOptions {
  /**
   * Called with the keys that were put or deleted, after the snapshot shows it. Not called for
   * what `open` found. It must not throw.
   */
  readonly onChange?: (keys: readonly string[]) => void;
  /** Called with each entry before the snapshot shows it. It must not throw. */
  readonly onEntry?: ((entry: Entry) => void) | undefined;
}

/** An entry whose value could not be parsed keeps its place: reading it says why. */
type Parsed<T> =
  | { readonly value: T; readonly modRevision: number; readonly error: undefined }
  | { readonly value: undefined; readonly modRevision: number; readonly error: KeyspanError };

/**
 * An entry of the copy. Most of a large prefix are not read for a long time: each is parsed when it
 * first is.
 */
class Held<T> {
  readonly modRevision: number;
  /** undefined once it was parsed */
  #unread: Entry | undefined;
  #parsed: Parsed<T> | undefined;

  constructor(entry: Entry) {
    this.modRevision = entry.modRevision;
    this.#unread = entry;
  }

  read(decode: (entry: Entry) => T): Parsed<T> {
    this.#parsed ??= parse(this.#unread as Entry, decode);
    this.#unread = undefined;
    return this.#parsed;
  }
}

function parse<T>(entry: Entry, decode: (entry: Entry) => T): Parsed<T> {
  const { modRevision } = entry;
  try {
    return { value: decode(entry), modRevision, error: undefined };
  } catch (cause) {
    const error = isKeyspanError(cause)
      ? cause
      : new KeyspanError('StoreCorrupt', 'A stored value cannot be read.', { cause });
    return { value: undefined, modRevision, error };
  }
}

interface Waiter {
  readonly revision: number;
  readonly resolve: () => void;
  readonly reject: (error: KeyspanError) => void;
}

function toError(error: unknown): KeyspanError {
  if (isKeyspanError(error)) return error;
  return new KeyspanError('StoreFailed', 'The watch of a snapshot broke.', { cause: error });
}

/** What one reading of a prefix found. Its pages may stem from different revisions. */
class Image<T> {
  readonly keys = new SortedKeys();
  readonly entries = new Map<string, Held<T>>();
  /** everything up to here is in the image */
  revision = 0;
  /** the image mixes several revisions until `revision` has come as far as its last page */
  consistentFrom = 0;
}

/**
 * A parsed copy of all entries under one prefix, fed by a watch, for hot paths. Reading costs no
 * I/O. When the watch breaks every read throws until the prefix has been read again, since a copy
 * that may be old must not allow anything.
 */
export class Snapshot<T> implements AsyncDisposable {
  readonly #store: StoreReader;
  readonly #prefix: string;
  readonly #decode: (entry: Entry) => T;
  readonly #onChange: ((keys: readonly string[]) => void) | undefined;
  readonly #onEntry: ((entry: Entry) => void) | undefined;
  readonly #lost = new AbortController();
  readonly #disposed = new AbortController();
  #image = new Image<T>();
  #waiters: Waiter[] = [];
  /** why the copy cannot be read at the moment */
  #failure: KeyspanError | undefined = new KeyspanError('StoreCompacted', 'Not read yet.');
  #following: Promise<void> = Promise.resolve();

  private constructor(
    store: StoreReader,
    prefix: string,
    decode: (entry: Entry) => T,
    options: SnapshotOptions,
  ) {
    this.#store = store;
    this.#prefix = prefix;
    this.#decode = decode;
    this.#onChange = options.onChange;
    this.#onEntry = options.onEntry;
  }

  /**
   * Reads the prefix and follows it until disposed.
   * @throws StoreClosed, StoreFailed
   */
  static async open<T>(
    store: StoreReader,
    prefix: string,
    decode: (entry: Entry) => T,
    options: SnapshotOptions = {},
  ): Promise<Snapshot<T>> {
    const snapshot = new Snapshot(store, prefix, decode, options);
    const watch = await snapshot.#loadFirst();
    snapshot.#following = snapshot.#follow(watch);
    await snapshot.reached(snapshot.#image.consistentFrom);
    return snapshot;
  }

  /**
   * Aborted when the store is gone for good or the snapshot disposed; reads and `reached` then
   * throw its error.
   */
  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  /** the revision up to which the copy shows every change */
  get revision(): number {
    return this.#image.revision;
  }

  /** As `revision`: what is read now is good for it. @throws as `get` while broken */
  readRevision(): number {
    if (this.#failure) throw this.#failure;
    return this.#image.revision;
  }

  /** @throws StoreCorrupt when the value cannot be parsed; the watch's error while it is broken */
  get(key: string): Omit<SnapshotEntry<T>, 'key'> | undefined {
    if (this.#failure) throw this.#failure;
    const parsed = this.#image.entries.get(key)?.read(this.#decode);
    if (parsed?.error) throw parsed.error;
    return parsed;
  }

  /**
   * Entries in key order, under a longer prefix if one is given; `after` and `limit` select a
   * page.
   * @throws as `get`
   */
  entries(
    prefix: string = this.#prefix,
    options: { after?: string; limit?: number } = {},
  ): SnapshotEntry<T>[] {
    if (this.#failure) throw this.#failure;
    const { after, limit = Infinity } = options;
    const found: SnapshotEntry<T>[] = [];
    for (const key of this.#image.keys.select(prefix, { after, limit })) {
      const parsed = this.get(key);
      if (parsed) found.push({ key, value: parsed.value, modRevision: parsed.modRevision });
    }
    return found;
  }

  /**
   * Resolves when the copy shows every change up to `revision`: what a writer waits for before it
   * acknowledges.
   * @throws the store's error when it is gone for good
   */
  async reached(revision: number): Promise<void> {
    if (!this.#failure && this.#image.revision >= revision) return;
    if (this.#failure && this.#lost.signal.aborted) throw this.#failure;
    await new Promise<void>((resolve, reject) => {
      this.#waiters.push({ revision, resolve, reject });
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed.abort();
    this.#lose(new KeyspanError('StoreClosed', 'The snapshot is closed.'));
    await this.#following;
  }

  /** Reads the whole prefix and opens the watch that continues it. */
  async #load(): Promise<Watch> {
    const image = new Image<T>();
    const first = await this.#store.range(this.#prefix);
    image.revision = first.revision;
    const watch = await this.#store.watch(this.#prefix, first.revision);
    try {
      await this.#collect(image, first);
    } catch (error) {
      await watch[Symbol.asyncDispose]();
      throw error;
    }
    this.#image = image;
    this.#settle();
    return watch;
  }

  /** Fills the image with `first` and the pages behind it. */
  async #collect(image: Image<T>, first: Range): Promise<void> {
    for (let page = first; ;) {
      for (const entry of page.entries) {
        image.keys.add(entry.key);
        image.entries.set(entry.key, this.#hold(entry));
      }
      image.consistentFrom = page.revision;
      const last = page.entries.at(-1);
      if (!page.more || !last) return;
      page = await this.#store.range(this.#prefix, { after: last.key });
    }
  }

  /** A compaction may come between reading and watching. */
  async #loadFirst(): Promise<Watch> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#load();
      } catch (error) {
        const isForgotten = isKeyspanError(error, 'StoreCompacted');
        if (!isForgotten || attempt >= LIMITS.commit_attempts_max) throw error;
      }
    }
  }

  #hold(entry: Entry): Held<T> {
    this.#onEntry?.(entry);
    return new Held(entry);
  }

  async #follow(first: Watch): Promise<void> {
    let watch: Watch | undefined = first;
    for (;;) {
      try {
        watch ??= await this.#reload();
        await this.#consume(watch);
        return;
      } catch (error) {
        watch = undefined;
        if (this.#disposed.signal.aborted) return;
        this.#failure = toError(error);
        if (this.#failure.code === 'StoreClosed') {
          this.#lose(this.#failure);
          return;
        }
        const isForgotten = this.#failure.code === 'StoreCompacted';
        if (!isForgotten) await pause(LIMITS.store_retry_ms, this.#disposed.signal);
      }
    }
  }

  async #consume(watch: Watch): Promise<void> {
    const end = (): void => void watch[Symbol.asyncDispose]();
    if (this.#disposed.signal.aborted) end();
    this.#disposed.signal.addEventListener('abort', end, { once: true });
    try {
      for await (const batch of watch) this.#apply(batch);
    } finally {
      this.#disposed.signal.removeEventListener('abort', end);
    }
  }

  async #reload(): Promise<Watch> {
    const before = this.#image.entries;
    const watch = await this.#load();
    const after = this.#image.entries;
    const keys = [...new Set([...before.keys(), ...after.keys()])];
    this.#onChange?.(
      keys.filter((key) => before.get(key)?.modRevision !== after.get(key)?.modRevision),
    );
    return watch;
  }

  #apply(batch: WatchBatch): void {
    const { entries, keys } = this.#image;
    const changed: string[] = [];
    for (const event of batch.events) {
      // a later page of the first reading may already show a later state of this key
      const held = entries.get(event.key);
      if (held && held.modRevision >= batch.revision) continue;
      changed.push(event.key);
      if (event.type === 'put') {
        if (!held) keys.add(event.key);
        entries.set(event.key, this.#hold(event.entry));
      } else if (held) {
        keys.delete(event.key);
        entries.delete(event.key);
      }
    }
    this.#image.revision = batch.revision;
    this.#settle();
    if (changed.length > 0) this.#onChange?.(changed);
  }

  /** Lets reads and those who wait see the revision that was reached. */
  #settle(): void {
    const { revision, consistentFrom } = this.#image;
    if (this.#lost.signal.aborted || revision < consistentFrom) return;
    this.#failure = undefined;
    if (this.#waiters.length === 0) return;
    const ready = this.#waiters.filter((waiter) => waiter.revision <= revision);
    if (ready.length === 0) return;
    this.#waiters = this.#waiters.filter((waiter) => waiter.revision > revision);
    for (const waiter of ready) waiter.resolve();
  }

  #lose(error: KeyspanError): void {
    this.#failure = error;
    this.#lost.abort(error);
    for (const waiter of this.#waiters) waiter.reject(error);
    this.#waiters = [];
  }
}
