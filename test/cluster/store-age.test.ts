import { afterEach, beforeEach, expect, test } from 'vitest';
import { newHsmId, type HsmId } from '../../src/core/ids.js';
import { silentLog } from '../../src/core/log.js';
import type { ClusterRecord } from '../../src/cluster/cluster.js';
import type { Member } from '../../src/cluster/member.js';
import { StoreAge } from '../../src/cluster/store-age.js';
import { MemoryStore } from '../../src/store/memory.js';

/** A token that remembers what it is told, as an HSM does. */
class RememberingToken {
  readonly id: HsmId = newHsmId();
  store: string | null = null;
  stamp = 0;

  async ask(_operation: string, fields: { note?: { store: string; stamp: number } }) {
    const { note } = fields;
    if (note && (note.store !== this.store || note.stamp > this.stamp)) Object.assign(this, note);
    return { store: this.store, stamp: this.stamp };
  }
}

let store: MemoryStore;
let adoption: number;
let age: StoreAge;
let token: RememberingToken;
const member = (): Member => token as unknown as Member;

/** As after a restart of the daemon. */
function restart(): StoreAge {
  age = new StoreAge({ store, record: () => ({ adoption }) as ClusterRecord, log: silentLog() });
  return age;
}

/** The operator's adoption. */
function adopt(): void {
  adoption = age.nextAdoption();
  age.adopted();
}

beforeEach(() => {
  store = new MemoryStore();
  adoption = 0;
  token = new RememberingToken();
  restart();
});
afterEach(() => store[Symbol.asyncDispose]());

const write = (key: string): Promise<number> =>
  store.commit({ compares: [], writes: [{ op: 'put', key, value: Buffer.from('x') }] });

test('a token that saw nothing, or this store as it is, says nothing against it', async () => {
  await age.compare(member());
  expect(age.isBehind).toBe(false);
  await write('a');
  await age.note(member());
  expect(token).toMatchObject({ store: store.id, stamp: age.stampAt(1) });
  await restart().compare(member());
  expect(age.isBehind).toBe(false);
});

test('a store is behind a token that saw more of it', async () => {
  await write('a');
  Object.assign(token, { store: store.id, stamp: age.stampAt(2) });
  await age.compare(member());
  expect(age.isBehind).toBe(true);
  // and it teaches the token nothing
  await write('b');
  await write('c');
  await age.note(member());
  expect(token.stamp).toBe(age.stampAt(2));
});

test('a store is behind a key that was made in its future, though nothing was noted', async () => {
  Object.assign(token, { store: null, stamp: age.stampAt(1) });
  await age.compare(member());
  expect(age.isBehind).toBe(true);
});

test('another store is behind, however far it has come', async () => {
  for (const key of ['a', 'b', 'c']) await write(key);
  Object.assign(token, { store: 'another', stamp: 1 });
  await age.compare(member());
  expect(age.isBehind).toBe(true);
});

test('an adopted store is ahead of what was seen, also after a restart', async () => {
  Object.assign(token, { store: store.id, stamp: age.stampAt(1_000) });
  await age.compare(member());
  adopt();
  expect(age.isBehind).toBe(false);
  await restart().compare(member());
  expect(age.isBehind).toBe(false);
  await age.note(member());
  expect(token.stamp).toBe(age.stampAt(0));
});

test('an old copy put in its place again is behind again, and can be adopted', async () => {
  Object.assign(token, { store: store.id, stamp: age.stampAt(1_000) });
  await age.compare(member());
  adopt();
  for (const key of ['a', 'b', 'c']) await write(key);
  await age.note(member());
  // a copy from before the adoption
  await store[Symbol.asyncDispose]();
  store = new MemoryStore();
  token.store = store.id;
  adoption = 0;
  await restart().compare(member());
  expect(age.isBehind).toBe(true);
  adopt();
  await restart().compare(member());
  expect(age.isBehind).toBe(false);
});

test('a repair waits for those that start at the same time, but not for ever', async () => {
  const other = new RememberingToken();
  age.expect([token.id, other.id]);
  let isSettled = false;
  const settled = age.settled().then(() => (isSettled = true));
  await age.compare(member());
  expect(isSettled).toBe(false);
  token = other;
  await age.compare(member());
  await settled;
  // one that is never heard of
  age.expect([newHsmId()]);
  await age.settled();
  await age.settled();
});
