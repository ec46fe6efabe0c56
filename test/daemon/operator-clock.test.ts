import { expect, test } from 'vitest';
import { LIMITS } from '../../src/core/limits.js';
import { OperatorClock } from '../../src/daemon/operator-clock.js';
import { KEYSPACE } from '../../src/store/keyspace.js';
import { MemoryStore } from '../../src/store/memory.js';
import { encodeValue } from '../../src/store/value.js';

const DAY_MS = 86_400_000;
const forwards = (days: number) => ({ byMs: days * DAY_MS, force: false });

test('civil time moves for every daemon at once, and is what it was after a start', async () => {
  await using store = await MemoryStore.open();
  await using clock = await OperatorClock.open(store);
  await using another = await OperatorClock.open(store);
  let moves = 0;
  another.onMove(() => (moves += 1));
  expect(clock.status().offsetMs).toBe(0);
  await clock.advance(forwards(30));
  const status = await clock.advance(forwards(1));
  expect(status.offsetMs).toBe(31 * DAY_MS);
  expect(Date.parse(status.civil) - Date.parse(status.real)).toBe(31 * DAY_MS);
  await expect.poll(() => another.offsetMs).toBe(31 * DAY_MS);
  expect(moves).toBe(2);
  await using restarted = await OperatorClock.open(store);
  expect(restarted.offsetMs).toBe(31 * DAY_MS);
});

test('it goes back when that is meant, and no further than the bound either way', async () => {
  await using store = await MemoryStore.open();
  await using clock = await OperatorClock.open(store);
  await clock.advance(forwards(30));
  const refused = { code: 'KeyspanRefused' };
  await expect(clock.advance(forwards(-1))).rejects.toMatchObject(refused);
  await expect(clock.reset({ force: false })).rejects.toMatchObject(refused);
  expect(clock.offsetMs).toBe(30 * DAY_MS);
  await clock.advance({ byMs: -DAY_MS, force: true });
  expect(clock.offsetMs).toBe(29 * DAY_MS);
  const byMs = LIMITS.civil_offset_max_ms;
  await expect(clock.advance({ byMs, force: true })).rejects.toMatchObject(refused);
  await clock.reset({ force: true });
  expect(clock.offsetMs).toBe(0);
  await clock.reset({ force: false });
});

test('a store that says it wrongly is not taken', async () => {
  await using store = await MemoryStore.open();
  const value = encodeValue(1, { offsetMs: '1' });
  await store.commit({ compares: [], writes: [{ op: 'put', key: KEYSPACE.clock, value }] });
  await expect(OperatorClock.open(store)).rejects.toMatchObject({ code: 'StoreCorrupt' });
});
