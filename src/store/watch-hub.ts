import { assert } from '../core/assert.js';
import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import type { Watch, WatchBatch } from './store.js';

const ENDED: IteratorResult<WatchBatch, undefined> = { done: true, value: undefined };

interface Reader {
  readonly resolve: (result: IteratorResult<WatchBatch, undefined>) => void;
  readonly reject: (error: KeyspanError) => void;
}

/** The part of a batch that lies under `prefix`; perhaps empty. */
export function underPrefix(batch: WatchBatch, prefix: string): WatchBatch {
  const events = batch.events.filter((event) => event.key.startsWith(prefix));
  return events.length === batch.events.length ? batch : { revision: batch.revision, events };
}

/** One watch: a bounded queue of batches between the store and one reader. */
class QueuedWatch implements Watch {
  readonly #prefix: string;
  readonly #onEnd: (watch: QueuedWatch) => void;
  #queue: WatchBatch[] = [];
  #reader: Reader | undefined;
  /** false until the backlog is known: what is published before that waits behind it */
  #began = false;
  /** the newest revision that was queued; only later ones are */
  #revision: number;
  #failure: KeyspanError | undefined;
  #ended = false;

  constructor(prefix: string, afterRevision: number, onEnd: (watch: QueuedWatch) => void) {
    this.#prefix = prefix;
    this.#revision = afterRevision;
    this.#onEnd = onEnd;
  }

  /** Puts what happened before the watch was opened, up to `revision`, in front of the rest. */
  begin(backlog: readonly WatchBatch[], revision: number): void {
    const published = this.#queue;
    this.#queue = [];
    this.#began = true;
    for (const batch of backlog) this.publish(batch);
    this.publish({ revision, events: [] });
    for (const batch of published) this.publish(batch);
  }

  publish(batch: WatchBatch): void {
    if (this.#ended || this.#failure) return;
    if (!this.#began) {
      this.#queue.push(batch);
      return;
    }
    if (batch.revision <= this.#revision) return;
    this.#revision = batch.revision;
    this.#enqueue(underPrefix(batch, this.#prefix));
  }

  #enqueue(batch: WatchBatch): void {
    if (this.#reader) {
      const reader = this.#reader;
      this.#reader = undefined;
      reader.resolve({ done: false, value: batch });
      return;
    }
    // mere progress is told once: a reader that sleeps over an idle prefix costs nothing
    if (batch.events.length === 0 && this.#queue.at(-1)?.events.length === 0) this.#queue.pop();
    this.#queue.push(batch);
    if (this.#queue.length <= LIMITS.store_history_max) return;
    this.fail(new KeyspanError('StoreCompacted', 'The reader of a watch was too slow.'));
  }

  fail(error: KeyspanError): void {
    if (this.#ended || this.#failure) return;
    this.#failure = error;
    this.#queue = [];
    this.#reader?.reject(error);
    this.#reader = undefined;
    this.#onEnd(this);
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#queue = [];
    this.#reader?.resolve(ENDED);
    this.#reader = undefined;
    this.#onEnd(this);
  }

  #next(): Promise<IteratorResult<WatchBatch, undefined>> {
    if (this.#ended) return Promise.resolve(ENDED);
    if (this.#failure) return Promise.reject(this.#failure);
    const batch = this.#queue.shift();
    if (batch) return Promise.resolve({ done: false, value: batch });
    assert(!this.#reader, 'a watch has one reader');
    return new Promise((resolve, reject) => {
      this.#reader = { resolve, reject };
    });
  }

  [Symbol.asyncIterator](): AsyncIterator<WatchBatch, undefined> {
    return {
      next: () => this.#next(),
      return: () => {
        this.#end();
        return Promise.resolve(ENDED);
      },
    };
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#end();
    return Promise.resolve();
  }
}

/** Hands each commit, in order, to the watches of one store. */
export class WatchHub {
  readonly #watches = new Set<QueuedWatch>();

  /** What is published from now on is kept for this watch until its backlog is known. */
  open(prefix: string, afterRevision: number): QueuedWatch {
    const watch = new QueuedWatch(prefix, afterRevision, (ended) => this.#watches.delete(ended));
    this.#watches.add(watch);
    return watch;
  }

  publish(batch: WatchBatch): void {
    for (const watch of this.#watches) watch.publish(batch);
  }

  /** Every watch fails with `error`. */
  close(error: KeyspanError): void {
    for (const watch of this.#watches) watch.fail(error);
  }
}
