import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ClusterSession } from '../../src/cluster/cluster-session.js';
import { USERS } from '../../src/cluster/lifecycle.js';
import type { Member } from '../../src/cluster/member.js';
import { giveRecord } from '../../src/cluster/record-repair.js';
import type { Call } from '../../src/core/call.js';
import { deadlineIn, pause } from '../../src/core/deadline.js';
import type { HsmKeyId } from '../../src/core/ids.js';
import { LIMITS } from '../../src/core/limits.js';
import { KEYSPACE } from '../../src/store/keyspace.js';
import type { ClusterCheck } from '../../src/protocol/admin.js';
import type { RecordChange } from '../../src/protocol/hsm-key-frames.js';
import { ClusterFixture } from '../support/cluster-fixture.js';
import { eventually, signal } from '../support/daemon-fixture.js';
import { expectCode } from '../support/store-calls.js';

const FRIEND = USERS.cryptoUser;
const DATA = Buffer.from('a secret');
const NO_AAD = Buffer.alloc(0);

let fixture: ClusterFixture;
/** the owner of KMS's keys, and another user */
let owner: ClusterSession;
let friend: ClusterSession;
beforeAll(async () => {
  fixture = await ClusterFixture.start(3);
  [owner, friend] = await Promise.all([login(USERS.kms), login(FRIEND)]);
});
afterAll(() => fixture?.[Symbol.asyncDispose]());

const call = (entry?: Member): Call => ({
  requestId: 'a-change',
  deadline: deadlineIn(30_000),
  ...(entry && { entry: entry.id }),
});
const member = (at: number): Member => fixture.cluster.members[at] ?? expect.unreachable();
const change = (key: HsmKeyId, what: RecordChange, who = owner): Promise<void> =>
  fixture.cluster.records.change(who, key, what, call());

async function login(username: string): Promise<ClusterSession> {
  const { cluster, secrets } = fixture;
  return await cluster.login(username, await secrets.passwordOf(cluster.id, username));
}

async function makeKey(): Promise<HsmKeyId> {
  const prepared = await fixture.cluster.vault.createKey('AES_256', call());
  await fixture.store.commit(prepared.part);
  prepared.committed();
  await clean();
  return prepared.id;
}

const clean = (): Promise<ClusterCheck> =>
  eventually(async () => {
    const check = await fixture.cluster.check(false);
    return check.clean && check.hsms.every(({ answered }) => answered) ? check : undefined;
  }, 'a clean cluster');

/** On which HSMs the other user can work with the key, each asked itself. */
async function opensOn(key: HsmKeyId): Promise<boolean[]> {
  return await Promise.all(
    fixture.cluster.members.map(async (one) => {
      const request = call(one);
      const fields = { keyId: key, aad: NO_AAD, data: DATA };
      try {
        await friend.run('encrypt', fields, request, key);
        return request.servedBy === one.id;
      } catch {
        return false;
      }
    }),
  );
}

const revisions = async (key: HsmKeyId): Promise<(number | undefined)[]> =>
  await Promise.all(
    fixture.cluster.members.map(async (one) => {
      const answer = one.ask('record-extract', { keyId: key }, deadlineIn(30_000));
      return (await answer.catch(() => undefined))?.revision;
    }),
  );

async function whileAway(one: Member, work: () => Promise<void>): Promise<void> {
  await fixture.cluster.want(one.id, 'stop');
  await eventually(async () => one.supervisor.pid === undefined || undefined, 'its end');
  await work();
  await fixture.cluster.want(one.id, 'run');
  await eventually(async () => one.channel, 'it serves');
}

describe('a change of a record', () => {
  test('binds on every HSM before it is acknowledged, and so does taking it back', async () => {
    const key = await makeKey();
    expect(await opensOn(key)).toEqual([false, false, false]);
    await change(key, { share: [FRIEND] });
    await clean();
    expect(await opensOn(key)).toEqual([true, true, true]);
    await change(key, { unshare: [FRIEND] });
    // no waiting here: whoever has it not yet does not serve
    expect(await opensOn(key)).toEqual([false, false, false]);
    await clean();
    expect(await revisions(key)).toEqual([3, 3, 3]);
  });

  test('is decided by the HSMs: neither a sharee nor a stranger changes anything', async () => {
    const key = await makeKey();
    await expectCode(change(key, { share: [FRIEND] }, friend), 'HsmKeyNotFound');
    await change(key, { share: [FRIEND] });
    await expectCode(change(key, { label: 'mine' }, friend), 'HsmRoleRefused');
    await expectCode(change(key, { share: ['nobody'] }), 'HsmUserNotFound');
    await clean();
    expect(await revisions(key)).toEqual([2, 2, 2]);
  });

  test('tells the tokens how far the store had come', async () => {
    const key = await makeKey();
    const seen = async (): Promise<number> =>
      (await member(0).ask('store-seen', {}, deadlineIn(30_000))).stamp;
    const before = await seen();
    await change(key, { label: 'two' });
    expect(await seen()).toBeGreaterThan(before);
    const { revision } = await fixture.store.range(KEYSPACE.ledger(fixture.cluster.id));
    expect(await seen()).toBeLessThanOrEqual(revision);
  });

  test('follows another one: of many at one time each is made', async () => {
    const key = await makeKey();
    const labels = ['a', 'b', 'c', 'd'];
    await Promise.all(labels.map((label) => change(key, { label })));
    expect(await clean()).toMatchObject({ clean: true });
    expect(await revisions(key)).toEqual([5, 5, 5]);
  });

  const shareByAnother = async (key: HsmKeyId): Promise<boolean> => {
    const { ledger } = fixture.cluster;
    const fields = { keyId: key, change: { share: [FRIEND] } };
    const prepared = await owner.run('record-prepare', fields, call(), key);
    return await ledger.amend(await ledger.liveEntry(key), prepared);
  };

  test('begins from what another daemon committed, though the HSMs have it not yet', async () => {
    const key = await makeKey();
    expect(await shareByAnother(key)).toBe(true);
    await change(key, { label: 'mine' });
    await clean();
    expect(await revisions(key)).toEqual([3, 3, 3]);
    expect(await opensOn(key)).toEqual([true, true, true]);
  });

  test('that another daemon overtook is decided anew', async () => {
    const key = await makeKey();
    let outcome: boolean | undefined;
    const run = async (...asked: Parameters<ClusterSession['run']>): Promise<unknown> => {
      const prepared = await owner.run(...asked);
      outcome ??= await shareByAnother(key);
      return prepared;
    };
    await change(key, { label: 'mine' }, { run } as unknown as ClusterSession);
    expect(outcome).toBe(true);
    await clean();
    expect(await revisions(key)).toEqual([3, 3, 3]);
    expect(await opensOn(key)).toEqual([true, true, true]);
  });

  test('of a key that does not live is refused', async () => {
    const key = await makeKey();
    await fixture.store.commit(await fixture.cluster.vault.destroyKey(key));
    await expectCode(change(key, { label: 'late' }), 'VaultKeyMissing');
    await clean();
  });
});

describe('an HSM that missed a change', () => {
  test('has it before it serves, though every HSM that decided it is gone', async () => {
    const key = await makeKey();
    await change(key, { share: [FRIEND] });
    await whileAway(member(0), async () => {
      await change(key, { unshare: [FRIEND] });
      // only the ledger can give it
      for (const other of [member(1), member(2)]) await fixture.cluster.want(other.id, 'stop');
    });
    expect(await opensOn(key)).toEqual([false, false, false]);
    expect((await revisions(key))[0]).toBe(3);
    for (const other of [member(1), member(2)]) await fixture.cluster.want(other.id, 'run');
    await clean();
  });

  /** As if the frames were lost that tell it of a changed record. */
  function deafen(one: Member): () => void {
    const ask = one.ask.bind(one);
    const deaf = (...asked: Parameters<typeof ask>): unknown =>
      asked[0] === 'record-apply' ? Promise.reject(new Error('lost')) : ask(...asked);
    one.ask = deaf as typeof ask;
    return () => void (one.ask = ask);
  }

  test('is passed over until it has it, and is reported', async () => {
    const [other, key] = [await makeKey(), await makeKey()];
    await change(key, { share: [FRIEND] });
    await clean();
    const hear = deafen(member(1));
    await change(key, { unshare: [FRIEND] });
    // by its own record it would let the other user in
    expect((await revisions(key))[1]).toBe(2);
    expect(await opensOn(key)).toEqual([false, false, false]);
    const request = call(member(1));
    const input = { aad: NO_AAD, plaintext: DATA };
    const sealed = await fixture.cluster.vault.encrypt(key, input, request);
    expect(request.servedBy).not.toBe(member(1).id);
    // neither by itself nor as what another key is worked with from
    const again = call(member(1));
    const from = { key, input: { ...sealed, aad: NO_AAD } };
    await fixture.cluster.vault.reencrypt(from, { key: other, aad: NO_AAD }, again);
    expect(again.servedBy).not.toBe(member(1).id);
    const check = await fixture.cluster.check(false);
    expect(check).toMatchObject({ clean: false, lost: 0, scarce: 0 });
    expect(check.hsms.map(({ superseded }) => superseded)).toEqual([0, 1, 0]);
    hear();
    expect(await fixture.cluster.check(true)).toMatchObject({ clean: true });
    expect(await revisions(key)).toEqual([3, 3, 3]);
  });

  test('gets it with the copy, though who gives that has it not either', async () => {
    let key: HsmKeyId | undefined;
    const hear = [member(1), member(2)].map((other) => deafen(other));
    await whileAway(member(0), async () => {
      const prepared = await fixture.cluster.vault.createKey('AES_256', call());
      await fixture.store.commit(prepared.part);
      prepared.committed();
      key = prepared.id;
      const { ledger } = fixture.cluster;
      const fields = { keyId: key, change: { label: 'two' } };
      const carried = await owner.run('record-prepare', fields, call(), key);
      await ledger.amend(await ledger.liveEntry(key), carried);
      // the repairs that this calls for are over when it comes back
      await pause(2 * LIMITS.repair_pause_ms);
    });
    expect(await revisions(key ?? expect.unreachable())).toEqual([2, 1, 1]);
    for (const each of hear) each();
    expect(await fixture.cluster.check(true)).toMatchObject({ clean: true });
  });

  test('counts for nothing where two of three are gone: the change is refused', async () => {
    const key = await makeKey();
    for (const other of [member(1), member(2)]) await fixture.cluster.want(other.id, 'kill');
    await expectCode(change(key, { label: 'alone' }), 'VaultNotDurable');
    for (const other of [member(1), member(2)]) await fixture.cluster.want(other.id, 'run');
    await clean();
    expect(await revisions(key)).toEqual([1, 1, 1]);
  });

  test('one of three is killed meanwhile: the change is made', async () => {
    const key = await makeKey();
    signal(member(0).supervisor.pid, 'SIGKILL');
    await change(key, { label: 'two' });
    await clean();
    expect(await revisions(key)).toEqual([2, 2, 2]);
  });
});

test('a record that only HSMs know counts, and an older one of the ledger does not', async () => {
  const key = await makeKey();
  const ledgerKey = KEYSPACE.ledgerKey(fixture.cluster.id, key);
  const before = await fixture.store.get(ledgerKey);
  await change(key, { share: [FRIEND] });
  const shared = await fixture.store.get(ledgerKey);
  await change(key, { unshare: [FRIEND] });
  await clean();
  for (const old of [before, shared]) {
    // as after the adoption of an older store
    const value = old?.value ?? expect.unreachable();
    await fixture.store.commit({ compares: [], writes: [{ op: 'put', key: ledgerKey, value }] });
    // an entry that names a changed record is seen to, and soon; one that names none is as it was
    if (old === before) {
      const { hsms } = await fixture.cluster.check(false);
      expect(hsms.map(({ ahead }) => ahead)).toEqual([1, 1, 1]);
    }
    expect(await fixture.cluster.check(true)).toMatchObject({ clean: true });
    expect(await opensOn(key)).toEqual([false, false, false]);
    expect(fixture.cluster.ledger.get(key)?.revision).toBe(3);
  }
});

test('an HSM takes no record that was not vouched for, whatever the ledger says', async () => {
  const key = await makeKey();
  const { ledger } = fixture.cluster;
  const masked = Buffer.alloc(200, 7);
  await ledger.amend(await ledger.liveEntry(key), {
    revision: 2,
    digest: masked.subarray(0, 32),
    masked,
  });
  await expectCode(giveRecord(member(0), key, ledger), 'HsmBadRecord');
  expect(await fixture.cluster.check(true)).toMatchObject({ clean: false });
  expect(await revisions(key)).toEqual([1, 1, 1]);
  // nothing works with it: no HSM has the record that counts
  await expectCode(
    fixture.cluster.vault.encrypt(key, { aad: NO_AAD, plaintext: DATA }, call()),
    'VaultUnavailable',
  );
  await fixture.store.commit(await fixture.cluster.vault.destroyKey(key));
  await clean();
});

test('a user who logged out has no session left on any HSM', async () => {
  const sessions = async (): Promise<number[]> =>
    (
      await Promise.all(
        fixture.cluster.members.map((one) => one.ask('info', {}, deadlineIn(30_000))),
      )
    ).map((info) => info.sessions);
  const before = await sessions();
  const session = await login(FRIEND);
  expect(session.size).toBe(3);
  fixture.cluster.logout(session);
  expect(session.size).toBe(0);
  await expectCode(session.run('random', { length: 1 }, call()), 'VaultUnavailable');
  await eventually(async () => {
    const now = await sessions();
    return now.every((count, at) => count === before[at]) || undefined;
  }, 'the sessions are gone');
  await expectCode(fixture.cluster.login(FRIEND, 'wrong-password'), 'HsmCredentialsRefused');
});
