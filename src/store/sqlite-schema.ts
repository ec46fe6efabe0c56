import { randomBytes } from 'node:crypto';
import type { Database } from 'better-sqlite3';
import { KeyspanError } from '../core/errors.js';

type Migration = (db: Database) => void;

/**
 * Keys are blobs: SQLite then orders them by their bytes. `entries` holds what is true now,
 * `history` what each revision did, for watches; a NULL value there is a delete.
 */
function createTables(db: Database): void {
  db.exec(`
    CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
    CREATE TABLE entries (
      key BLOB PRIMARY KEY,
      value BLOB NOT NULL,
      create_revision INTEGER NOT NULL,
      mod_revision INTEGER NOT NULL,
      lease TEXT
    ) WITHOUT ROWID;
    CREATE INDEX entries_lease ON entries (lease) WHERE lease IS NOT NULL;
    CREATE TABLE history (
      revision INTEGER NOT NULL,
      position INTEGER NOT NULL,
      key BLOB NOT NULL,
      value BLOB,
      create_revision INTEGER,
      lease TEXT,
      PRIMARY KEY (revision, position)
    ) WITHOUT ROWID;
  `);
  const insert = db.prepare('INSERT INTO meta (name, value) VALUES (?, ?)');
  insert.run('store_id', randomBytes(16).toString('hex'));
  insert.run('forgotten', 0);
}

/** The n-th leads from schema n to n + 1. What stands here was released: only ever append. */
export const MIGRATIONS: readonly Migration[] = [createTables];

/**
 * Brings a database to the newest schema, inside the caller's transaction. SQLite's user_version
 * holds the number of migrations that were made.
 * @throws StoreVersion when the schema is newer than this Keyspan
 */
export function migrate(db: Database, migrations: readonly Migration[] = MIGRATIONS): void {
  const version = Number(db.pragma('user_version', { simple: true }));
  if (version > migrations.length) {
    throw new KeyspanError(
      'StoreVersion',
      `The store has schema ${version}; this Keyspan reads up to ${migrations.length}. ` +
        'Use the newer Keyspan that wrote it.',
    );
  }
  if (version === migrations.length) return;
  for (const migration of migrations.slice(version)) migration(db);
  db.pragma(`user_version = ${migrations.length}`);
}
