import { afterAll, beforeAll, expect, test } from 'vitest';
import { CKA, CKM } from '../../src/core/pkcs11.js';
import { AES_KEY_GEN } from '../../src/token/mechanism.js';
import { readAttributes } from '../../src/token/objects.js';
import { allowedMechanisms, ofAes256, storedAesKey, type Place } from '../../src/token/template.js';
import { TokenFixture } from '../support/token-fixture.js';

let fixture: TokenFixture;
beforeAll(() => {
  fixture = TokenFixture.ready();
});
afterAll(() => fixture[Symbol.dispose]());

const flags = (place: Place): Record<string, boolean> => {
  const { cryptoki, anchor } = fixture.token;
  const template = ofAes256(storedAesKey({ place, recordBytes: Buffer.from([1]), label: 'l' }));
  const handle = cryptoki.C_GenerateKey(anchor, AES_KEY_GEN, template);
  const names = [
    'TOKEN',
    'PRIVATE',
    'SENSITIVE',
    'EXTRACTABLE',
    'WRAP_WITH_TRUSTED',
    'ENCRYPT',
    'DECRYPT',
    'SIGN',
    'WRAP',
    'UNWRAP',
    'DERIVE',
    'TRUSTED',
  ] as const;
  const values = readAttributes(
    fixture.token,
    handle,
    names.map((name) => CKA[name]),
  );
  return Object.fromEntries(names.map((name, at) => [name, values[at]?.[0] === 1]));
};

const STORED = {
  PRIVATE: true,
  SENSITIVE: true,
  EXTRACTABLE: true,
  WRAP_WITH_TRUSTED: true,
  ENCRYPT: true,
  DECRYPT: true,
  SIGN: true,
  WRAP: false,
  UNWRAP: false,
  DERIVE: false,
  TRUSTED: false,
};

test('a stored key has the same attributes on the token and in memory', () => {
  expect(flags('token')).toEqual({ ...STORED, TOKEN: true });
  expect(flags('session')).toEqual({ ...STORED, TOKEN: false });
});

test('allowed mechanisms are an array of CK_ULONG', () => {
  const bytes = allowedMechanisms(CKM.AES_GCM, CKM.AES_CMAC);
  expect(bytes).toHaveLength(16);
  expect(new BigUint64Array(Uint8Array.from(bytes).buffer)).toEqual(
    BigUint64Array.from([0x1087n, 0x108an]),
  );
});
