import { chmodSync, closeSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import SqliteDriver, { type Database, type Statement } from 'better-sqlite3';
import type { CommitPart } from '../core/commit.js';
import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { applyPart, type EntryTable } from './conditional-commit.js';
import { pageSize } from './key-order.js';
import { migrate } from './sqlite-schema.js';
import type { Entry, Range, RangeOptions, WatchBatch, WatchEvent } from './store.js';

/** The name of the database in the store's directory. */
export const DATABASE_FILE = 'store.db';
/** physical deletion of old history is done once in so many revisions */
const TRIM_INTERVAL = 256;

interface EntryRow {
  readonly key: Buffer;
  readonly value: Buffer;
  readonly create_revision: number;
  readonly mod_revision: number;
  readonly lease: string | null;
}

interface HistoryRow {
  readonly revision: number;
  readonly key: Buffer;
  readonly value: Buffer | null;
  readonly create_revision: number | null;
  readonly lease: string | null;
}

/** What a new watch is told about the time before it. */
export interface Backlog {
  readonly batches: readonly WatchBatch[];
  /** the revision up to which `batches` tell everything */
  readonly revision: number;
}

const toBytes = (key: string): Buffer => Buffer.from(key, 'utf8');

/** The least byte string behind all that begin with `prefix`; UTF-8 never holds the byte 0xff. */
function prefixEnd(prefix: Buffer): Buffer {
  if (prefix.length === 0) return Buffer.of(0xff);
  const end = Buffer.from(prefix);
  end[end.length - 1] = (end.at(-1) ?? 0) + 1;
  return end;
}

function toEntry(row: EntryRow): Entry {
  return {
    key: row.key.toString('utf8'),
    value: row.value,
    createRevision: row.create_revision,
    modRevision: row.mod_revision,
    ...(row.lease === null ? {} : { lease: row.lease }),
  };
}

function toEvent(row: HistoryRow): WatchEvent {
  const { value, create_revision, revision } = row;
  if (value === null || create_revision === null) {
    return { type: 'delete', key: row.key.toString('utf8') };
  }
  const entry = toEntry({ ...row, value, create_revision, mod_revision: revision });
  return { type: 'put', key: entry.key, entry };
}

/** Rows in the order of their revisions become one batch for each revision. */
function toBatches(rows: readonly HistoryRow[]): WatchBatch[] {
  const batches: { revision: number; events: WatchEvent[] }[] = [];
  for (const row of rows) {
    const last = batches.at(-1);
    if (last?.revision === row.revision) last.events.push(toEvent(row));
    else batches.push({ revision: row.revision, events: [toEvent(row)] });
  }
  return batches;
}

function openFile(directory: string): Database {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  chmodSync(directory, 0o700);
  const file = join(directory, DATABASE_FILE);
  // an empty file is an empty database; SQLite gives its write-ahead log the same mode
  closeSync(openSync(file, 'a', 0o600));
  chmodSync(file, 0o600);
  return new SqliteDriver(file, { timeout: 0 });
}

/** Turns what SQLite throws while a store is opened into our own errors. */
function openError(error: unknown, directory: string): unknown {
  const code = (error as { code?: unknown }).code;
  if (code === 'SQLITE_BUSY') {
    return new KeyspanError(
      'StoreInUse',
      `Another Keyspan daemon owns the store in ${directory}. ` +
        'Stop it with `keyspan down`, or choose another home with --home.',
    );
  }
  if (code === 'SQLITE_NOTADB' || code === 'SQLITE_CORRUPT') {
    const message = `The store in ${directory} is damaged.`;
    return new KeyspanError('StoreCorrupt', message, { cause: error });
  }
  return error;
}

/**
 * The SQLite file behind a store: synchronous, owned by one thread. Reads and commits are made
 * between `begin` and `end`, which makes everything since `begin` durable with one fsync.
 */
export class SqliteDatabase {
  readonly id: string;
  readonly #db: Database;
  readonly #statements: ReturnType<typeof prepare>;
  readonly #table: EntryTable;
  #revision = 0;
  #forgotten = 0;

  /**
   * Opens or creates the store and ends every lease: their holders lived in a process that is
   * gone, for a store has one owner.
   * @throws StoreInUse, StoreVersion, StoreCorrupt
   */
  constructor(directory: string) {
    const db = openFile(directory);
    this.#db = db;
    try {
      // before the first access, so that the log needs no shared memory and the lock stays
      db.pragma('locking_mode = EXCLUSIVE');
      db.pragma('journal_mode = WAL');
      db.pragma('synchronous = FULL');
      db.exec('BEGIN IMMEDIATE');
      migrate(db);
      this.#statements = prepare(db);
      this.#table = entryTable(this.#statements);
      this.id = String(this.#statements.meta.pluck().get('store_id'));
      this.#reload();
      this.#deleteKeys(this.#statements.leased.all().map((row) => row.key));
      db.exec('COMMIT');
    } catch (error) {
      db.close();
      throw openError(error, directory);
    }
  }

  get revision(): number {
    return this.#revision;
  }

  begin(): void {
    this.#db.exec('BEGIN');
  }

  end(): void {
    this.#db.exec('COMMIT');
  }

  /** Undoes all that was done since `begin`. */
  rollback(): void {
    if (this.#db.inTransaction) this.#db.exec('ROLLBACK');
    this.#reload();
  }

  get(key: string): Entry | undefined {
    const row = this.#statements.get.get(toBytes(key));
    return row && toEntry(row);
  }

  range(prefix: string, options: RangeOptions): Range {
    const limit = pageSize(options);
    const from = toBytes(prefix);
    const after = toBytes(options.after ?? '');
    const rows = this.#statements.range.all(from, prefixEnd(from), after, limit + 1);
    const entries = rows.slice(0, limit).map(toEntry);
    return { entries, revision: this.#revision, more: rows.length > limit };
  }

  /** @throws StoreConflict, and then nothing was written */
  commit(part: CommitPart): WatchBatch | undefined {
    return this.#record(applyPart(this.#table, part, this.#revision + 1));
  }

  deleteLeased(lease: string): WatchBatch | undefined {
    return this.#deleteKeys(this.#statements.underLease.all(lease).map((row) => row.key));
  }

  /** @throws StoreCompacted */
  backlog(prefix: string, afterRevision: number): Backlog {
    if (afterRevision < this.#forgotten) throw new KeyspanError('StoreCompacted');
    const from = toBytes(prefix);
    const rows = this.#statements.history.all(afterRevision, from, prefixEnd(from));
    return { batches: toBatches(rows), revision: this.#revision };
  }

  compact(revision: number): void {
    const through = Math.min(revision, this.#revision);
    if (through <= this.#forgotten) return;
    this.#forgotten = through;
    this.#trim();
  }

  /** Also folds the write-ahead log into the file. */
  close(): void {
    this.#db.close();
  }

  #reload(): void {
    this.#forgotten = Number(this.#statements.meta.pluck().get('forgotten'));
    const newest = this.#statements.newest.pluck().get();
    this.#revision = Math.max(this.#forgotten, Number(newest ?? 0));
    this.#forgotten = Math.max(this.#forgotten, this.#revision - LIMITS.store_history_max);
  }

  #deleteKeys(keys: readonly Buffer[]): WatchBatch | undefined {
    for (const key of keys) this.#statements.delete.run(key);
    return this.#record(keys.map((key) => ({ type: 'delete', key: key.toString('utf8') })));
  }

  #record(events: readonly WatchEvent[]): WatchBatch | undefined {
    if (events.length === 0) return undefined;
    this.#revision += 1;
    for (const [position, event] of events.entries()) {
      const entry = event.type === 'put' ? event.entry : undefined;
      this.#statements.remember.run(
        this.#revision,
        position,
        toBytes(event.key),
        entry?.value ?? null,
        entry?.createRevision ?? null,
        entry?.lease ?? null,
      );
    }
    this.#forgotten = Math.max(this.#forgotten, this.#revision - LIMITS.store_history_max);
    if (this.#revision % TRIM_INTERVAL === 0 && this.#forgotten > 0) this.#trim();
    return { revision: this.#revision, events };
  }

  #trim(): void {
    this.#statements.forget.run(this.#forgotten);
    this.#statements.setMeta.run(this.#forgotten, 'forgotten');
  }
}

function prepare(db: Database) {
  const one = <Parameters extends unknown[], Row>(sql: string): Statement<Parameters, Row> =>
    db.prepare<Parameters, Row>(sql);
  return {
    meta: one<[string], unknown>('SELECT value FROM meta WHERE name = ?'),
    setMeta: one<[number, string], never>('UPDATE meta SET value = ? WHERE name = ?'),
    newest: one<[], unknown>('SELECT max(revision) FROM history'),
    get: one<[Buffer], EntryRow>('SELECT * FROM entries WHERE key = ?'),
    revisions: one<[Buffer], { createRevision: number; modRevision: number }>(
      `SELECT create_revision AS createRevision, mod_revision AS modRevision
       FROM entries WHERE key = ?`,
    ),
    range: one<[Buffer, Buffer, Buffer, number], EntryRow>(
      'SELECT * FROM entries WHERE key >= ? AND key < ? AND key > ? ORDER BY key LIMIT ?',
    ),
    put: one<[Buffer, Uint8Array, number, number, string | null], never>(
      'INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?)',
    ),
    delete: one<[Buffer], never>('DELETE FROM entries WHERE key = ?'),
    leased: one<[], { key: Buffer }>('SELECT key FROM entries WHERE lease IS NOT NULL'),
    underLease: one<[string], { key: Buffer }>('SELECT key FROM entries WHERE lease = ?'),
    remember: one<[number, number, Buffer, Uint8Array | null, number | null, string | null], never>(
      'INSERT INTO history VALUES (?, ?, ?, ?, ?, ?)',
    ),
    history: one<[number, Buffer, Buffer], HistoryRow>(
      `SELECT * FROM history WHERE revision > ? AND key >= ? AND key < ?
       ORDER BY revision, position`,
    ),
    forget: one<[number], never>('DELETE FROM history WHERE revision <= ?'),
  };
}

function entryTable(statements: ReturnType<typeof prepare>): EntryTable {
  return {
    find: (key) => statements.revisions.get(toBytes(key)),
    put: (entry) => {
      const { key, value, createRevision, modRevision, lease } = entry;
      statements.put.run(toBytes(key), value, createRevision, modRevision, lease ?? null);
    },
    delete: (key) => {
      statements.delete.run(toBytes(key));
    },
  };
}
