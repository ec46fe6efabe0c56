import { expect, test } from 'vitest';
import { CKA, CKM, CKR, ckrName } from '../../src/core/pkcs11.js';

test('a return value has its name of the standard', () => {
  expect(ckrName(CKR.OK)).toBe('CKR_OK');
  expect(ckrName(0x30)).toBe('CKR_DEVICE_ERROR');
  expect(ckrName(0x150)).toBe('CKR_BUFFER_TOO_SMALL');
});

test('an unknown return value is named by its number', () => {
  expect(ckrName(0x8000_5346)).toBe('CKR_0x80005346');
});

test('no two return values share a number', () => {
  expect(new Set(Object.values(CKR)).size).toBe(Object.keys(CKR).length);
});

test('numbers that PKCS#11 3.0 and the array attributes brought are the published ones', () => {
  expect(CKM.EDDSA).toBe(0x1057);
  expect(CKM.EC_EDWARDS_KEY_PAIR_GEN).toBe(0x1055);
  expect(CKM.AES_KEY_WRAP_PAD).toBe(0x210a);
  expect(CKA.ALLOWED_MECHANISMS).toBe(0x4000_0600);
  expect(CKA.WRAP_WITH_TRUSTED).toBe(0x210);
});
