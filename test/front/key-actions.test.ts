import { verify } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { callAdmin } from '../../src/cli/admin-client.js';
import type { AdminAction, AdminResults } from '../../src/protocol/admin.js';
import { DaemonFixture } from '../support/daemon-fixture.js';

let daemon: DaemonFixture;
let admin = '';
let alice = '';
let bob = '';
const ask = <A extends AdminAction>(action: A, params: object): Promise<AdminResults[A]> =>
  callAdmin(daemon.home, action, params, 60_000);
const login = async (username: string, role = 'crypto-user'): Promise<string> =>
  (await ask('UserLogin', { username, role, password: `${username}-password` })).session;

beforeAll(async () => {
  daemon = await DaemonFixture.start({ hsms: 3 });
  const password = (await ask('Credentials', {})).admin?.password;
  admin = (await ask('UserLogin', { username: 'admin', role: 'admin', password })).session;
  for (const username of ['alice', 'bob']) {
    const user = { username, role: 'crypto-user', password: `${username}-password` };
    await ask('UserCreate', { session: admin, ...user });
  }
  [alice, bob] = await Promise.all([login('alice'), login('bob')]);
});
afterAll(() => daemon?.[Symbol.asyncDispose]());

const base64 = (bytes: unknown): Buffer => Buffer.from(String(bytes), 'base64');
const DATA = Buffer.from('what is signed');

test('a smoke of all', async () => {
  const pair = await ask('KeyGeneratePair', {
    session: alice,
    spec: { type: 'rsa', bits: 2048 },
    publicKey: { label: 'rsa-public', attributes: { verify: true } },
    privateKey: { label: 'rsa-private', attributes: { sign: true } },
  });
  const key = pair.privateKey['key-reference'];
  const { signature } = await ask('KeySign', {
    session: alice,
    key,
    mechanism: { name: 'rsa-pkcs', hash: 'sha256' },
    data: DATA.toString('base64'),
  });
  const { pem } = await ask('KeyPublic', { session: bob, key: pair.publicKey['key-reference'] });
  expect(verify('sha256', DATA, pem, base64(signature))).toBe(true);
  for (const curve of ['secp256r1', 'secp224r1', 'secp384r1', 'secp521r1', 'secp256k1', 'ed25519']) {
    const ec = await ask('KeyGeneratePair', {
      session: alice,
      spec: { type: 'ec', curve },
      publicKey: { label: 'p', attributes: { verify: true } },
      privateKey: { label: 's', attributes: { sign: true } },
    });
    const mechanism = curve === 'ed25519' ? { name: 'ed25519' } : { name: 'ecdsa', hash: 'sha256' };
    const made = await ask('KeySign', {
      session: alice,
      key: ec.privateKey['key-reference'],
      mechanism,
      data: DATA.toString('base64'),
    });
    const checked = await ask('KeyVerify', {
      session: bob,
      key: ec.publicKey['key-reference'],
      mechanism,
      data: DATA.toString('base64'),
      signature: made.signature,
    });
    expect(checked).toEqual({ valid: true });
  }
  const wrapping = await ask('KeyGenerate', {
    session: alice,
    spec: { type: 'aes', length: 32 },
    key: { label: 'kek', attributes: { wrap: true, unwrap: true } },
  });
  const w = wrapping.key['key-reference'];
  for (const name of ['aes-gcm', 'aes-no-pad', 'aes-pkcs5-pad', 'aes-zero-pad', 'cloudhsm-aes-gcm']) {
    const secret = await ask('KeyGenerate', {
      session: alice,
      spec: { type: 'aes', length: 16 },
      key: { label: 'payload', attributes: {} },
    });
    const wrapped = await ask('KeyWrap', {
      session: alice,
      payload: secret.key['key-reference'],
      wrapping: w,
      mechanism: { name },
    });
    const back = await ask('KeyUnwrap', {
      session: alice,
      wrapping: w,
      mechanism: { name, ...(wrapped.iv && { iv: wrapped.iv }) },
      data: wrapped.data,
      kind: 'aes',
      key: { label: 'back' },
    });
    expect(back.key.attributes['check-value']).toBe(secret.key.attributes['check-value']);
  }
  const list = await ask('KeyFind', { session: alice, verbose: false, limit: 100 });
  await ask('KeyShare', { session: alice, key, username: 'bob' });
  await ask('KeySign', {
    session: bob,
    key,
    mechanism: { name: 'rsa-pkcs', hash: 'sha256' },
    data: DATA.toString('base64'),
  });
  await ask('KeyUnshare', { session: alice, key, username: 'bob' });
  await expect(
    ask('KeySign', { session: bob, key, mechanism: { name: 'rsa-pkcs' }, data: 'aGk=' }),
  ).rejects.toThrow();
  await ask('KeyDelete', { session: alice, key });
});
