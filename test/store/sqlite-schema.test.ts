import SqliteDriver from 'better-sqlite3';
import { expect, onTestFinished, test } from 'vitest';
import { isKeyspanError } from '../../src/core/errors.js';
import { migrate, MIGRATIONS } from '../../src/store/sqlite-schema.js';

function memory(): SqliteDriver.Database {
  const db = new SqliteDriver(':memory:');
  onTestFinished(() => void db.close());
  return db;
}

const step =
  (sql: string) =>
  (db: SqliteDriver.Database): void =>
    void db.exec(sql);

test('migrations run in order, each once, from wherever the store stands', () => {
  const db = memory();
  const one = step('CREATE TABLE t (a)');
  const two = step('INSERT INTO t VALUES (2)');
  const three = step('INSERT INTO t VALUES (3)');
  migrate(db, [one, two]);
  migrate(db, [one, two]);
  migrate(db, [one, two, three]);
  expect(db.prepare('SELECT a FROM t ORDER BY rowid').pluck().all()).toEqual([2, 3]);
  expect(db.pragma('user_version', { simple: true })).toBe(3);
});

test('a schema that is newer is refused', () => {
  const db = memory();
  migrate(db, [step(''), step('')]);
  let error: unknown;
  try {
    migrate(db, [step('')]);
  } catch (thrown) {
    error = thrown;
  }
  expect(isKeyspanError(error, 'StoreVersion')).toBe(true);
});

test('a new store has an id', () => {
  const db = memory();
  migrate(db);
  const id = db.prepare("SELECT value FROM meta WHERE name = 'store_id'").pluck().get();
  expect(id).toMatch(/^[0-9a-f]{32}$/);
  expect(db.pragma('user_version', { simple: true })).toBe(MIGRATIONS.length);
});
