import { expect, test } from 'vitest';
import { CKM } from '../../src/core/pkcs11.js';
import { aesGcm, RSA_OAEP_SHA1 } from '../../src/token/mechanism.js';

test('AES-GCM names its IV, AAD and sizes in bits, in one object for all calls', () => {
  const iv = Buffer.alloc(12, 1);
  const aad = Buffer.alloc(3, 2);
  const mechanism = aesGcm(iv, aad);
  expect(mechanism).toMatchObject({
    mechanism: CKM.AES_GCM,
    parameter: { iv, aad, ivBits: 96, tagBits: 128 },
  });
  expect(aesGcm(Buffer.alloc(12), Buffer.alloc(0))).toBe(mechanism);
});

test('OAEP is the one that SoftHSM knows: SHA-1 with MGF1-SHA-1', () => {
  expect(RSA_OAEP_SHA1).toMatchObject({
    mechanism: CKM.RSA_PKCS_OAEP,
    parameter: { hashAlg: CKM.SHA_1, mgf: 1, source: 1 },
  });
});
