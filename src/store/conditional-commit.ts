import { assert } from '../core/assert.js';
import type { CommitPart, Compare } from '../core/commit.js';
import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import type { Entry, WatchEvent } from './store.js';

const LONE_SURROGATE = /\p{Surrogate}/u;

/** A prefix may be empty. @throws StoreTooLarge */
export function checkPrefix(prefix: string): void {
  assert(!LONE_SURROGATE.test(prefix), 'a key is well-formed Unicode');
  if (Buffer.byteLength(prefix) <= LIMITS.store_key_max_bytes) return;
  throw new KeyspanError('StoreTooLarge', `A key is longer than ${LIMITS.store_key_max_bytes} B.`);
}

/** @throws StoreTooLarge */
export function checkKey(key: string): void {
  assert(key !== '', 'a key is not empty');
  checkPrefix(key);
}

function checkCount(count: number, what: string): void {
  const max = LIMITS.store_commit_writes_max;
  if (count <= max) return;
  throw new KeyspanError('StoreTooLarge', `A commit has ${count} ${what}; ${max} are allowed.`);
}

/** What can be said about a commit without looking at the store. @throws StoreTooLarge */
export function checkPart(part: CommitPart): void {
  checkCount(part.compares.length, 'compares');
  checkCount(part.writes.length, 'writes');
  for (const compare of part.compares) checkKey(compare.key);
  const written = new Set<string>();
  for (const write of part.writes) {
    checkKey(write.key);
    assert(!written.has(write.key), 'a commit writes each key once');
    written.add(write.key);
    if (write.op === 'put' && write.value.length > LIMITS.store_value_max_bytes) {
      throw new KeyspanError(
        'StoreTooLarge',
        `A value has ${write.value.length} B; ${LIMITS.store_value_max_bytes} are allowed.`,
      );
    }
  }
}

/** The present entries of a store, as a commit sees and changes them. */
export interface EntryTable {
  find(key: string): Pick<Entry, 'createRevision' | 'modRevision'> | undefined;
  put(entry: Entry): void;
  delete(key: string): void;
}

function assertHolds(table: EntryTable, compare: Compare): void {
  const found = table.find(compare.key)?.modRevision ?? null;
  if (found === compare.modRevision) return;
  throw new KeyspanError('StoreConflict');
}

/**
 * Makes the writes of a checked commit if all its compares hold; every store decides with this one
 * function. `revision` is the one that the commit takes if it changes anything.
 * @returns what changed
 * @throws StoreConflict, and then nothing was written
 */
export function applyPart(table: EntryTable, part: CommitPart, revision: number): WatchEvent[] {
  for (const compare of part.compares) assertHolds(table, compare);
  const events: WatchEvent[] = [];
  for (const write of part.writes) {
    const before = table.find(write.key);
    if (write.op === 'delete') {
      if (!before) continue;
      table.delete(write.key);
      events.push({ type: 'delete', key: write.key });
      continue;
    }
    const entry: Entry = {
      key: write.key,
      value: write.value,
      createRevision: before?.createRevision ?? revision,
      modRevision: revision,
      ...(write.lease === undefined ? {} : { lease: write.lease }),
    };
    table.put(entry);
    events.push({ type: 'put', key: write.key, entry });
  }
  return events;
}
