import { generateKeyPairSync, privateDecrypt, randomBytes, sign } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { HsmKeyId } from '../../src/core/ids.js';
import { CKM } from '../../src/core/pkcs11.js';
import {
  CryptoFixture,
  makingFor,
  refusedWith,
  secretFor,
  type BroughtPair,
} from '../support/crypto-fixture.js';

/** Who may work how with whose keys, by frames. */
let desk: CryptoFixture;
beforeAll(async () => {
  desk = await CryptoFixture.open();
});
afterAll(() => desk[Symbol.dispose]());

const making = (uses: readonly string[], flags: object = {}): { readonly keyId: HsmKeyId } =>
  makingFor(desk, uses, flags);
const secretOf = (
  value: Uint8Array,
  type: 'aes' | 'generic-secret',
  token = false,
): Promise<HsmKeyId> => secretFor(desk, value, { type, token });

const DATA = Buffer.from('data');
const NOTHING = Buffer.alloc(0);
const rsaKeys = generateKeyPairSync('rsa', { modulusLength: 2_048 });
const edKeys = generateKeyPairSync('ed25519');
const ECDSA = { type: CKM.ECDSA_SHA256 };
const OAEP = { type: CKM.RSA_PKCS_OAEP, hash: CKM.SHA256, mgf: 2 };
const NOBODYS = { token: true, flags: { private: false } };
const made: { open: BroughtPair; hidden: BroughtPair; rsa: HsmKeyId; secret: HsmKeyId } =
  {} as never;
beforeAll(async () => {
  const uses = { secret: ['sign'], open: ['verify'] };
  made.open = await desk.createPair(edKeys, uses, NOBODYS);
  made.hidden = await desk.createPair(edKeys, uses, { token: true, flags: { private: true } });
  const spki = rsaKeys.publicKey.export({ format: 'der', type: 'spki' });
  const content = { kind: 'public-key', value: spki };
  made.rsa = await desk.create(content, ['verify', 'encrypt'], NOBODYS);
  made.secret = await secretOf(randomBytes(20), 'generic-secret', true);
});

test.each(['admin', 'app_user'])('%s works with open public keys', async (who) => {
  const keyId = made.rsa;
  const mechanism = OAEP;
  const encrypt = { keyId, direction: 'encrypt', mechanism, data: DATA };
  const { data } = await desk.as(who, 'p11-cipher', encrypt);
  const by = { key: rsaKeys.privateKey, oaepHash: 'sha256' };
  expect(privateDecrypt(by, data)).toEqual(DATA);
  const signature = sign('sha256', DATA, rsaKeys.privateKey);
  const check = { keyId, mechanism: { type: CKM.SHA256_RSA_PKCS }, data: DATA, signature };
  expect(await desk.as(who, 'p11-verify', check)).toEqual({ valid: true });
});

test.each(['admin', 'app_user'])('%s works with nothing else', async (who) => {
  const signing = { mechanism: ECDSA, data: DATA };
  for (const keyId of [made.open.secret, made.secret, made.open.open]) {
    expect(await refusedWith(desk.as(who, 'p11-sign', { keyId, ...signing }))).toBe(
      'HsmRoleRefused',
    );
    const key = making([]);
    const fields = { baseId: keyId, key, type: 'aes', kdf: 1, publicData: randomBytes(65) };
    expect(await refusedWith(desk.as(who, 'p11-derive', fields))).toBe('HsmRoleRefused');
  }
  const own = await secretOf(randomBytes(32), 'aes');
  const absent = ['HsmKeyNotFound'];
  const none = ['HsmMechanismInvalid', 'HsmUsageRefused'];
  const MAC = { type: CKM.AES_CMAC };
  for (const [keyId, codes] of [
    [made.hidden.open, absent],
    [made.hidden.secret, absent],
    [made.secret, absent],
    [made.open.secret, absent],
    [own, absent],
    [made.open.open, none],
  ] as const) {
    for (const direction of ['encrypt', 'decrypt']) {
      const fields = { keyId, direction, mechanism: { type: CKM.AES_ECB }, data: NOTHING };
      expect(codes).toContain(await refusedWith(desk.as(who, 'p11-cipher', fields)));
    }
    const check = { keyId, mechanism: MAC, data: DATA, signature: NOTHING };
    expect(codes).toContain(await refusedWith(desk.as(who, 'p11-verify', check)));
    for (const purpose of ['sign', 'verify']) {
      const fields = { purpose, mechanism: MAC, keyId };
      expect(codes).toContain(await refusedWith(desk.as(who, 'stream-open', fields)));
    }
  }
  const fields = { purpose: 'verify', mechanism: MAC, keyId: made.open.open };
  expect(await refusedWith(desk.as(who, 'stream-open', fields))).toBe('HsmMechanismInvalid');
});

test('a key of others reads as absent, whatever it is asked for', async () => {
  const own = await secretOf(randomBytes(32), 'aes');
  for (const keyId of [made.secret, made.open.secret, own]) {
    const mechanism = { type: CKM.SHA256_HMAC };
    const purposes = ['sign', 'verify'].map((purpose) =>
      refusedWith(desk.as('bob', 'stream-open', { purpose, mechanism, keyId })),
    );
    const key = making([]);
    const derive = { baseId: keyId, key, type: 'aes', kdf: 1, publicData: randomBytes(65) };
    const common = { keyId, mechanism, data: DATA };
    const codes = await Promise.all([
      ...purposes,
      refusedWith(desk.as('bob', 'p11-cipher', { ...common, direction: 'encrypt' })),
      refusedWith(desk.as('bob', 'p11-sign', common)),
      refusedWith(desk.as('bob', 'p11-verify', { ...common, signature: DATA })),
      refusedWith(desk.as('bob', 'p11-derive', derive)),
    ]);
    expect(new Set(codes)).toEqual(new Set(['HsmKeyNotFound']));
  }
});

test('a key whose use asks for approvals is not used', async () => {
  const key = making(['sign', 'verify', 'encrypt']);
  const asked = { key, spec: { type: 'generic-secret', length: 20 }, share: ['bob'] };
  const quorum = { manage: 2, use: 2 };
  const { masked } = await desk.alice('key-generate', { ...asked, quorum });
  await desk.as('app_user', 'insert', { masked });
  const { keyId } = key;
  const mechanism = { type: CKM.SHA256_HMAC };
  const common = { keyId, mechanism, data: DATA };
  for (const who of ['alice', 'bob']) {
    for (const work of [
      () => desk.as(who, 'p11-sign', common),
      () => desk.as(who, 'p11-verify', { ...common, signature: DATA }),
      () => desk.as(who, 'p11-cipher', { ...common, direction: 'encrypt' }),
      () => desk.as(who, 'stream-open', { purpose: 'sign', mechanism, keyId }),
      () => desk.as(who, 'stream-open', { purpose: 'verify', mechanism, keyId }),
    ]) {
      expect(await refusedWith(work())).toBe('HsmQuorumRefused');
    }
  }
  await desk.as('app_user', 'discard', { keyId });
});
