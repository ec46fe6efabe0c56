import { isMainThread, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { assert } from '../core/assert.js';
import type { CommitPart } from '../core/commit.js';
import { isKeyspanError, type ErrorCode } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { SqliteDatabase } from './sqlite-database.js';
import type { RangeOptions, WatchBatch } from './store.js';

/** What the store asks its worker thread. */
export type WorkerOperation =
  | { readonly op: 'get'; readonly key: string }
  | { readonly op: 'range'; readonly prefix: string; readonly options: RangeOptions }
  | { readonly op: 'commit'; readonly part: CommitPart }
  | { readonly op: 'deleteLeased'; readonly lease: string }
  | { readonly op: 'backlog'; readonly prefix: string; readonly afterRevision: number }
  | { readonly op: 'compact'; readonly revision: number };

export interface WorkerRequest {
  readonly id: number;
  readonly operation: WorkerOperation;
}

export interface WorkerFailure {
  readonly code: ErrorCode;
  readonly message: string;
}

export type WorkerAnswer =
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly failure: WorkerFailure };

/** What the worker tells the store. */
export type WorkerMessage =
  | { readonly type: 'opened'; readonly storeId: string }
  | { readonly type: 'refused'; readonly failure: WorkerFailure }
  /** one transaction, now durable: its commits in order, then the answers */
  | {
      readonly type: 'done';
      readonly batches: readonly WatchBatch[];
      readonly answers: readonly WorkerAnswer[];
    }
  | { readonly type: 'closed' };

function toFailure(error: unknown): WorkerFailure {
  if (isKeyspanError(error)) return { code: error.code, message: error.message };
  const reason = error instanceof Error ? error.message : String(error);
  return { code: 'StoreFailed', message: `The store could not use its files: ${reason}.` };
}

/** A full disk undoes one transaction; after any other error the file cannot be relied on. */
const isRecoverable = (error: unknown): boolean =>
  (error as { code?: unknown }).code === 'SQLITE_FULL';

function perform(db: SqliteDatabase, operation: WorkerOperation, batches: WatchBatch[]): unknown {
  const published = (batch: WatchBatch | undefined): number => {
    if (batch) batches.push(batch);
    return db.revision;
  };
  switch (operation.op) {
    case 'get':
      return db.get(operation.key);
    case 'range':
      return db.range(operation.prefix, operation.options);
    case 'commit':
      return published(db.commit(operation.part));
    case 'deleteLeased':
      return published(db.deleteLeased(operation.lease));
    case 'backlog':
      return db.backlog(operation.prefix, operation.afterRevision);
    case 'compact':
      return db.compact(operation.revision);
  }
}

function answer(db: SqliteDatabase, request: WorkerRequest, batches: WatchBatch[]): WorkerAnswer {
  try {
    return { id: request.id, result: perform(db, request.operation, batches) };
  } catch (error) {
    // an expected refusal wrote nothing; anything else fails the whole transaction
    if (!isKeyspanError(error)) throw error;
    return { id: request.id, failure: toFailure(error) };
  }
}

/** Makes one transaction of many requests: one fsync for all of them. */
function transact(db: SqliteDatabase, requests: readonly WorkerRequest[]): WorkerMessage {
  const batches: WatchBatch[] = [];
  try {
    db.begin();
    const answers = requests.map((request) => answer(db, request, batches));
    db.end();
    return { type: 'done', batches, answers };
  } catch (error) {
    if (!isRecoverable(error)) throw error;
    db.rollback();
    const failure = toFailure(error);
    return { type: 'done', batches: [], answers: requests.map(({ id }) => ({ id, failure })) };
  }
}

/** The thread that owns the file, so that no fsync ever stops the daemon's event loop. */
function main(directory: string): void {
  assert(parentPort, 'the store runs in a worker thread');
  const port = parentPort;
  const post = (message: WorkerMessage): void => port.postMessage(message);
  let db: SqliteDatabase;
  try {
    db = new SqliteDatabase(directory);
  } catch (error) {
    post({ type: 'refused', failure: toFailure(error) });
    return;
  }
  port.on('message', (first: WorkerRequest | 'close') => {
    const requests: WorkerRequest[] = [];
    let next: WorkerRequest | 'close' | undefined = first;
    // what arrived during the last transaction goes together into this one
    while (next !== undefined && next !== 'close') {
      requests.push(next);
      if (requests.length >= LIMITS.store_group_max) break;
      next = receiveMessageOnPort(port)?.message as WorkerRequest | 'close' | undefined;
    }
    if (requests.length > 0) post(transact(db, requests));
    if (next !== 'close') return;
    db.close();
    post({ type: 'closed' });
    port.close();
  });
  post({ type: 'opened', storeId: db.id });
}

if (!isMainThread) main((workerData as { directory: string }).directory);
