import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { joinParts } from '../../src/core/commit.js';
import { newClusterId, newHsmKeyId } from '../../src/core/ids.js';
import { KeyLedger, type Intent } from '../../src/cluster/key-ledger.js';
import { KEYSPACE } from '../../src/store/keyspace.js';
import { MemoryStore } from '../../src/store/memory.js';
import { encodeValue } from '../../src/store/value.js';
import { expectCode, putOf } from '../support/store-calls.js';

const PROOF = Buffer.alloc(16, 7);
const cluster = newClusterId();
let store: MemoryStore;
let ledger: KeyLedger;

beforeEach(async () => {
  store = new MemoryStore();
  ledger = await KeyLedger.open(store, cluster);
});
afterEach(async () => {
  await ledger[Symbol.asyncDispose]();
  await store[Symbol.asyncDispose]();
});

const intend = (): Promise<Intent> => ledger.intend(newHsmKeyId(), { epoch: 3, purpose: 'kms' });
const stateOf = async ({ id }: Intent): Promise<string | undefined> => {
  await ledger.current();
  return ledger.get(id)?.state;
};

async function live(): Promise<Intent> {
  const intent = await intend();
  await store.commit(ledger.live(intent, PROOF));
  await ledger.current();
  return intent;
}

test('who listens hears of each change, once the ledger shows it', async () => {
  const heard: [string, string | undefined][] = [];
  const end = ledger.onChange((ids) => {
    for (const id of ids) heard.push([id, ledger.get(id)?.state]);
  });
  const { id } = await live();
  await ledger.reached(await store.commit(ledger.tombstone(id)));
  const states = ['intent', 'live', 'tombstone'];
  expect(heard).toEqual(states.map((state) => [id, state]));
  end();
  await live();
  expect(heard).toHaveLength(states.length);
});

describe('the life of a key', () => {
  test('an intent becomes live with its proof, together with what its asker adds', async () => {
    const intent = await intend();
    expect(await stateOf(intent)).toBe('intent');
    const asker = { compares: [], writes: [putOf('kms/key', 'facts')] };
    await store.commit(joinParts(ledger.live(intent, PROOF), asker));
    expect(await stateOf(intent)).toBe('live');
    expect(ledger.get(intent.id)).toMatchObject({ epoch: 3, purpose: 'kms', proof: PROOF });
    expect(await store.get('kms/key')).toBeDefined();
  });

  test('an id is intended once', async () => {
    const { id } = await intend();
    await expectCode(ledger.intend(id, { epoch: 3, purpose: 'kms' }), 'StoreConflict');
  });

  test('what was given up cannot become live, and takes nothing of its asker with it', async () => {
    const intent = await intend();
    expect(await ledger.abandon(intent.id)).toBe(true);
    const asker = { compares: [], writes: [putOf('kms/key', 'facts')] };
    await expectCode(store.commit(joinParts(ledger.live(intent, PROOF), asker)), 'StoreConflict');
    expect(await stateOf(intent)).toBe('abandoned');
    expect(await store.get('kms/key')).toBeUndefined();
  });

  test('what became live cannot be given up', async () => {
    const intent = await live();
    expect(await ledger.abandon(intent.id)).toBe(false);
    expect(await stateOf(intent)).toBe('live');
  });

  test('of a commit and an abandonment at one time exactly one wins', async () => {
    const seen = new Set<string>();
    for (let round = 0; round < 40; round += 1) {
      const intent = await intend();
      const commit = (): Promise<boolean> =>
        store.commit(ledger.live(intent, PROOF)).then(
          () => true,
          () => false,
        );
      const abandon = (): Promise<boolean> => ledger.abandon(intent.id);
      const [first, second] = round % 2 === 0 ? [commit, abandon] : [abandon, commit];
      const outcomes = await Promise.all([first(), second()]);
      expect(outcomes.filter((won) => won)).toHaveLength(1);
      const state = await stateOf(intent);
      const commitWon = round % 2 === 0 ? outcomes[0] : outcomes[1];
      expect(state).toBe(commitWon ? 'live' : 'abandoned');
      seen.add(state ?? '');
    }
    expect(seen.size).toBeGreaterThan(0);
  });

  test('giving up what is not there is done', async () => {
    expect(await ledger.abandon(newHsmKeyId())).toBe(true);
  });

  test('a live key ends as a tombstone, once', async () => {
    const intent = await live();
    const part = ledger.tombstone(intent.id);
    await store.commit(part);
    expect(await stateOf(intent)).toBe('tombstone');
    expect(() => ledger.tombstone(intent.id)).toThrow(/no HSM holds this key/);
    await expectCode(store.commit(part), 'StoreConflict');
    expect(await ledger.abandon(intent.id)).toBe(false);
  });

  test('what does not live has no tombstone', async () => {
    const intent = await intend();
    await ledger.current();
    expect(() => ledger.tombstone(intent.id)).toThrow();
    expect(() => ledger.tombstone(newHsmKeyId())).toThrow();
  });
});

describe('a change of a record', () => {
  const to = (revision: number, mark: number): Parameters<KeyLedger['amend']>[1] => ({
    revision,
    digest: Buffer.alloc(32, mark),
    masked: Buffer.alloc(100, mark),
  });

  test('is named by the entry, which stays live and keeps its proof', async () => {
    const { id } = await live();
    expect(ledger.get(id)).toMatchObject({ revision: 1, record: null });
    expect(await ledger.amend(await ledger.liveEntry(id), to(2, 5))).toBe(true);
    const { revision, ...record } = to(2, 5);
    expect(ledger.get(id)).toMatchObject({ state: 'live', proof: PROOF, revision, record });
    await store.commit(ledger.tombstone(id));
    await ledger.current();
    expect(ledger.get(id)?.state).toBe('tombstone');
  });

  test('of two at one time exactly one wins', async () => {
    const { id } = await live();
    const from = await ledger.liveEntry(id);
    const both = await Promise.all([ledger.amend(from, to(2, 5)), ledger.amend(from, to(2, 6))]);
    expect(both).toEqual([true, false]);
    expect(ledger.get(id)?.record?.digest[0]).toBe(5);
  });

  test('loses against the end of the key', async () => {
    const { id } = await live();
    const from = await ledger.liveEntry(id);
    await store.commit(ledger.tombstone(id));
    expect(await ledger.amend(from, to(2, 5))).toBe(false);
    await expectCode(ledger.liveEntry(id), 'VaultKeyMissing');
    await expectCode(ledger.liveEntry(newHsmKeyId()), 'VaultKeyMissing');
  });

  test('begins also from an entry of a time that knew no changes', async () => {
    const id = newHsmKeyId();
    const old = { state: 'live', epoch: 3, purpose: 'kms', proof: PROOF, revision: 1 };
    const key = KEYSPACE.ledgerKey(cluster, id);
    const put = { op: 'put', key, value: encodeValue(1, old) } as const;
    await store.commit({ compares: [], writes: [put] });
    const from = await ledger.liveEntry(id);
    expect(from.entry).toMatchObject({ ...old, record: null });
    expect(await ledger.amend(from, to(2, 5))).toBe(true);
    expect(ledger.get(id)).toMatchObject({ state: 'live', revision: 2 });
    await store.commit({ compares: [], writes: [put] });
    await ledger.current();
    await store.commit(ledger.tombstone(id));
    await ledger.current();
    expect(ledger.get(id)).toMatchObject({ state: 'tombstone', record: null });
  });
});

describe('forgetting', () => {
  test('removes what is over, and nothing else', async () => {
    const [attempt, alive, ended, given] = [
      await intend(),
      await live(),
      await live(),
      await intend(),
    ];
    await store.commit(ledger.tombstone(ended.id));
    await ledger.abandon(given.id);
    for (const { id } of [attempt, alive, ended, given]) await ledger.forget(id);
    const states = await Promise.all([attempt, alive, ended, given].map(stateOf));
    expect(states).toEqual(['intent', 'live', undefined, undefined]);
    await ledger.forget(newHsmKeyId());
  });
});

describe('reading', () => {
  test('all entries in the order of their ids, of this cluster alone', async () => {
    const made = [await intend(), await live(), await intend()];
    await store.commit({
      compares: [],
      writes: [putOf(`${KEYSPACE.ledger(newClusterId())}${newHsmKeyId()}`, 'foreign')],
    });
    await ledger.current();
    const ids = Array.from(ledger.all(), ([id]) => id);
    expect(ids).toEqual(made.map(({ id }) => id).sort());
  });

  test('another ledger on the same store sees what this one did', async () => {
    await using other = await KeyLedger.open(store, cluster);
    const intent = await live();
    await other.current();
    expect(other.get(intent.id)?.state).toBe('live');
  });

  test('an entry that cannot be read says so', async () => {
    const id = newHsmKeyId();
    await store.commit({ compares: [], writes: [putOf(KEYSPACE.ledgerKey(cluster, id), 'junk')] });
    await ledger.current();
    expect(() => ledger.get(id)).toThrow(/cannot be read/);
  });
});
