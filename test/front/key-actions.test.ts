import { generateKeyPairSync } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { callAdmin } from '../../src/cli/admin-client.js';
import type { AdminAction, AdminResults } from '../../src/protocol/admin.js';
import type { DescribedKey } from '../../src/protocol/hsm-session.js';
import { DaemonFixture, eventually } from '../support/daemon-fixture.js';
import { OpenSsl, ecdsaDer } from '../support/openssl.js';

const openssl = new OpenSsl();
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
afterAll(async () => {
  openssl[Symbol.dispose]();
  await daemon?.[Symbol.asyncDispose]();
});

/** Blobs come as base64 at the operator's door. */
const bytesOf = (blob: unknown): Buffer => Buffer.from(String(blob), 'base64');
const DATA = Buffer.from('what is signed');
const data = DATA.toString('base64');
const referenceOf = (key: DescribedKey): string => key['key-reference'];
const refused = (code: string): unknown => expect.objectContaining({ code });

type Attributes = Record<string, boolean | string>;

async function secret(
  label: string,
  attributes: Attributes = {},
  more: object = {},
): Promise<string> {
  const spec = { type: 'aes', length: 32 };
  const asked = { session: alice, spec, key: { label, attributes }, ...more };
  return referenceOf((await ask('KeyGenerate', asked)).key);
}

async function pair(
  spec: object,
  more: object = {},
): Promise<{ open: DescribedKey; secret: DescribedKey }> {
  const { publicKey, privateKey } = await ask('KeyGeneratePair', {
    session: alice,
    spec,
    publicKey: { label: 'public', attributes: { verify: true } },
    privateKey: { label: 'private', attributes: { sign: true } },
    ...more,
  });
  return { open: publicKey, secret: privateKey };
}

const EC = { type: 'ec', curve: 'secp256r1' };

async function describeKey(reference: string, session = alice): Promise<DescribedKey | undefined> {
  const asked = { session, filter: { reference }, verbose: true };
  const [key] = (await ask('KeyFind', asked)).keys;
  return key as DescribedKey | undefined;
}

describe('a key that a crypto-user makes', () => {
  test("has CloudHSM's defaults, and says on how many HSMs it is", async () => {
    const { open, secret: made } = await pair(
      { type: 'rsa', bits: 2_048 },
      { privateKey: { label: 'as it is' } },
    );
    expect(made).toMatchObject({
      'key-info': {
        'key-owners': [{ username: 'alice', 'key-coverage': 'full' }],
        'shared-users': [],
        'key-quorum-values': { 'manage-key-quorum-value': 0, 'use-key-quorum-value': 0 },
        'cluster-coverage': 'full',
      },
      attributes: {
        'key-type': 'rsa',
        label: 'as it is',
        class: 'private-key',
        sign: false,
        extractable: true,
        'never-extractable': false,
        sensitive: true,
        local: true,
        'public-exponent': '0x010001',
        'modulus-size-bits': 2_048,
      },
    });
    expect(open.attributes['modulus']).toBe(made.attributes['modulus']);
    expect(open['key-reference']).toMatch(/^0x00000000[0-9a-f]{8}$/);
    const sign = { mechanism: { name: 'rsa-pkcs', hash: 'sha256' }, data };
    await expect(
      ask('KeySign', { session: alice, key: referenceOf(made), ...sign }),
    ).rejects.toEqual(refused('HsmUsageRefused'));
  });

  test('is signed with, and OpenSSL finds the signature right', async () => {
    const { open, secret: made } = await pair(EC);
    const { signature } = await ask('KeySign', {
      session: alice,
      key: referenceOf(made),
      mechanism: { name: 'ecdsa', hash: 'sha384' },
      data,
    });
    const { pem } = await ask('KeyPublic', { session: bob, key: referenceOf(open) });
    const files = [openssl.file(pem), openssl.file(ecdsaDer(bytesOf(signature)))] as const;
    const [key, file] = files;
    const check = ['dgst', '-sha384', '-verify', key, '-signature', file, openssl.file(DATA)];
    expect(openssl.agrees(...check)).toBe(true);
  });

  test('is not there for another until it is shared, nor after', async () => {
    const { secret: made } = await pair(EC);
    const key = referenceOf(made);
    const sign = { session: bob, key, mechanism: { name: 'ecdsa', hash: 'sha256' }, data };
    expect(await describeKey(key, bob)).toBeUndefined();
    await expect(ask('KeySign', sign)).rejects.toEqual(refused('HsmKeyNotFound'));
    await ask('KeyShare', { session: alice, key, username: 'bob' });
    expect((await describeKey(key, bob))?.['key-info']['shared-users']).toEqual([
      { username: 'bob', 'key-coverage': 'full' },
    ]);
    await ask('KeySign', sign);
    for (const action of ['KeyDelete', 'KeyShare'] as const) {
      const params = { session: bob, key, ...(action === 'KeyShare' && { username: 'alice' }) };
      await expect(ask(action, params)).rejects.toEqual(refused('HsmRoleRefused'));
    }
    await ask('KeyUnshare', { session: alice, key, username: 'bob' });
    await expect(ask('KeySign', sign)).rejects.toEqual(refused('HsmKeyNotFound'));
    expect(await describeKey(key, bob)).toBeUndefined();
  });

  test('is gone from every HSM when it was deleted', async () => {
    const key = await secret('to be deleted');
    await ask('KeyDelete', { session: alice, key });
    expect(await describeKey(key)).toBeUndefined();
    await expect(ask('KeyDelete', { session: alice, key })).rejects.toEqual(
      refused('HsmKeyNotFound'),
    );
    const { clean, buried } = await ask('ClusterCheck', {});
    expect({ clean, buried }).toEqual({ clean: true, buried: 0 });
  });

  test('keeps what was changed of it over the restart of its HSMs, of all kinds', async () => {
    const made = [
      await pair({ type: 'ec', curve: 'ed25519' }),
      await pair({ type: 'rsa', bits: 2_048 }),
    ];
    const keys = made.flatMap(({ open, secret: one }) => [referenceOf(open), referenceOf(one)]);
    for (const key of keys) {
      await ask('KeySetAttribute', { session: alice, key, name: 'label', value: 'renamed' });
      await ask('KeyShare', { session: alice, key, username: 'bob' });
    }
    for (const { id } of await daemon.hsms()) {
      await ask('HsmStop', { id });
      await daemon.hsm(id, 'STOPPED');
      await ask('HsmStart', { id });
      await daemon.allActive();
    }
    for (const key of keys) {
      expect(await describeKey(key, bob)).toMatchObject({
        'key-info': {
          'cluster-coverage': 'full',
          'shared-users': [{ username: 'bob', 'key-coverage': 'full' }],
        },
        attributes: { label: 'renamed' },
      });
    }
    expect(await ask('ClusterCheck', {})).toMatchObject({ clean: true });
  });

  test('lives through the death of an HSM, of all kinds', async () => {
    const [first] = await daemon.hsms();
    const made = await Promise.all([
      pair(EC),
      pair({ type: 'ec', curve: 'ed25519' }),
      pair({ type: 'rsa', bits: 2_048 }),
    ]);
    await ask('HsmKill', { id: first?.id });
    const mechanisms = [
      { name: 'ecdsa', hash: 'sha256' },
      { name: 'ed25519' },
      { name: 'rsa-pkcs' },
    ];
    for (const [at, keys] of made.entries()) {
      const asked = { mechanism: mechanisms[at], data };
      const key = referenceOf(keys.secret);
      const { signature } = await ask('KeySign', { session: alice, key, ...asked });
      const check = { session: bob, key: referenceOf(keys.open), signature, ...asked };
      expect(await ask('KeyVerify', check)).toEqual({ valid: true });
    }
    const whileAway = await pair({ type: 'ec', curve: 'ed25519' });
    await ask('HsmStart', { id: first?.id });
    await daemon.allActive();
    await expect
      .poll(async () => (await describeKey(referenceOf(whileAway.secret)))?.['key-info'], {
        timeout: 20_000,
      })
      .toMatchObject({ 'cluster-coverage': 'full' });
  });
});

test('where one HSM is left no key is made or found, unless one is enough', async () => {
  const key = await secret('before');
  const [, ...away] = await daemon.hsms();
  for (const { id } of away) await ask('HsmStop', { id });
  for (const { id } of away) await daemon.hsm(id, 'STOPPED');
  const making = { session: alice, spec: { type: 'aes', length: 32 }, key: { label: 'alone' } };
  await expect(ask('KeyGenerate', making)).rejects.toEqual(refused('VaultNotDurable'));
  const find = { session: alice, filter: { reference: key } };
  await expect(ask('KeyFind', find)).rejects.toEqual(refused('VaultNotDurable'));
  expect((await ask('KeyFind', { ...find, availabilityCheck: false })).total).toBe(1);
  const made = await ask('KeyGenerate', { ...making, availabilityCheck: false });
  for (const { id } of away) await ask('HsmStart', { id });
  await daemon.allActive();
  await expect
    .poll(async () => (await describeKey(referenceOf(made.key)))?.['key-info'], { timeout: 20_000 })
    .toMatchObject({ 'cluster-coverage': 'full' });
});

describe('attributes', () => {
  test('are changed by the owner, one way where there is but one', async () => {
    const key = await secret('changing');
    const set = (name: string, value: boolean | string, session = alice): Promise<unknown> =>
      ask('KeySetAttribute', { session, key, name, value });
    await set('label', 'changed');
    await set('encrypt', 'true');
    await set('id', '0x0102');
    await set('extractable', false);
    expect((await describeKey(key))?.attributes).toMatchObject({
      label: 'changed',
      encrypt: true,
      id: '0x0102',
      extractable: false,
    });
    const sentence = (name: string, value: unknown): unknown =>
      expect.objectContaining({
        message:
          `Attribute ${name} cannot be set to the value ${String(value)} ` +
          'by the user for this operation',
      });
    await expect(set('extractable', true)).rejects.toEqual(sentence('extractable', true));
    await expect(set('trusted', true)).rejects.toEqual(sentence('trusted', true));
    await expect(set('local', false)).rejects.toEqual(sentence('local', false));
    await expect(set('wrap', 'maybe')).rejects.toEqual(sentence('wrap', 'maybe'));
    await expect(set('token', false)).rejects.toEqual(sentence('token', false));
    await expect(set('another', true)).rejects.toMatchObject({
      message: 'There is no attribute another',
    });
    await set('trusted', true, admin);
    expect((await describeKey(key))?.attributes['trusted']).toBe(true);
    await expect(set('label', 'x', admin)).rejects.toEqual(refused('HsmRoleRefused'));
  });

  test('decide what leaves under what', async () => {
    const payload = await secret('payload', { 'wrap-with-trusted': true });
    const wrapping = await secret('wrapping', { wrap: true, unwrap: true });
    const mechanism = { name: 'aes-gcm', aad: Buffer.from('bound').toString('base64') };
    const wrap = { session: alice, payload, wrapping, mechanism };
    await expect(ask('KeyWrap', wrap)).rejects.toEqual(refused('HsmUsageRefused'));
    const trust = { session: admin, key: wrapping, name: 'trusted', value: true };
    await ask('KeySetAttribute', trust);
    const wrapped = await ask('KeyWrap', wrap);
    const { key } = await ask('KeyUnwrap', {
      session: alice,
      wrapping,
      mechanism: { ...mechanism, iv: wrapped.iv },
      data: wrapped.data,
      kind: 'aes',
      key: { label: 'back' },
    });
    const before = (await describeKey(payload))?.attributes['check-value'];
    expect(key.attributes).toMatchObject({ 'check-value': before, local: false });
    expect(key.attributes['always-sensitive']).toBe(false);
  });
});

describe('a session key', () => {
  test("is on one HSM, is its session's alone, and may become one of the cluster", async () => {
    const key = await secret('of a session', {}, { sessionKey: true });
    const found = await describeKey(key);
    expect(found).toMatchObject({
      'key-info': { 'cluster-coverage': 'full' },
      attributes: { token: false },
    });
    expect(await describeKey(key, await login('alice'))).toBeUndefined();
    await ask('KeySetAttribute', { session: alice, key, name: 'label', value: 'still of it' });
    await ask('KeySetAttribute', { session: alice, key, name: 'token', value: true });
    const kept = await describeKey(key, await login('alice'));
    expect(kept?.attributes).toMatchObject({ token: true, label: 'still of it' });
    await ask('KeyDelete', { session: alice, key });
  });

  test('goes with its HSM', async () => {
    const session = await login('alice');
    const { privateKey } = await ask('KeyGeneratePair', {
      session,
      spec: EC,
      publicKey: { label: 'p' },
      privateKey: { label: 's', attributes: { sign: true } },
      sessionKey: true,
    });
    const sign = { session, key: referenceOf(privateKey), mechanism: { name: 'ecdsa' }, data };
    await ask('KeySign', sign);
    for (const { id, pid } of await daemon.hsms()) {
      await ask('HsmKill', { id });
      await ask('HsmStart', { id });
      await eventually(
        async () => ((await daemon.hsm(id)).pid === pid ? undefined : true),
        'another process',
      );
    }
    await expect(ask('KeySign', sign)).rejects.toMatchObject({
      code: expect.stringMatching(/^(VaultKeyMissing|HsmKeyNotFound)$/),
    });
    // the login goes on
    expect((await ask('KeyFind', { session, limit: 1 })).keys).toHaveLength(1);
  });
});

test('a public key is imported from PEM, as one that was not made here', async () => {
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-384' });
  const pem = publicKey.export({ format: 'pem', type: 'spki' });
  const key = { label: 'imported', attributes: { verify: true } };
  const made = await ask('KeyImport', { session: alice, pem, type: 'ec', key });
  expect(made.key.attributes).toMatchObject({
    class: 'public-key',
    curve: 'secp384r1',
    local: false,
  });
  expect((await ask('KeyPublic', { session: bob, key: referenceOf(made.key) })).pem).toBe(pem);
  await expect(ask('KeyImport', { session: alice, pem, type: 'rsa', key })).rejects.toEqual(
    refused('HsmDataInvalid'),
  );
  await expect(
    ask('KeyImport', { session: alice, pem: 'no PEM', type: 'ec', key }),
  ).rejects.toEqual(refused('HsmDataInvalid'));
});

test('a list has pages, and is filtered by what keys are', async () => {
  for (let at = 0; at < 3; at += 1) await secret('one of three', { derive: true });
  const filter = { attributes: { label: 'one of three', derive: 'true', 'key-type': 'aes' } };
  const first = await ask('KeyFind', { session: alice, filter, limit: 2 });
  expect(first).toMatchObject({ total: 3, more: true });
  const after = (first.keys[1] as DescribedKey)['key-reference'];
  const rest = await ask('KeyFind', { session: alice, filter, limit: 2, after });
  expect(rest).toMatchObject({ total: 3, more: false });
  expect(rest.keys).toHaveLength(1);
  const none = { attributes: { ...filter.attributes, derive: 'false' } };
  expect((await ask('KeyFind', { session: alice, filter: none })).total).toBe(0);
});
