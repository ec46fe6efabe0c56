import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { DataShelf } from '../../src/hsm/data-shelf.js';
import { packDataObject } from '../../src/hsm/records.js';
import { encodeCbor } from '../../src/protocol/frame-codec.js';
import { createData, listData } from '../../src/token/objects.js';
import { TokenFixture } from '../support/token-fixture.js';

const SHELF = 'keyspan-test';

let fixture: TokenFixture;
beforeAll(() => {
  fixture = TokenFixture.ready();
});
afterAll(() => fixture[Symbol.dispose]());
beforeEach(() => {
  for (const { handle } of listData(fixture.token, SHELF)) fixture.token.destroy(handle);
});

const load = (): DataShelf => DataShelf.load(fixture.token, SHELF);
const textOf = (shelf: DataShelf, id: string): string | undefined => {
  const body = shelf.get(id);
  return body && Buffer.from(body).toString();
};
const place = (id: string, revision: number, body: string): void => {
  const value = packDataObject({ id, revision, body: Buffer.from(body) });
  createData(fixture.token, { application: SHELF, label: id, value });
};

describe('a shelf of data objects', () => {
  test('gives back what was put, also after a restart', () => {
    const shelf = load();
    shelf.put('a', Buffer.from('one'));
    shelf.put('b', Buffer.from('two'));
    shelf.put('a', Buffer.from('three'));
    expect(textOf(shelf, 'a')).toBe('three');
    fixture.restart();
    expect(textOf(load(), 'a')).toBe('three');
    expect(textOf(load(), 'b')).toBe('two');
    expect(load().get('c')).toBeUndefined();
    expect(listData(fixture.token, SHELF)).toHaveLength(2);
    const revisions = load()
      .entries()
      .map(({ id, revision }) => `${id} ${revision}`);
    expect(revisions.sort()).toEqual(['a 2', 'b 1']);
  });

  test('that is vouched for is read before its first change', () => {
    const before = load();
    before.put('a', Buffer.from('one'));
    before.put('b', Buffer.from('two'));
    const shelf = DataShelf.load(fixture.token, SHELF, { promised: before.entries() });
    expect([textOf(shelf, 'a'), textOf(shelf, 'c'), shelf.entries().length]).toEqual([
      'one',
      undefined,
      2,
    ]);
    shelf.delete('c');
    shelf.put('a', Buffer.from('three'));
    expect([textOf(shelf, 'a'), textOf(shelf, 'b')]).toEqual(['three', 'two']);
    expect(listData(fixture.token, SHELF)).toHaveLength(2);
    const other = DataShelf.load(fixture.token, SHELF, { promised: shelf.entries() });
    other.delete('b');
    expect([...load().entries()].map(({ id, revision }) => [id, revision])).toEqual([['a', 2]]);
  });

  test('forgets what was deleted', () => {
    const shelf = load();
    shelf.put('a', Buffer.from('one'));
    shelf.delete('a');
    shelf.delete('never there');
    expect(shelf.get('a')).toBeUndefined();
    expect(load().entries()).toEqual([]);
    expect(listData(fixture.token, SHELF)).toEqual([]);
  });

  test.each([
    ['older first', [1, 2]],
    ['newer first', [2, 1]],
    ['three', [2, 3, 1]],
  ])('after a kill between write and destroy the newer counts: %s', (_, revisions) => {
    for (const revision of revisions) place('a', revision, `revision ${revision}`);
    const newest = Math.max(...revisions);
    const shelf = load();
    expect(textOf(shelf, 'a')).toBe(`revision ${newest}`);
    expect(listData(fixture.token, SHELF)).toHaveLength(1);
    shelf.put('a', Buffer.from('next'));
    expect(load().entries()[0]?.revision).toBe(newest + 1);
  });

  test('passes over a torn write and destroys it, when the one before stands', () => {
    place('a', 1, 'before');
    const value = packDataObject({ id: 'a', revision: 2, body: Buffer.from('after') });
    createData(fixture.token, { application: SHELF, label: 'a', value: value.subarray(0, -3) });
    expect(textOf(load(), 'a')).toBe('before');
    expect(listData(fixture.token, SHELF)).toHaveLength(1);
  });

  test('keeps what it cannot read: another version may have written it', () => {
    const value = encodeCbor([2, 'a', 1, Buffer.from('of the future'), Buffer.alloc(32)]);
    createData(fixture.token, { application: SHELF, label: 'a', value });
    expect(load().get('a')).toBeUndefined();
    expect(listData(fixture.token, SHELF)).toHaveLength(1);
  });

  test('sees nothing of other shelves', () => {
    const other = DataShelf.load(fixture.token, `${SHELF}-other`);
    other.put('a', Buffer.from('theirs'));
    expect(load().get('a')).toBeUndefined();
    other.delete('a');
  });

  test('keeps what it had when the token refuses the new value', () => {
    const shelf = load();
    shelf.put('a', Buffer.from('one'));
    expect(() => shelf.put('a', Buffer.alloc(2 << 20))).toThrow();
    expect(textOf(shelf, 'a')).toBe('one');
    expect(textOf(load(), 'a')).toBe('one');
  });
});
