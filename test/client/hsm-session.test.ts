import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { callAdmin } from '../../src/cli/admin-client.js';
import { HsmSession, joinTokens, type SessionOptions } from '../../src/client/hsm-session.js';
import type { CallOptions } from '../../src/client/requests.js';
import { ServiceError } from '../../src/client/service-error.js';
import { KeyspanError } from '../../src/core/errors.js';
import { DaemonFixture } from '../support/daemon-fixture.js';

interface Asked {
  readonly action: string;
  readonly params: Record<string, unknown>;
  readonly options: CallOptions;
}

/** A daemon of which only the logins are of interest; each is named by its number. */
class Logins {
  readonly asked: Asked[] = [];
  readonly alive = new Set<string>();
  count = 0;
  password = 'password-1';
  /** what other actions answer */
  answer: (asked: Asked) => object = () => ({});

  readonly call = async (
    action: string,
    given: object,
    options: CallOptions = {},
  ): Promise<{ result: Record<string, unknown> }> => {
    await Promise.resolve();
    const params = given as Record<string, unknown>;
    this.asked.push({ action, params, options });
    if (action === 'UserMfaTokens') return result({ tokens: [{ hsm: 'a', token: 'AQI=' }] });
    if (action === 'UserLogin') {
      if (params['password'] !== this.password) throw refusal('HsmCredentialsRefused');
      const session = `login-${(this.count += 1)}`;
      this.alive.add(session);
      return result({ session });
    }
    for (const name of [params['session'], params['destination']]) {
      if (name !== undefined && !this.alive.has(name as string)) throw refusal('HsmNotLoggedIn');
    }
    if (action === 'UserLogout') this.alive.delete(params['session'] as string);
    return result(this.answer({ action, params, options }));
  };

  of(action: string): Asked[] {
    return this.asked.filter((one) => one.action === action);
  }

  open(more: Partial<SessionOptions> = {}): Promise<HsmSession> {
    return HsmSession.open(this, { username: 'Alice', password: 'password-1', ...more });
  }
}

const result = (value: object): { result: Record<string, unknown> } => ({
  result: value as Record<string, unknown>,
});
const refusal = (code: string): ServiceError => new ServiceError(code, code);
const refused = (code: string): unknown => expect.objectContaining({ code });
const sign = {
  key: '0x0000000000000001',
  mechanism: { name: 'rsa-pkcs', hash: 'sha256' },
  data: Buffer.of(7),
} as const;

describe('a login that has ended', () => {
  test('is made anew once, for all requests that wait', async () => {
    const logins = new Logins();
    logins.answer = () => ({ signature: Buffer.of(1) });
    const session = await logins.open();
    logins.alive.clear();
    const answers = await Promise.all(Array.from({ length: 5 }, () => session.sign(sign)));
    expect(answers).toHaveLength(5);
    expect(logins.count).toBe(2);
    expect(logins.of('KeySign').at(-1)?.params).toEqual({ ...sign, session: 'login-2' });
  });

  test('is not made anew after the password was refused', async () => {
    const logins = new Logins();
    const session = await logins.open();
    logins.alive.clear();
    logins.password = 'another-1';
    for (let time = 0; time < 3; time += 1) {
      await expect(session.sign(sign)).rejects.toEqual(refused('HsmCredentialsRefused'));
    }
    expect(logins.of('UserLogin')).toHaveLength(2);
  });

  test('is made with the password that the user changed', async () => {
    const logins = new Logins();
    const session = await logins.open();
    logins.password = 'password-2';
    const own = { username: 'ALICE', role: 'crypto-user', password: 'password-2' } as const;
    await session.changePassword(own);
    logins.alive.clear();
    await session.share({ key: sign.key, username: 'bob' });
    expect(logins.count).toBe(2);
  });

  test('is not made anew when nobody knows which password counts', async () => {
    const logins = new Logins();
    const session = await logins.open();
    const own = { username: 'alice', role: 'crypto-user', password: 'password-2' } as const;
    for (const failure of [refusal('ValidationException'), refusal('KeyspanRefused')]) {
      logins.answer = () => {
        throw failure;
      };
      await expect(session.changePassword(own)).rejects.toBe(failure);
      logins.answer = () => ({});
      logins.alive.clear();
      const { code } = failure;
      if (code === 'ValidationException') await session.deleteKey(sign.key);
      else await expect(session.deleteKey(sign.key)).rejects.toEqual(refused(code));
    }
    expect(logins.count).toBe(2);
  });

  test('of a user with a second factor is over', async () => {
    const logins = new Logins();
    const secondFactor = (token: Uint8Array): Uint8Array => Buffer.from(token).reverse();
    const session = await logins.open({ secondFactor });
    expect(logins.of('UserLogin')[0]?.params['mfa']).toEqual([
      { token: Buffer.of(1, 2), signature: Buffer.of(2, 1) },
    ]);
    logins.alive.clear();
    await expect(session.listUsers()).rejects.toEqual(refused('HsmNotLoggedIn'));
    expect(logins.count).toBe(1);
  });

  test('is the only one of two that is made anew', async () => {
    const logins = new Logins();
    logins.answer = ({ action }) => (action === 'HsmInfo' ? { hsms: [] } : { key: {} });
    const [here, there] = [await logins.open(), await logins.open({ cluster: 'other' })];
    logins.alive.delete('login-2');
    await here.replicateKey(sign.key, there);
    expect(logins.of('KeyReplicate').at(-1)?.params).toEqual({
      key: sign.key,
      session: 'login-1',
      destination: 'login-3',
    });
    expect(logins.of('UserLogin').at(-1)?.params).toMatchObject({ cluster: 'other' });
  });
});

test('logging out ends it for good', async () => {
  const logins = new Logins();
  const session = await logins.open();
  await session.logout();
  await session.logout();
  expect(logins.alive.size).toBe(0);
  await expect(session.find()).rejects.toEqual(refused('HsmNotLoggedIn'));
  // one that ended before is no failure
  const other = await logins.open();
  logins.alive.clear();
  await other.logout();
  const late = await logins.open();
  logins.answer = () => {
    throw new KeyspanError('KeyspanConnection');
  };
  await late[Symbol.asyncDispose]();
});

test('what others approved is asked for once', async () => {
  const logins = new Logins();
  logins.answer = () => ({ signature: 'AQ==', data: 'Ag==', iv: 'Aw==' });
  const session = await logins.open();
  const approval = { data: Buffer.alloc(16), signatures: [] };
  expect(await session.sign({ ...sign, approval })).toEqual(Buffer.of(1));
  const wrap = { payload: sign.key, wrapping: sign.key, mechanism: { name: 'aes-gcm' } } as const;
  const wrapped = await session.wrapKey({ ...wrap, wrappingApproval: approval });
  expect(wrapped).toEqual({ data: Buffer.of(2), iv: Buffer.of(3) });
  await session.sign(sign);
  const tokens = ['KeySign', 'KeyWrap'].flatMap((action) => logins.of(action));
  expect(tokens.map(({ options }) => options.token)).toEqual([
    expect.stringMatching(/^[0-9a-f-]{36}$/),
    undefined,
    expect.stringMatching(/^[0-9a-f-]{36}$/),
  ]);
});

test('each action is asked for by its name', async () => {
  const logins = new Logins();
  logins.answer = () => ({ tokens: [], key: 'made', pem: 'pem', valid: true, keys: [] });
  const session = await logins.open({ role: 'admin' });
  const { key } = sign;
  const named = { key: { label: 'x' } };
  await session.find({ filter: { attributes: { label: 'x' } }, verbose: true });
  expect(await session.generateKey({ ...named, spec: { type: 'aes', length: 32 } })).toBe('made');
  const pair = { publicKey: named.key, privateKey: named.key };
  await session.generateKeyPair({ ...pair, spec: { type: 'rsa', bits: 2_048 } });
  await session.importKey({ ...named, pem: 'x', type: 'ec' });
  expect(await session.publicKey(key)).toBe('pem');
  const wrapped = { data: Buffer.of(1), mechanism: { name: 'rsa-aes' } } as const;
  await session.unwrapKey({ ...named, ...wrapped, wrapping: key, kind: 'aes' });
  expect(await session.verify({ ...sign, signature: Buffer.of(1) })).toBe(true);
  await session.setAttribute({ key, name: 'label', value: 'y' });
  await session.share({ key, username: 'bob' });
  await session.unshare({ key, username: 'bob' });
  const user = { username: 'bob', role: 'crypto-user' } as const;
  await session.createUser({ ...user, password: 'password-3' });
  await session.deleteUser(user);
  await session.changeMfa(user);
  await session.changeQuorum({ publicKey: 'pem', tokens: [] });
  await session.replicateUser(user, session);
  await session.quorum.generate({ service: 'user' });
  await session.quorum.list();
  await session.quorum.values();
  await session.quorum.setValue({ service: 'user', value: 2 });
  await session.quorum.delete('user');
  expect(logins.asked.map(({ action }) => action).join(' ')).toBe(
    'UserLogin KeyFind KeyGenerate KeyGeneratePair KeyImport KeyPublic KeyUnwrap KeyVerify ' +
      'KeySetAttribute KeyShare KeyUnshare UserCreate UserDelete UserChangeMfa ' +
      'UserChangeQuorum UserReplicate QuorumGenerate QuorumList QuorumListValues ' +
      'QuorumSetValue QuorumDelete',
  );
});

test('tokens stand one behind the other', () => {
  const tokens = [Buffer.of(1, 2), Buffer.of(3)].map((token) => ({ hsm: 'x', token }));
  expect(joinTokens(tokens)).toEqual(Buffer.of(1, 2, 3));
});

describe('with a daemon', () => {
  let daemon: DaemonFixture;
  beforeAll(async () => {
    daemon = await DaemonFixture.start();
  });
  afterAll(async () => {
    await daemon?.[Symbol.asyncDispose]();
  });

  test.each(['keyspan.v1.json', 'keyspan.v1.cbor'] as const)('over %s', async (subprotocol) => {
    await using client = await daemon.client({ subprotocol });
    const { id } = (await daemon.status()).cluster;
    expect((await client.users()).map(({ username }) => username)).toContain('kmsuser');
    expect(await client.hsmInfo(id)).toHaveLength(3);
    const { username = '', password = '' } =
      (await callAdmin(daemon.home, 'Credentials')).admin ?? {};
    await using admin = await client.session({ username, password, role: 'admin' });
    const user = { username: 'dora', role: 'crypto-user', password: 'password-of-dora' } as const;
    expect(await admin.createUser(user)).toEqual({ username: 'dora', role: 'crypto-user' });
    expect((await admin.listUsers()).map((one) => one.username)).toContain('dora');
    await using dora = await client.session(user);
    const mayNot = dora.createUser({ ...user, username: 'eva' });
    await expect(mayNot).rejects.toEqual(refused('HsmRoleRefused'));
    await admin.deleteUser(user);
    await expect(client.session(user)).rejects.toEqual(refused('HsmCredentialsRefused'));
  });

  test('it outlives the loss of an ENI and of the daemon', async () => {
    await using client = await daemon.client({ requestTimeoutMs: 40_000 });
    const { username = '', password = '' } =
      (await callAdmin(daemon.home, 'Credentials')).cryptoUser ?? {};
    await using session = await client.session({ username, password });
    const { endpoint } = client;
    const at = (await daemon.status()).endpoints.websocket.indexOf(endpoint ?? '');
    const id = (await daemon.hsms())[at]?.id ?? '';
    await callAdmin(daemon.home, 'HsmKill', { id });
    expect(await session.listUsers()).toHaveLength(4);
    expect(client.endpoint).not.toBe(endpoint);
    await callAdmin(daemon.home, 'HsmStart', { id });
    await daemon.allActive();
    await daemon.kill();
    const asked = session.listUsers();
    await daemon.up();
    expect(await asked).toHaveLength(4);
  });
});
