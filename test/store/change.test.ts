import { expect, test } from 'vitest';
import { LIMITS } from '../../src/core/limits.js';
import { changeValue } from '../../src/store/change.js';
import { MemoryStore } from '../../src/store/memory.js';

const KEY = 'a/key';
const text = (value: Uint8Array | undefined): string => Buffer.from(value ?? []).toString();

/** Somebody else who writes the key. */
const write = (store: MemoryStore, value: string): Promise<number> =>
  store.commit({ compares: [], writes: [{ op: 'put', key: KEY, value: Buffer.from(value) }] });

test('a value is made, and changed from what it is', async () => {
  const store = new MemoryStore();
  const append = (): Promise<number> =>
    changeValue(store, KEY, (entry) => Buffer.from(`${text(entry?.value)}x`));
  await append();
  const revision = await append();
  expect(await store.get(KEY)).toMatchObject({ modRevision: revision });
  expect(text((await store.get(KEY))?.value)).toBe('xx');
});

test('changes at the same time are all made', async () => {
  const store = new MemoryStore();
  const append = (): Promise<number> =>
    changeValue(store, KEY, (entry) => Buffer.from(`${text(entry?.value)}x`));
  await Promise.all(Array.from({ length: LIMITS.commit_attempts_max }, append));
  expect(text((await store.get(KEY))?.value)).toHaveLength(LIMITS.commit_attempts_max);
});

test('it is given up when others are always faster, and at once for another reason', async () => {
  const store = new MemoryStore();
  let asked = 0;
  const outrun = changeValue(store, KEY, () => {
    asked += 1;
    void write(store, `other ${asked}`);
    return Buffer.from('mine');
  });
  await expect(outrun).rejects.toMatchObject({ code: 'StoreConflict' });
  expect(asked).toBe(LIMITS.commit_attempts_max);
  const reason = new Error('not this one');
  const refused = changeValue(store, KEY, () => {
    throw reason;
  });
  await expect(refused).rejects.toBe(reason);
  expect(text((await store.get(KEY))?.value)).toBe(`other ${asked}`);
});
