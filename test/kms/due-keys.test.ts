import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { addPart, changePart, dueAtMs, DueKeys, duePath, endPart } from '../../src/kms/due-keys.js';
import type { KmsKeyId } from '../../src/core/ids.js';
import { decodeFact, type KeyFact, type KeyRecord } from '../../src/kms/records.js';
import { defaultPolicy } from '../../src/kms/policies.js';
import { KEYSPACE } from '../../src/store/keyspace.js';
import { MemoryStore } from '../../src/store/memory.js';
import type { Store } from '../../src/store/store.js';
import { ACCOUNT, REGION } from '../support/kms-fixture.js';

const idOf = (n: number): KmsKeyId =>
  `00000000-0000-4000-8000-${String(n).padStart(12, '0')}` as KmsKeyId;

const plain = (n: number, members: Partial<KeyRecord> = {}): KeyRecord => ({
  id: idOf(n),
  account: ACCOUNT,
  region: REGION,
  description: '',
  spec: 'SYMMETRIC_DEFAULT',
  usage: 'ENCRYPT_DECRYPT',
  origin: 'AWS_KMS',
  state: 'Enabled',
  createdAt: 1,
  policy: defaultPolicy(ACCOUNT),
  multiRegion: false,
  currentMaterial: 'a'.repeat(64) as KeyRecord['currentMaterial'],
  onDemandRotations: 0,
  tags: [],
  ...members,
});

const rotation = { periodDays: 90, next: 500.5 };

test.each<[string, Partial<KeyRecord>, number | undefined]>([
  ['an enabled key', {}, undefined],
  ['one that is rotated', { rotation }, 500_500],
  ['one that is rotated and disabled', { rotation, state: 'Disabled' }, undefined],
  ['one whose deletion is pending', { state: 'PendingDeletion', deletionDate: 9.001 }, 9_001],
  [
    'one that is rotated and whose deletion is pending',
    { rotation, state: 'PendingDeletion', deletionDate: 700 },
    700_000,
  ],
])('%s is due', (_, members, atMs) => expect(dueAtMs(plain(1, members))).toBe(atMs));

describe('the index', () => {
  let store: Store;
  let due: DueKeys;
  let changes: number;
  beforeEach(async () => {
    store = await MemoryStore.open();
    changes = 0;
    due = await DueKeys.open(store, () => (changes += 1));
  });
  afterEach(async () => {
    await due[Symbol.asyncDispose]();
    await store[Symbol.asyncDispose]();
  });

  async function read(n: number): Promise<KeyFact> {
    const entry = await store.get(KEYSPACE.kmsKey(ACCOUNT, REGION, idOf(n)));
    const fact = entry && decodeFact(entry);
    return fact?.kind === 'key' ? fact : expect.unreachable();
  }

  const listed = (): [KmsKeyId, number][] => {
    const all: [KmsKeyId, number][] = [];
    for (let one = due.next(); one; one = due.next(one)) all.push([one.id, one.atMs]);
    return all;
  };

  const shows = async (keys: [KmsKeyId, number][]): Promise<void> => {
    await expect.poll(listed).toEqual(keys);
  };

  test('has keys in the order of time, whatever the order of their making', async () => {
    await store.commit(addPart(plain(1, { rotation: { periodDays: 90, next: 2_000_000_000 } })));
    await store.commit(addPart(plain(2)));
    await store.commit(addPart(plain(3, { state: 'PendingDeletion', deletionDate: 999 })));
    await store.commit(addPart(plain(4, { rotation })));
    await shows([
      [idOf(4), 500_500],
      [idOf(3), 999_000],
      [idOf(1), 2_000_000_000_000],
    ]);
    expect(changes).toBe(3);
  });

  test('follows a key in one commit with each change of it, to its end', async () => {
    await store.commit(addPart(plain(1)));
    await store.commit(changePart(await read(1), plain(1, { rotation })));
    await shows([[idOf(1), 500_500]]);
    const pending = { rotation, state: 'PendingDeletion', deletionDate: 700 } as const;
    await store.commit(changePart(await read(1), plain(1, pending)));
    await shows([[idOf(1), 700_000]]);
    await store.commit(changePart(await read(1), plain(1, { rotation, state: 'Disabled' })));
    await shows([]);
    await store.commit(changePart(await read(1), plain(1, { rotation })));
    await shows([[idOf(1), 500_500]]);
    const stale = await read(1);
    await store.commit(changePart(stale, plain(1, { rotation, description: 'new' })));
    await expect(store.commit(endPart(stale))).rejects.toMatchObject({ code: 'StoreConflict' });
    const last = await read(1);
    expect(duePath(last)).toBe(KEYSPACE.kmsDueKey(500_500, ACCOUNT, REGION, idOf(1)));
    await store.commit(endPart(last));
    await shows([]);
    expect((await store.range('')).entries).toEqual([]);
  });
});
