import { afterAll, beforeAll, expect, test } from 'vitest';
import { CKA, CKK, CKO } from '../../src/core/pkcs11.js';
import { cmac, proveKey } from '../../src/token/mac.js';
import type { Handle } from '../../src/token/token.js';
import { generateSessionKey } from '../../src/token/wrapping.js';
import { TokenFixture } from '../support/token-fixture.js';

let fixture: TokenFixture;
let known: Handle;
beforeAll(() => {
  fixture = TokenFixture.ready();
  known = fixture.token.cryptoki.C_CreateObject(fixture.token.anchor, [
    { type: CKA.CLASS, value: CKO.SECRET_KEY },
    { type: CKA.KEY_TYPE, value: CKK.AES },
    { type: CKA.TOKEN, value: false },
    { type: CKA.PRIVATE, value: true },
    { type: CKA.SIGN, value: true },
    {
      type: CKA.VALUE,
      value: Buffer.from('603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4', 'hex'),
    },
  ]);
});
afterAll(() => fixture[Symbol.dispose]());

test('it is the standard AES-CMAC (NIST SP 800-38B, AES-256 examples)', () => {
  const block = Buffer.from('6bc1bee22e409f96e93d7e117393172a', 'hex');
  expect(cmac(fixture.token, known, block).toString('hex')).toBe(
    '28a7023f452e8f82bd4bf28d8c37c35c',
  );
  const longer = Buffer.from(
    '6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411',
    'hex',
  );
  expect(cmac(fixture.token, known, longer).toString('hex')).toBe(
    'aaf3d8f1de5640c232f5b169b9c911e6',
  );
});

test('a proof depends on the key and on its id, and on nothing else', () => {
  const key = generateSessionKey(fixture.token);
  const proof = proveKey(fixture.token, key, 'a');
  expect(proof).toHaveLength(16);
  expect(proveKey(fixture.token, key, 'a').equals(proof)).toBe(true);
  expect(proveKey(fixture.token, key, 'b').equals(proof)).toBe(false);
  const other = generateSessionKey(fixture.token);
  expect(proveKey(fixture.token, other, 'a').equals(proof)).toBe(false);
});

test('the proof is the CMAC of the published label and the id', () => {
  const expected = cmac(fixture.token, known, Buffer.from('keyspan proof v1a'));
  expect(proveKey(fixture.token, known, 'a').equals(expected)).toBe(true);
});

test('nothing to authenticate is refused before the token sees it', () => {
  expect(() => cmac(fixture.token, known, Buffer.alloc(0))).toThrow(
    expect.objectContaining({ code: 'HsmBadFrame' }),
  );
});
