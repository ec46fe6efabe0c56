import { createDecipheriv } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { isKeyspanError } from '../../src/core/errors.js';
import { CKA, CKK, CKO } from '../../src/core/pkcs11.js';
import { gcmDecrypt, gcmEncrypt } from '../../src/token/cipher.js';
import { copyToSession } from '../../src/token/objects.js';
import type { Handle } from '../../src/token/token.js';
import { generateSessionKey } from '../../src/token/wrapping.js';
import { TokenFixture } from '../support/token-fixture.js';

let fixture: TokenFixture;
let key: Handle;
beforeAll(() => {
  fixture = TokenFixture.ready();
  key = generateSessionKey(fixture.token);
});
afterAll(() => fixture[Symbol.dispose]());

const NO_AAD = Buffer.alloc(0);

/** A key whose bytes the test knows: imported as a session object. */
const importKey = (value: Buffer): Handle =>
  fixture.token.cryptoki.C_CreateObject(fixture.token.anchor, [
    { type: CKA.CLASS, value: CKO.SECRET_KEY },
    { type: CKA.KEY_TYPE, value: CKK.AES },
    { type: CKA.TOKEN, value: false },
    { type: CKA.PRIVATE, value: true },
    { type: CKA.ENCRYPT, value: true },
    { type: CKA.DECRYPT, value: true },
    { type: CKA.VALUE, value },
  ]);

test('what is sealed opens again, for all sizes and with and without AAD', () => {
  for (const length of [1, 15, 16, 17, 32, 4096, 16_384]) {
    for (const aad of [NO_AAD, Buffer.from('context'), Buffer.alloc(4096, 7)]) {
      const iv = fixture.token.iv();
      const plaintext = fixture.token.random(Math.min(length, 1024));
      const data = Buffer.concat([plaintext, Buffer.alloc(length - plaintext.length, 1)]);
      const sealed = gcmEncrypt(fixture.token, key, iv, aad, data);
      expect(sealed).toHaveLength(length + 16);
      expect(gcmDecrypt(fixture.token, key, iv, aad, sealed).equals(data)).toBe(true);
    }
  }
});

test('it is the standard AES-256-GCM (GCM specification, test case 16)', () => {
  const handle = importKey(
    Buffer.from('feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308', 'hex'),
  );
  const iv = Buffer.from('cafebabefacedbaddecaf888', 'hex');
  const aad = Buffer.from('feedfacedeadbeeffeedfacedeadbeefabaddad2', 'hex');
  const plaintext = Buffer.from(
    'd9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72' +
      '1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39',
    'hex',
  );
  const sealed =
    '522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa' +
    '8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662' +
    '76fc6ece0f4e1768cddf8853bb2d551b';
  expect(gcmEncrypt(fixture.token, handle, iv, aad, plaintext).toString('hex')).toBe(sealed);
});

test('another implementation opens it', () => {
  const secret = fixture.token.random(32);
  const iv = fixture.token.iv();
  const aad = Buffer.from('aad');
  const sealed = gcmEncrypt(fixture.token, importKey(secret), iv, aad, Buffer.from('hello'));
  const decipher = createDecipheriv('aes-256-gcm', secret, iv).setAAD(aad);
  decipher.setAuthTag(sealed.subarray(-16));
  const opened = Buffer.concat([decipher.update(sealed.subarray(0, -16)), decipher.final()]);
  expect(opened.toString()).toBe('hello');
});

test('a change of anything is HsmDataInvalid, and the session goes on working', () => {
  const iv = fixture.token.iv();
  const aad = Buffer.from('context');
  const plaintext = Buffer.alloc(32, 5);
  const sealed = gcmEncrypt(fixture.token, key, iv, aad, plaintext);
  const flip = (bytes: Buffer, at: number): Buffer => {
    const changed = Buffer.from(bytes);
    changed[at] = (changed[at] ?? 0) ^ 1;
    return changed;
  };
  const open = fixture.token.sessions.open;
  const attempts: [Buffer, Buffer, Buffer][] = [
    [iv, aad, flip(sealed, 0)],
    [iv, aad, flip(sealed, sealed.length - 1)],
    [iv, aad, sealed.subarray(0, -1)],
    [iv, aad, sealed.subarray(0, 17)],
    [iv, aad, sealed.subarray(0, 16)],
    [iv, aad, sealed.subarray(0, 3)],
    [iv, aad, NO_AAD],
    [iv, flip(aad, 2), sealed],
    [iv, NO_AAD, sealed],
    [flip(iv, 11), aad, sealed],
  ];
  for (const [usedIv, usedAad, data] of attempts) {
    try {
      gcmDecrypt(fixture.token, key, usedIv, usedAad, data);
      expect.unreachable();
    } catch (error) {
      expect(isKeyspanError(error, 'HsmDataInvalid')).toBe(true);
    }
    expect(gcmDecrypt(fixture.token, key, iv, aad, sealed).equals(plaintext)).toBe(true);
  }
  expect(fixture.token.sessions.retired).toBe(0);
  expect(fixture.token.sessions.open).toBe(open);
});

test('another key does not open it', () => {
  const iv = fixture.token.iv();
  const sealed = gcmEncrypt(fixture.token, key, iv, NO_AAD, Buffer.from('x'));
  const other = generateSessionKey(fixture.token);
  expect(() => gcmDecrypt(fixture.token, other, iv, NO_AAD, sealed)).toThrow(
    expect.objectContaining({ code: 'HsmDataInvalid' }),
  );
});

test('an empty plaintext is refused before the token sees it', () => {
  const iv = fixture.token.iv();
  expect(() => gcmEncrypt(fixture.token, key, iv, NO_AAD, NO_AAD)).toThrow(
    expect.objectContaining({ code: 'HsmBadFrame' }),
  );
  expect(fixture.token.sessions.retired).toBe(0);
});

test('a handle that is gone is HsmKeyNotFound, and no session is lost by it', () => {
  const gone = copyToSession(fixture.token, key);
  fixture.token.destroy(gone);
  const iv = fixture.token.iv();
  for (const run of [
    () => gcmEncrypt(fixture.token, gone, iv, NO_AAD, Buffer.from('x')),
    () => gcmDecrypt(fixture.token, gone, iv, NO_AAD, Buffer.alloc(40)),
  ]) {
    expect(run).toThrow(expect.objectContaining({ code: 'HsmKeyNotFound' }));
  }
  expect(fixture.token.sessions.retired).toBe(0);
});
