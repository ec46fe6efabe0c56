import { createCipheriv, randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CKA } from '../../src/core/pkcs11.js';
import { gcmDecrypt, gcmEncrypt } from '../../src/token/cipher.js';
import { importSessionKey } from '../../src/token/known-key.js';
import { findObjects, readAttributes } from '../../src/token/objects.js';
import { TokenFixture } from '../support/token-fixture.js';

describe('a key whose value is known', () => {
  let fixture: TokenFixture;
  beforeAll(() => {
    fixture = TokenFixture.ready();
  });
  afterAll(() => fixture[Symbol.dispose]());

  test.each([16, 24, 32])('of %i bytes computes what AES computes', (length) => {
    const { token } = fixture;
    const value = randomBytes(length);
    const [iv, aad, text] = [randomBytes(12), randomBytes(20), randomBytes(33)];
    const key = importSessionKey(token, value);
    const cipher = createCipheriv(`aes-${length * 8}-gcm` as 'aes-256-gcm', value, iv).setAAD(aad);
    const expected = Buffer.concat([cipher.update(text), cipher.final(), cipher.getAuthTag()]);
    const sealed = gcmEncrypt(token, key, iv, aad, text);
    expect(sealed.equals(expected)).toBe(true);
    expect(gcmDecrypt(token, key, iv, aad, sealed).equals(text)).toBe(true);
    token.destroy(key);
  });

  test('lives in memory, is private, and vanishes', () => {
    const { token } = fixture;
    const key = importSessionKey(token, randomBytes(32));
    const read = readAttributes(token, key, [CKA.TOKEN, CKA.PRIVATE]);
    expect(read.map((value) => value[0])).toEqual([0, 1]);
    token.destroy(key);
    expect(findObjects(token, [])).toEqual([]);
    importSessionKey(token, randomBytes(32));
    fixture.restart();
    expect(findObjects(fixture.token, [])).toEqual([]);
  });

  test('of another length is refused', () => {
    expect(() => importSessionKey(fixture.token, randomBytes(15))).toThrow();
  });
});
