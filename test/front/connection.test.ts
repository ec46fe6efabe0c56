import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { callAdmin } from '../../src/cli/admin-client.js';
import { KeyspanClient } from '../../src/client/client.js';
import { LIMITS } from '../../src/core/limits.js';
import type { AdminResults } from '../../src/protocol/admin.js';
import { CloudHsmAccount } from '../support/cloudhsm-account.js';
import { DaemonFixture, eventually } from '../support/daemon-fixture.js';
import type { DoorSocket, Message } from '../support/door-socket.js';

let daemon: DaemonFixture;
let urls: readonly string[];
let admin: { username: string; password: string; role: string };
let credentials: AdminResults['Credentials'];
let socket: DoorSocket;

beforeAll(async () => {
  daemon = await DaemonFixture.start({ ephemeral: true });
  urls = (await daemon.status()).endpoints.websocket;
  credentials = await callAdmin(daemon.home, 'Credentials');
  const { username = '', password = '' } = credentials.admin ?? {};
  admin = { username, password, role: 'admin' };
  socket = await daemon.socket();
});
afterAll(async () => {
  await daemon?.[Symbol.asyncDispose]();
});

const sessionOf = ({ result, error }: Message): string => {
  expect(error).toBe(undefined);
  return result?.['session'] as string;
};
const login = async (by: DoorSocket, user: object = admin): Promise<string> =>
  sessionOf(await by.call('UserLogin', user));
const carol = { username: 'carol', role: 'crypto-user', password: 'password-of-carol' };

async function stranger(): Promise<DoorSocket> {
  const principal = 'arn:aws:iam::000000000000:user/bob';
  const pems = await callAdmin(daemon.home, 'IssueCertificate', { principal });
  return await daemon.socket({ ...pems, ca: daemon.pems().ca });
}

describe('the data plane', () => {
  test.each(['keyspan.v1.json', 'keyspan.v1.cbor'] as const)('over %s', async (subprotocol) => {
    await using other = await daemon.socket({ subprotocol });
    const { result } = await other.call('UserList');
    expect(result?.['users']).toContainEqual(
      expect.objectContaining({ username: 'admin', role: 'admin' }),
    );
    const { id } = (await daemon.status()).cluster;
    const info = (await other.call('HsmInfo', { cluster: id })).result;
    expect(info?.['hsms']).toHaveLength(3);
  });

  test('refuses by its own codes', async () => {
    const refusals: [string, object, string][] = [
      ['UserLogin', { ...admin, password: 'wrong' }, 'HsmCredentialsRefused'],
      ['UserLogin', { ...admin, role: 'root' }, 'ValidationException'],
      ['UserLogout', { session: 'x' }, 'HsmNotLoggedIn'],
      ['UserList', { session: 'x' }, 'HsmNotLoggedIn'],
      ['UserList', { cluster: 'cluster-aaaaaaaaaaa' }, 'ValidationException'],
      ['ClusterActivate', { password: 'password-1' }, 'KeyspanRefused'],
      ['UserLogins', {}, 'UnknownOperationException'],
    ];
    for (const [action, params, code] of refusals) {
      expect(await socket.refusal(action, params), action).toBe(code);
    }
    const { username, password } = credentials.cryptoUser ?? {};
    const session = await login(socket, { username, password, role: 'crypto-user' });
    expect(await socket.refusal('UserCreate', { session, ...carol })).toBe('HsmRoleRefused');
    expect((await socket.call('UserLogout', { session })).result).toEqual({});
  });

  test('a login is good at each ENI, for the principal that made it', async () => {
    const session = await login(socket);
    await using second = await daemon.socket({ url: urls[1] ?? '' });
    expect((await second.call('UserList', { session })).result).toHaveProperty('users');
    await using bob = await stranger();
    const isNone = 'HsmNotLoggedIn';
    for (const action of ['UserList', 'UserLogout']) {
      expect(await bob.refusal(action, { session })).toBe(isNone);
    }
    expect(await bob.refusal('UserCreate', { session, ...carol })).toBe(isNone);
    const own = await login(bob);
    expect(await socket.refusal('UserLogout', { session: own })).toBe(isNone);
    const ofOperator = callAdmin(daemon.home, 'UserLogout', { session });
    await expect(ofOperator).rejects.toMatchObject({ code: isNone });
    const user = { ...admin, role: 'admin' as const };
    const { session: operators } = await callAdmin(daemon.home, 'UserLogin', user);
    expect(await socket.refusal('UserList', { session: operators })).toBe(isNone);
    expect((await second.call('UserLogout', { session })).result).toEqual({});
    expect(await socket.refusal('UserList', { session })).toBe(isNone);
  });

  test('what changes something is done once for each token', async () => {
    const session = await login(socket);
    const token = { token: 'make-carol' };
    const made = await socket.call('UserCreate', { session, ...carol }, token);
    expect(made.result).toEqual({ username: 'carol', role: 'crypto-user' });
    await using second = await daemon.socket({ url: urls[1] ?? '' });
    const again = await second.call('UserCreate', { session, ...carol }, token);
    expect(again.result).toEqual(made.result);
    expect(await second.refusal('UserCreate', { session, ...carol })).toBe('HsmAlreadyExists');
    const other = { session, ...carol, username: 'dave' };
    const misused = await socket.call('UserCreate', other, token);
    expect(misused.error?.code).toBe('ValidationException');
    const user = { session, username: 'carol', role: 'crypto-user' };
    expect((await socket.call('UserDelete', user)).error).toBe(undefined);
    // one login, whichever ENI the answer comes by
    const [one, two] = await Promise.all([
      socket.call('UserLogin', admin, { token: 'in' }),
      second.call('UserLogin', admin, { token: 'in' }),
    ]);
    expect(sessionOf(one)).toBe(sessionOf(two));
  });

  test('more logins than the operator may have', async () => {
    const count = LIMITS.cli_sessions_max + 6;
    const logins = await Promise.all(Array.from({ length: count }, () => login(socket)));
    expect(new Set(logins).size).toBe(count);
    const ended = logins.map((session) => socket.call('UserLogout', { session }));
    for (const end of ended) expect((await end).error).toBe(undefined);
  });

  test('leaves a line for each request, and no password anywhere', async () => {
    const file = `${daemon.home.audit}/audit.jsonl`;
    await socket.call('UserLogin', { ...admin, password: 'marked-password' });
    const line = await eventually(async () => {
      const all = readFileSync(file, 'utf8').trim().split('\n');
      return all.findLast((one) => one.includes('"UserLogin","code":"Hsm'));
    }, 'the line is there');
    expect(JSON.parse(line)).toMatchObject({
      event: 'request',
      door: 'websocket',
      principal: 'arn:aws:iam::123456789012:root',
      code: 'HsmCredentialsRefused',
    });
    expect(readFileSync(file, 'utf8')).not.toContain('marked-password');
    expect(daemon.log()).not.toContain('marked-password');
  });
});

test('an ENI means its own cluster', async () => {
  await using account = await CloudHsmAccount.open();
  const { ClusterId } = await account.create();
  const { EniIp = '' } = await account.createHsm(ClusterId);
  const ca = await account.initialize(ClusterId);
  const { certificate, privateKey } = account.daemon.pems();
  await using client = await KeyspanClient.connect({
    endpoints: [`wss://${EniIp}:2225/`],
    ca,
    certificate,
    privateKey,
  });
  const password = 'changeme-please';
  await client.call('ClusterActivate', { password });
  const user = { username: 'admin', password, role: 'admin' };
  const { session } = (await client.call('UserLogin', user)).result;
  const { users } = (await client.call('UserList', { session })).result;
  expect(users).toHaveLength(2);
});
