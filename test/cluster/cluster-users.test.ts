import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ClusterUsers, describeHsm, mergeUsers } from '../../src/cluster/cluster-users.js';
import { Member } from '../../src/cluster/member.js';
import { deadlineIn } from '../../src/core/deadline.js';
import { LIMITS } from '../../src/core/limits.js';
import { Channel } from '../../src/hsm/channel.js';
import type { ListedUser } from '../../src/protocol/hsm-session.js';
import type { HsmUser } from '../../src/protocol/hsm-frames.js';
import { HsmHost, PASSWORDS, type TestHsm } from '../support/hsm-host.js';

const refused = (code: string, message?: string): unknown =>
  expect.objectContaining({ code, ...(message !== undefined && { message }) });
const user = (username: string, changes: Partial<HsmUser> = {}): HsmUser => ({
  username,
  role: 'crypto-user',
  locked: false,
  ...changes,
});

describe('users of several HSMs', () => {
  const listed = { role: 'crypto-user', locked: 'false', mfa: [], quorum: [] };

  test('that agree are listed once, in the order of the first', () => {
    const list = [user('b'), user('a', { role: 'appliance-user' })];
    expect(mergeUsers([list, [...list].reverse()])).toEqual([
      { username: 'b', ...listed, 'cluster-coverage': 'full' },
      {
        ...listed,
        username: 'a',
        role: 'internal(APPLIANCE_USER)',
        'cluster-coverage': 'full',
      },
    ]);
  });

  test.each<[string, HsmUser[][], Partial<ListedUser>]>([
    ['a role', [[user('a')], [user('a', { role: 'admin' })]], { role: 'inconsistent' }],
    ['a lock', [[user('a')], [user('a', { locked: true })]], { locked: 'inconsistent' }],
    ['a place', [[user('a')], []], { 'cluster-coverage': 'inconsistent' }],
    ['nothing', [[user('a', { locked: true })], [user('a', { locked: true })]], { locked: 'true' }],
  ])('that differ in %s', (_, lists, shown) => {
    const [one] = mergeUsers(lists);
    expect(one).toEqual({ username: 'a', ...listed, 'cluster-coverage': 'full', ...shown });
  });

  const keyed = (changes: Partial<HsmUser> = {}): HsmUser =>
    user('a', { mfa: true, keyHash: 'k', ...changes });
  const strategy = (status: string): unknown => [{ strategy: 'token-sign', status }];

  test.each<[string, HsmUser[][], unknown, unknown]>([
    ['everywhere', [[keyed()], [keyed()]], strategy('enabled'), []],
    ['somewhere', [[keyed()], [user('a')]], strategy('inconsistent'), []],
    ['of other keys', [[keyed()], [keyed({ keyHash: 'l' })]], strategy('inconsistent'), []],
    ['where the user is', [[keyed()], []], strategy('enabled'), []],
    [
      'and an approver on one HSM',
      [[keyed({ quorum: true })], [keyed()]],
      strategy('enabled'),
      strategy('inconsistent'),
    ],
    [
      'on none, and an approver',
      [[user('a', { quorum: true, keyHash: 'k' })]],
      [],
      strategy('enabled'),
    ],
  ])('a second factor %s', (_, lists, mfa, quorum) => {
    expect(mergeUsers(lists)).toMatchObject([{ username: 'a', mfa, quorum }]);
  });

  test('what only another HSM has comes last', () => {
    const names = mergeUsers([[user('b')], [user('a'), user('b')]]).map((one) => one.username);
    expect(names).toEqual(['b', 'a']);
  });
});

test('an HSM is described in the words of its module', () => {
  const version = { major: 2, minor: 6 };
  const device = { vendor: 'A vendor', model: 'A model v2', hardware: version, firmware: version };
  expect(describeHsm('hsm-a', { serial: 'abc', device }, 'FIPS')).toMatchObject({
    'hsm-id': 'hsm-a',
    vendor: 'A vendor',
    'serial-number': 'abc',
    'firmware-id': 'A-model-v2-FW-2.06-0',
    'firmware-version-major': '2',
    'hardware-version-minor': '6',
  });
});

/** Real HSMs, each founded and not activated, as a cluster before its activation has them. */
describe('activation', () => {
  let host: HsmHost;
  beforeEach(async () => {
    host = await HsmHost.open();
  });
  afterEach(async () => {
    for (const channel of channels.splice(0)) channel.close();
    await host[Symbol.asyncDispose]();
  });

  const channels: Channel[] = [];
  const activated: string[] = [];
  beforeEach(() => activated.splice(0));
  const NEW = 'password-9';

  interface Place {
    readonly id: TestHsm['id'];
    channel: Channel | undefined;
    readonly epoch: number;
    readonly hsm: TestHsm;
  }

  async function newMember(preCrypto?: string): Promise<Place> {
    const hsm = await host.newHsm().start();
    const client = await hsm.connect();
    await host.foundOnly(hsm, client, preCrypto);
    client.end();
    const { socket: path } = hsm.launch;
    const deadline = deadlineIn(LIMITS.request_timeout_ms);
    const channel = await Channel.connect({ path, hsm: hsm.id, cluster: host.cluster, deadline });
    channels.push(channel);
    return { id: hsm.id, channel, epoch: 1, hsm };
  }

  function usersOf(members: readonly Place[]): {
    users: ClusterUsers;
    record: { state: 'INITIALIZED' | 'ACTIVE'; sourceBackupId: null; certificate: string };
  } {
    const state: 'INITIALIZED' | 'ACTIVE' = 'INITIALIZED';
    const record = { state, sourceBackupId: null, certificate: 'signed', mode: 'FIPS' } as {
      state: typeof state | 'ACTIVE';
      sourceBackupId: null;
      certificate: string;
      mode: 'FIPS';
    };
    const users = new ClusterUsers({
      cluster: { id: host.cluster, record, members },
      secrets: { passwordOf: async () => PASSWORDS.preCrypto },
      activated: async (id) => {
        activated.push(id);
        record.state = 'ACTIVE';
      },
    });
    return { users, record };
  }

  async function logIn({ channel }: Place, password: string): Promise<number> {
    if (!channel) throw new Error('it has no channel');
    const admin = { username: 'admin', password };
    return (await Member.login(channel, admin, deadlineIn(LIMITS.request_timeout_ms))).session;
  }

  const adminOf = async (users: ClusterUsers): Promise<ListedUser | undefined> =>
    (await users.userList()).find(({ username }) => username === 'admin');

  test('gives every HSM the admin, once', async () => {
    const members = [await newMember(), await newMember()];
    const { users } = usersOf(members);
    expect(await adminOf(users)).toMatchObject({ role: 'unactivated-admin', locked: 'false' });
    await users.activate(NEW);
    expect(activated).toEqual([host.cluster]);
    expect(await adminOf(users)).toMatchObject({ role: 'admin', 'cluster-coverage': 'full' });
    for (const member of members) {
      expect(await logIn(member, NEW)).toBeGreaterThan(0);
      await expect(logIn(member, PASSWORDS.preCrypto)).rejects.toEqual(
        refused('HsmCredentialsRefused'),
      );
    }
    for (const password of [NEW, 'password-10']) {
      await expect(users.activate(password)).rejects.toEqual(
        refused('KeyspanRefused', 'Cluster is already activated'),
      );
    }
    expect(activated).toHaveLength(1);
  });

  test('of an HSM that was away asks for the same password', async () => {
    const [one, other] = [await newMember(), await newMember()];
    const { users } = usersOf([one, other]);
    const { channel } = other;
    other.channel = undefined;
    await users.activate(NEW);
    other.channel = channel;
    expect(await adminOf(users)).toMatchObject({ role: 'inconsistent' });
    await expect(users.activate('password-10')).rejects.toEqual(refused('KeyspanRefused'));
    expect(await adminOf(users)).toMatchObject({ role: 'inconsistent' });
    await users.activate(NEW);
    expect(await adminOf(users)).toMatchObject({ role: 'admin', locked: 'false' });
    expect(await logIn(other, NEW)).toBeGreaterThan(0);
  });

  test('that fails on one HSM says so, and is none', async () => {
    const { users } = usersOf([await newMember(), await newMember('another-password')]);
    await expect(users.activate(NEW)).rejects.toEqual(
      refused(
        'KeyspanRefused',
        'Cluster activation failed on 1 of 2 HSMs. Try again with the same password',
      ),
    );
    expect(activated).toEqual([]);
    expect(await adminOf(users)).toMatchObject({ role: 'inconsistent' });
  });

  test('that was not noted can be noted later', async () => {
    const { users, record } = usersOf([await newMember()]);
    await users.activate(NEW);
    record.state = 'INITIALIZED';
    await expect(users.activate('password-10')).rejects.toEqual(refused('KeyspanRefused'));
    await users.activate(NEW);
    expect(activated).toHaveLength(2);
  });

  test('users are asked for on each HSM that serves, and a lock counts for each', async () => {
    const members = [await newMember(), await newMember()];
    const [one, other] = members as [Place, Place];
    const { users } = usersOf(members);
    await users.activate(NEW);
    for (let time = 0; time < LIMITS.hsm_login_failures_max; time += 1) {
      await expect(logIn(other, 'wrong')).rejects.toEqual(refused('HsmCredentialsRefused'));
    }
    expect(await adminOf(users)).toMatchObject({ role: 'admin', locked: 'inconsistent' });
    await other.hsm.kill();
    // its end may not be known yet
    expect(await adminOf(users)).toMatchObject({ locked: 'false', 'cluster-coverage': 'full' });
    expect((await users.hsmInfo()).map((hsm) => hsm['hsm-id'])).toEqual([one.id]);
    await one.hsm.kill();
    await expect(users.userList()).rejects.toEqual(refused('KeyspanConnection'));
    one.channel = undefined;
    other.channel = undefined;
    await expect(users.userList()).rejects.toEqual(refused('VaultUnavailable'));
    await expect(users.activate(NEW)).rejects.toEqual(refused('VaultUnavailable'));
  });

  test('a user is expected in its own role', async () => {
    const { users } = usersOf([await newMember()]);
    await expect(users.expect('admin', 'admin')).rejects.toEqual(refused('HsmCredentialsRefused'));
    await users.activate(NEW);
    await users.expect('ADMIN', 'admin');
    for (const [name, role] of [
      ['admin', 'crypto-user'],
      ['nobody', 'admin'],
    ] as const) {
      await expect(users.expect(name, role)).rejects.toEqual(refused('HsmCredentialsRefused'));
    }
  });
});
