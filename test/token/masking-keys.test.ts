import {
  createCipheriv,
  createDecipheriv,
  createPublicKey,
  generateKeyPairSync,
  privateDecrypt,
  publicEncrypt,
  randomBytes,
  type KeyObject,
} from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { newMaskingKeyId } from '../../src/core/ids.js';
import { CKA } from '../../src/core/pkcs11.js';
import { gcmDecrypt, gcmEncrypt } from '../../src/token/cipher.js';
import { cmac, proveKey } from '../../src/token/mac.js';
import {
  abandonJoin,
  beginJoin,
  findMaskingKeys,
  finishJoin,
  foundMaskingKeys,
  wrapForJoiner,
  type MaskingKeys,
  type WrappedMaskingKeys,
} from '../../src/token/masking-keys.js';
import { AES_KEY_GEN } from '../../src/token/mechanism.js';
import { findObjects, listKeys, readAttributes } from '../../src/token/objects.js';
import { ofAes256, storedAesKey } from '../../src/token/template.js';
import type { Handle, Token } from '../../src/token/token.js';
import { generateSessionKey, unwrapToToken, wrapKey } from '../../src/token/wrapping.js';
import { TokenFixture } from '../support/token-fixture.js';

const NO_AAD = Buffer.alloc(0);
const refused = (code: string): unknown => expect.objectContaining({ code });

/** A key of the user that may wrap, but that no officer trusts. */
const untrustedWrappingKey = (fixture: TokenFixture): Handle =>
  fixture.token.cryptoki.C_GenerateKey(fixture.token.anchor, AES_KEY_GEN, [
    ...ofAes256(storedAesKey({ place: 'session' })).filter(({ type }) => type !== CKA.WRAP),
    { type: CKA.WRAP, value: true },
  ]);

describe('founded masking keys', () => {
  const id = newMaskingKeyId();
  let fixture: TokenFixture;
  let keys: MaskingKeys;
  beforeAll(() => {
    fixture = new TokenFixture();
    fixture.token.initialize({ label: 'first', ...fixture.pins });
    keys = foundMaskingKeys(fixture.token, fixture, id);
  });
  afterAll(() => fixture[Symbol.dispose]());

  test('leave the user logged in and are found by their id after a restart', () => {
    expect(fixture.token.isLoggedIn).toBe(true);
    fixture.restart();
    const found = findMaskingKeys(fixture.token);
    expect(found?.id).toBe(id);
    keys = found ?? keys;
  });

  test('are private objects of the token, three and no more', () => {
    for (const handle of [keys.wrap, keys.seal, keys.auth]) {
      const read = readAttributes(fixture.token, handle, [CKA.TOKEN, CKA.PRIVATE, CKA.SENSITIVE]);
      expect(read.map((value) => value[0])).toEqual([1, 1, 1]);
    }
    expect(findObjects(fixture.token, [])).toHaveLength(3);
    expect(listKeys(fixture.token)).toEqual([]);
  });

  test('mask-wrap wraps and unwraps a key that demands a trusted one', () => {
    const key = generateSessionKey(fixture.token);
    const proof = proveKey(fixture.token, key, 'k');
    const blob = wrapKey(fixture.token, keys.wrap, key);
    expect(blob).toHaveLength(40);
    const copy = unwrapToToken(fixture.token, keys.wrap, blob, {
      recordBytes: Buffer.from([1]),
      label: 'a key',
    });
    expect(proveKey(fixture.token, copy, 'k').equals(proof)).toBe(true);
    fixture.token.destroy(copy);
  });

  test('an untrusted key does not wrap such a key', () => {
    const key = generateSessionKey(fixture.token);
    expect(() => wrapKey(fixture.token, untrustedWrappingKey(fixture), key)).toThrow(
      refused('HsmUsageRefused'),
    );
  });

  test('mask-wrap neither encrypts nor decrypts nor signs', () => {
    const iv = fixture.token.iv();
    expect(() => gcmEncrypt(fixture.token, keys.wrap, iv, NO_AAD, Buffer.from('x'))).toThrow(
      refused('HsmUsageRefused'),
    );
    expect(() => gcmDecrypt(fixture.token, keys.wrap, iv, NO_AAD, Buffer.alloc(32))).toThrow(
      refused('HsmUsageRefused'),
    );
    expect(() => cmac(fixture.token, keys.wrap, Buffer.from('x'))).toThrow(
      refused('HsmUsageRefused'),
    );
  });

  test('mask-seal seals and opens, and does nothing else', () => {
    const iv = fixture.token.iv();
    const sealed = gcmEncrypt(fixture.token, keys.seal, iv, NO_AAD, Buffer.from('seed'));
    expect(gcmDecrypt(fixture.token, keys.seal, iv, NO_AAD, sealed).toString()).toBe('seed');
    const blob = wrapKey(fixture.token, keys.wrap, generateSessionKey(fixture.token));
    expect(() => wrapKey(fixture.token, keys.seal, generateSessionKey(fixture.token))).toThrow(
      refused('HsmUsageRefused'),
    );
    expect(() =>
      unwrapToToken(fixture.token, keys.seal, blob, { recordBytes: Buffer.from([1]), label: 'x' }),
    ).toThrow(refused('HsmUsageRefused'));
    expect(() => cmac(fixture.token, keys.seal, Buffer.from('x'))).toThrow(
      refused('HsmUsageRefused'),
    );
  });

  test('mask-auth authenticates, and does nothing else', () => {
    expect(cmac(fixture.token, keys.auth, Buffer.from('x'))).toHaveLength(16);
    const iv = fixture.token.iv();
    expect(() => gcmEncrypt(fixture.token, keys.auth, iv, NO_AAD, Buffer.from('x'))).toThrow(
      refused('HsmUsageRefused'),
    );
    expect(() => wrapKey(fixture.token, keys.auth, generateSessionKey(fixture.token))).toThrow(
      refused('HsmUsageRefused'),
    );
  });

  test('the user cannot make a trusted key', () => {
    const template = ofAes256(storedAesKey({ place: 'session' }));
    expect(() =>
      fixture.token.cryptoki.C_GenerateKey(fixture.token.anchor, AES_KEY_GEN, [
        ...template,
        { type: CKA.TRUSTED, value: true },
      ]),
    ).toThrow('CKR_ATTRIBUTE_READ_ONLY');
  });

  test('a key of a user with the label of a masking key is none', () => {
    const blob = wrapKey(fixture.token, keys.wrap, generateSessionKey(fixture.token));
    const record = Buffer.from(`mask-seal:${newMaskingKeyId()}`);
    const handle = unwrapToToken(fixture.token, keys.wrap, blob, {
      recordBytes: record,
      label: 'mask-seal',
    });
    expect(findMaskingKeys(fixture.token)?.seal.equals(keys.seal)).toBe(true);
    expect(listKeys(fixture.token).map((key) => key.label)).toEqual(['mask-seal']);
    fixture.token.destroy(handle);
  });

  test('without one of the three there are none, and founding again clears the rest', () => {
    fixture.token.destroy(keys.auth);
    expect(findMaskingKeys(fixture.token)).toBeUndefined();
    const second = newMaskingKeyId();
    keys = foundMaskingKeys(fixture.token, fixture, second);
    expect(findMaskingKeys(fixture.token)?.id).toBe(second);
    expect(findObjects(fixture.token, [{ type: CKA.TOKEN, value: true }])).toHaveLength(3);
  });
});

/** Both sides of a join against node:crypto, since one process has one token. */
describe('joining', () => {
  const id = newMaskingKeyId();
  let fixture: TokenFixture;
  beforeEach(() => {
    fixture = new TokenFixture();
    fixture.token.initialize({ label: 'member', ...fixture.pins });
  });
  afterEach(() => fixture[Symbol.dispose]());

  const wrapAll = (publicKey: Uint8Array, secrets: Record<keyof WrappedMaskingKeys, Buffer>) => {
    const key = createPublicKey({ key: Buffer.from(publicKey), format: 'der', type: 'spki' });
    const wrap = (secret: Buffer): Uint8Array => publicEncrypt({ key, oaepHash: 'sha1' }, secret);
    return { wrap: wrap(secrets.wrap), seal: wrap(secrets.seal), auth: wrap(secrets.auth) };
  };

  test('a joiner takes over the very keys that a member wrapped', () => {
    const { token, soPin, userPin } = fixture;
    const secrets = { wrap: randomBytes(32), seal: randomBytes(32), auth: randomBytes(32) };
    const joinKey = beginJoin(token, soPin);
    expect(token.isLoggedIn).toBe(false);
    finishJoin(token, joinKey, wrapAll(joinKey.publicKey, secrets), userPin, id);
    fixture.restart();
    const keys = findMaskingKeys(fixture.token);
    expect(keys?.id).toBe(id);
    if (!keys) return;
    checkKeys(fixture.token, keys, secrets);
    expect(findObjects(fixture.token, [])).toHaveLength(3);
    expect(() => gcmEncrypt(fixture.token, keys.wrap, Buffer.alloc(12), NO_AAD, NO_AAD)).toThrow();
  });

  test('a member wraps the keys for a joiner', () => {
    const { token } = fixture;
    const keys = foundMaskingKeys(token, fixture, id);
    for (const modulusLength of [2048, 3072]) {
      const pair = generateKeyPairSync('rsa', { modulusLength });
      const spki = pair.publicKey.export({ type: 'spki', format: 'der' });
      const wrapped = wrapForJoiner(token, keys, spki);
      const unwrap = (blob: Uint8Array): Buffer =>
        privateDecrypt({ key: pair.privateKey, oaepHash: 'sha1' }, blob);
      checkKeys(token, keys, {
        wrap: unwrap(wrapped.wrap),
        seal: unwrap(wrapped.seal),
        auth: unwrap(wrapped.auth),
      });
    }
    expect(findObjects(token, [{ type: CKA.TOKEN, value: false }])).toHaveLength(0);
  });

  test('keys wrapped for somebody else are refused and nothing stays', () => {
    const { token, soPin, userPin } = fixture;
    const secrets = { wrap: randomBytes(32), seal: randomBytes(32), auth: randomBytes(32) };
    const joinKey = beginJoin(token, soPin);
    const wrapped = wrapAll(joinKey.publicKey, secrets);
    const stranger = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey;
    const foreign = wrapAll(stranger.export({ type: 'spki', format: 'der' }), secrets);
    const short = wrapped.auth.subarray(1);
    for (const auth of [foreign.auth, short, Buffer.alloc(256, 9)]) {
      const key = beginJoin(token, soPin);
      const own = wrapAll(key.publicKey, secrets);
      expect(() => finishJoin(token, key, { ...own, auth }, userPin, id)).toThrow(
        refused('HsmDataInvalid'),
      );
    }
    abandonJoin(token, joinKey);
    token.loginUser(userPin);
    expect(findMaskingKeys(token)).toBeUndefined();
    expect(findObjects(token, [])).toHaveLength(0);
  });

  test('the join key cannot leave the token', () => {
    const joinKey = beginJoin(fixture.token, fixture.soPin);
    expect(() =>
      readAttributes(fixture.token, joinKey.privateHandle, [CKA.PRIVATE_EXPONENT]),
    ).toThrow();
    const [isToken] = readAttributes(fixture.token, joinKey.privateHandle, [CKA.TOKEN]);
    expect(isToken?.[0]).toBe(0);
    abandonJoin(fixture.token, joinKey);
  });

  test('only an RSA key of a fitting size is wrapped for', () => {
    const { token } = fixture;
    const keys = foundMaskingKeys(token, fixture, id);
    const small = generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey;
    const curve = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey;
    const spki = (key: KeyObject): Buffer => key.export({ type: 'spki', format: 'der' });
    for (const publicKey of [spki(small), spki(curve), Buffer.from('not a key'), Buffer.alloc(0)]) {
      expect(() => wrapForJoiner(token, keys, publicKey)).toThrow(refused('HsmBadRecord'));
    }
  });
});

/** The token's three keys do what AES with these secrets does. */
function checkKeys(
  token: Token,
  keys: MaskingKeys,
  secrets: Record<keyof WrappedMaskingKeys, Buffer>,
): void {
  const iv = token.iv();
  const sealed = gcmEncrypt(token, keys.seal, iv, NO_AAD, Buffer.from('seed'));
  const decipher = createDecipheriv('aes-256-gcm', secrets.seal, iv);
  decipher.setAuthTag(sealed.subarray(-16));
  expect(decipher.update(sealed.subarray(0, -16)).toString() + decipher.final('utf8')).toBe('seed');

  const block = Buffer.alloc(16, 3);
  expect(cmac(token, keys.auth, block).equals(cmacOfBlock(secrets.auth, block))).toBe(true);

  const known = randomBytes(32);
  const wrapper = createCipheriv(
    'id-aes256-wrap-pad',
    secrets.wrap,
    Buffer.from('a65959a6', 'hex'),
  );
  const blob = Buffer.concat([wrapper.update(known), wrapper.final()]);
  const handle = unwrapToToken(token, keys.wrap, blob, {
    recordBytes: Buffer.from([1]),
    label: 'known',
  });
  expect(cmac(token, handle, block).equals(cmacOfBlock(known, block))).toBe(true);
  token.destroy(handle);
}

/** AES-CMAC of one whole block (RFC 4493). */
function cmacOfBlock(key: Buffer, block: Buffer): Buffer {
  const aes = (input: Buffer): Buffer =>
    createCipheriv('aes-256-ecb', key, null).setAutoPadding(false).update(input);
  const subkey = aes(Buffer.alloc(16));
  const carry = (subkey[0] ?? 0) >> 7;
  const doubled = Buffer.alloc(16);
  for (let at = 0; at < 16; at += 1) {
    doubled[at] = ((subkey[at] ?? 0) << 1) | ((subkey[at + 1] ?? 0) >> 7);
  }
  doubled[15] = (doubled[15] ?? 0) ^ (carry * 0x87);
  return aes(Buffer.from(block.map((byte, at) => byte ^ (doubled[at] ?? 0))));
}
