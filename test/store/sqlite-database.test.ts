import { expect, onTestFinished, test } from 'vitest';
import { SqliteDatabase } from '../../src/store/sqlite-database.js';
import { putOf } from '../support/store-calls.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

function open(): SqliteDatabase {
  const db = new SqliteDatabase(temporaryDirectory());
  onTestFinished(() => db.close());
  return db;
}

test('a rollback undoes entries, history and the revision together', () => {
  const db = open();
  db.begin();
  db.commit({ compares: [], writes: [putOf('a')] });
  db.end();
  db.begin();
  const batch = db.commit({ compares: [], writes: [putOf('b'), putOf('a', 'changed')] });
  expect(batch?.revision).toBe(2);
  db.rollback();
  expect(db.revision).toBe(1);
  expect(db.get('b')).toBeUndefined();
  db.begin();
  const again = db.commit({ compares: [], writes: [putOf('c')] });
  db.end();
  expect(again?.revision).toBe(2);
  const keys = db.backlog('', 0).batches.flatMap(({ events }) => events.map(({ key }) => key));
  expect(keys).toEqual(['a', 'c']);
});
