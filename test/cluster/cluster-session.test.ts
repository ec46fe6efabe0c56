import { beforeEach, describe, expect, test } from 'vitest';
import type { Call } from '../../src/core/call.js';
import { deadlineIn } from '../../src/core/deadline.js';
import { KeyspanError, type ErrorCode } from '../../src/core/errors.js';
import { newBootId, newHsmId, newHsmKeyId, type HsmId, type HsmKeyId } from '../../src/core/ids.js';
import { ClusterSession } from '../../src/cluster/cluster-session.js';
import { Member } from '../../src/cluster/member.js';
import type { Channel } from '../../src/hsm/channel.js';
import type { Supervisor } from '../../src/hsm/supervisor.js';
import { expectCode } from '../support/store-calls.js';

/** A foreign peer: an HSM that answers as it is told, and counts what it is asked. */
class Peer {
  readonly member: Member;
  readonly asked: string[] = [];
  inflight = 0;
  active = true;
  failure: ErrorCode | undefined;
  loginFailure: ErrorCode | undefined;
  boot = newBootId();
  readonly channel: Channel;
  /** the channel that the HSM serves through */
  served: Channel;

  constructor() {
    const channel = {
      peer: this,
      request: ({ operation }: { operation: string }) => this.#answer(operation),
    };
    Object.defineProperty(channel, 'inflight', { get: () => this.inflight });
    this.channel = channel as unknown as Channel;
    this.served = this.channel;
    const record = { id: newHsmId() } as Member['record'];
    this.member = new Member(record, 1);
    const supervisor = {};
    Object.defineProperty(supervisor, 'channel', {
      get: () => (this.active ? this.served : undefined),
    });
    this.member.supervisor = supervisor as Supervisor;
  }

  async #answer(operation: string): Promise<object> {
    this.asked.push(operation);
    const failure = operation === 'login' ? this.loginFailure : this.failure;
    if (failure) throw new KeyspanError(failure);
    return operation === 'login' ? { session: 7 } : { data: new Uint8Array(1) };
  }

  get work(): number {
    return this.asked.filter((operation) => operation !== 'login').length;
  }
}

let peers: [Peer, Peer, Peer];
let session: ClusterSession;
let reports: [HsmId, string][];
let lacking: Map<HsmKeyId, Set<HsmId>>;

beforeEach(async () => {
  peers = [new Peer(), new Peer(), new Peer()];
  reports = [];
  lacking = new Map();
  session = new ClusterSession({
    username: 'user',
    password: 'password',
    members: () => peers.map(({ member }) => member),
    lacking: (key) => lacking.get(key),
    report: ({ id }, reason) => reports.push([id, reason]),
  });
  for (const { member, channel } of peers) await session.seat(member, channel);
});

const call = (entry?: Peer, timeoutMs = 10_000): Call => ({
  requestId: 'r',
  deadline: deadlineIn(timeoutMs),
  ...(entry ? { entry: entry.member.id } : {}),
});
const run = (asked: Call, key?: HsmKeyId): Promise<unknown> =>
  session.run('random', { length: 1 }, asked, key);

describe('where work goes', () => {
  test('to the HSM of the ENI, and the call notes it', async () => {
    const asked = call(peers[1]);
    await run(asked);
    expect(asked.servedBy).toBe(peers[1].member.id);
    expect(peers.map(({ work }) => work)).toEqual([0, 1, 0]);
  });

  test('to the least busy when that one does not serve', async () => {
    peers[1].active = false;
    peers[0].inflight = 3;
    const asked = call(peers[1]);
    await run(asked);
    expect(asked.servedBy).toBe(peers[2].member.id);
    expect(session.size).toBe(2);
  });

  test('past HSMs that lack the key', async () => {
    const key = newHsmKeyId();
    lacking.set(key, new Set([peers[0].member.id]));
    const asked = call(peers[0]);
    await run(asked, key);
    expect(asked.servedBy).not.toBe(peers[0].member.id);
  });

  test('not to an HSM whose channel is another than the one that was logged in on', async () => {
    for (const peer of peers) peer.served = new Peer().channel;
    expect(session.size).toBe(0);
    await expectCode(run(call()), 'VaultUnavailable');
  });
});

describe('what fails on one HSM', () => {
  test.each([
    ['KeyspanConnection', false],
    ['HsmBusy', false],
    ['HsmNotLoggedIn', false],
    ['HsmPhase', false],
    ['HsmDeviceError', true],
    ['HsmKeyNotFound', true],
    ['HsmKeyUnproven', true],
  ] as const)('%s is tried on another; reported: %s', async (code, reported) => {
    peers[0].failure = code;
    const asked = call(peers[0]);
    await run(asked);
    expect(asked.servedBy).not.toBe(peers[0].member.id);
    expect(peers[0].work).toBe(1);
    expect(reports).toEqual(reported ? [[peers[0].member.id, code]] : []);
  });

  test.each(['HsmDataInvalid', 'HsmRoleRefused', 'HsmUsageRefused', 'HsmBadFrame'] as const)(
    '%s is the answer',
    async (code) => {
      for (const peer of peers) peer.failure = code;
      await expectCode(run(call(peers[0])), code);
      expect(peers.map(({ work }) => work)).toEqual([1, 0, 0]);
    },
  );

  test('each is asked once, and the last word counts', async () => {
    for (const peer of peers) peer.failure = 'HsmKeyNotFound';
    await expectCode(run(call()), 'HsmKeyNotFound');
    expect(peers.map(({ work }) => work)).toEqual([1, 1, 1]);
  });

  test('nobody serves', async () => {
    for (const peer of peers) peer.active = false;
    await expectCode(run(call()), 'VaultUnavailable');
  });

  test('the time is over', async () => {
    for (const peer of peers) peer.failure = 'KeyspanConnection';
    const outcome = run(call(peers[0], 0)).catch((error: unknown) => error);
    expect(['VaultTimeout', 'KeyspanConnection']).toContain(((await outcome) as KeyspanError).code);
    expect(peers.reduce((sum, { work }) => sum + work, 0)).toBe(1);
  });
});

describe('the login', () => {
  test('that was refused is not tried again on the same boot, but on the next', async () => {
    const [peer] = peers;
    peer.boot = newBootId();
    peer.loginFailure = 'HsmCredentialsRefused';
    await expectCode(session.seat(peer.member, peer.channel), 'HsmCredentialsRefused');
    const before = peer.asked.length;
    peer.loginFailure = undefined;
    await session.seat(peer.member, peer.channel);
    expect(peer.asked.length).toBe(before);
    peer.boot = newBootId();
    await session.seat(peer.member, peer.channel);
    expect(peer.asked.length).toBe(before + 1);
  });

  test.each(['KeyspanConnection', 'HsmBusy'] as const)(
    'that %s kept from being judged is tried again',
    async (code) => {
      const [peer] = peers;
      peer.loginFailure = code;
      await expectCode(session.seat(peer.member, peer.channel), code);
      peer.loginFailure = undefined;
      const before = peer.asked.length;
      await session.seat(peer.member, peer.channel);
      expect(peer.asked.length).toBe(before + 1);
    },
  );
});
