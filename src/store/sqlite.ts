import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { monotonic } from '../core/clock.js';
import type { CommitPart, Write } from '../core/commit.js';
import { entryPath } from '../core/entry.js';
import { KeyspanError } from '../core/errors.js';
import { checkKey, checkPart, checkPrefix } from './conditional-commit.js';
import { LeaseTable } from './lease-table.js';
import type { Backlog } from './sqlite-database.js';
import type {
  WorkerAnswer,
  WorkerFailure,
  WorkerMessage,
  WorkerOperation,
  WorkerRequest,
} from './sqlite-worker.js';
import type { Entry, Range, RangeOptions, Store, StoreSession, Watch } from './store.js';
import { WatchHub } from './watch-hub.js';

interface Waiter {
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: KeyspanError) => void;
}

const toError = (failure: WorkerFailure): KeyspanError =>
  new KeyspanError(failure.code, failure.message);

/** Sending a view sends all the memory behind it, which may be a whole pool. */
function ownValue(write: Write): Write {
  if (write.op === 'delete' || write.value.byteLength === write.value.buffer.byteLength) {
    return write;
  }
  return { ...write, value: new Uint8Array(write.value) };
}

function startWorker(directory: string): Worker {
  const path = entryPath(import.meta.url, '../store/sqlite-worker.cjs');
  return new Worker(path, { workerData: { directory }, execArgv: [], name: 'store' });
}

async function firstMessage(worker: Worker): Promise<WorkerMessage> {
  try {
    const [message] = (await once(worker, 'message')) as [WorkerMessage];
    return message;
  } catch (cause) {
    throw new KeyspanError('StoreFailed', "The store's thread could not start.", { cause });
  }
}

/**
 * The store of one machine: one SQLite file with one owner. A worker thread does the work; commits
 * that arrive while it makes one transaction are made together in the next.
 */
export class SqliteStore implements Store {
  readonly id: string;
  readonly #worker: Worker;
  readonly #hub = new WatchHub();
  readonly #leases: LeaseTable;
  readonly #waiting = new Map<number, Waiter>();
  #requests = 0;
  #closed: KeyspanError | undefined;
  #closing: Promise<void> | undefined;

  private constructor(id: string, worker: Worker, now: () => number) {
    this.id = id;
    this.#worker = worker;
    this.#leases = new LeaseTable({
      now,
      deleteEntries: (lease) => this.#ask({ op: 'deleteLeased', lease }),
    });
    worker.on('message', (message: WorkerMessage) => this.#receive(message));
    worker.on('error', (cause) => {
      this.#fail(new KeyspanError('StoreFailed', `The store stopped: ${cause.message}`, { cause }));
    });
    worker.on('exit', () => this.#fail(new KeyspanError('StoreFailed', 'The store stopped.')));
  }

  /**
   * Opens the store in `directory` (0700) or makes it.
   * @throws StoreInUse when another process owns it, StoreVersion, StoreCorrupt, StoreFailed
   */
  static async open(directory: string, options: { now?: () => number } = {}): Promise<SqliteStore> {
    const worker = startWorker(directory);
    const message = await firstMessage(worker);
    if (message.type === 'opened') {
      return new SqliteStore(message.storeId, worker, options.now ?? monotonic);
    }
    await worker.terminate();
    throw message.type === 'refused' ? toError(message.failure) : new KeyspanError('StoreFailed');
  }

  async get(key: string): Promise<Entry | undefined> {
    checkKey(key);
    return (await this.#ask({ op: 'get', key })) as Entry | undefined;
  }

  async range(prefix: string, options: RangeOptions = {}): Promise<Range> {
    checkPrefix(prefix);
    return (await this.#ask({ op: 'range', prefix, options })) as Range;
  }

  async commit(part: CommitPart): Promise<number> {
    this.#assertOpen();
    checkPart(part);
    this.#leases.check(part);
    const owned = { compares: part.compares, writes: part.writes.map(ownValue) };
    return (await this.#ask({ op: 'commit', part: owned })) as number;
  }

  async watch(prefix: string, afterRevision: number): Promise<Watch> {
    this.#assertOpen();
    checkPrefix(prefix);
    // opened first: what is committed while the backlog is read waits behind it
    const watch = this.#hub.open(prefix, afterRevision);
    try {
      const backlog = await this.#ask({ op: 'backlog', prefix, afterRevision });
      const { batches, revision } = backlog as Backlog;
      watch.begin(batches, revision);
      return watch;
    } catch (error) {
      await watch[Symbol.asyncDispose]();
      throw error;
    }
  }

  async session(ttlMs: number): Promise<StoreSession> {
    this.#assertOpen();
    return this.#leases.open(ttlMs);
  }

  async compact(revision: number): Promise<void> {
    await this.#ask({ op: 'compact', revision });
  }

  /** What was asked before is still done. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    if (this.#closed) return;
    const exit = once(this.#worker, 'exit');
    this.#send('close');
    this.#closed = new KeyspanError('StoreClosed');
    this.#leases.close();
    await exit;
  }

  #assertOpen(): void {
    if (this.#closed) throw new KeyspanError(this.#closed.code, this.#closed.message);
  }

  async #ask(operation: WorkerOperation): Promise<unknown> {
    this.#assertOpen();
    this.#requests += 1;
    const request: WorkerRequest = { id: this.#requests, operation };
    return new Promise((resolve, reject) => {
      this.#waiting.set(request.id, { resolve, reject });
      this.#send(request);
    });
  }

  #send(message: WorkerRequest | 'close'): void {
    this.#worker.postMessage(message, []);
  }

  #receive(message: WorkerMessage): void {
    if (message.type !== 'done') return;
    for (const batch of message.batches) this.#hub.publish(batch);
    for (const answer of message.answers) this.#settle(answer);
  }

  #settle(answer: WorkerAnswer): void {
    const waiter = this.#waiting.get(answer.id);
    this.#waiting.delete(answer.id);
    if ('failure' in answer) waiter?.reject(toError(answer.failure));
    else waiter?.resolve(answer.result);
  }

  /** Nothing more comes from the worker. */
  #fail(error: KeyspanError): void {
    this.#closed ??= error;
    for (const waiter of this.#waiting.values()) waiter.reject(this.#closed);
    this.#waiting.clear();
    this.#hub.close(this.#closed);
    this.#leases.close();
  }
}
