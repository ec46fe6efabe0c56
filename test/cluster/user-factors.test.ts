import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { expect, test } from 'vitest';
import { readPublicPem } from '../../src/cluster/user-factors.js';

const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2_048 });
const refused = expect.objectContaining({ code: 'HsmFactorRefused' }) as unknown;

test('a public key is read from either of its forms', () => {
  const der = publicKey.export({ format: 'der', type: 'spki' });
  for (const type of ['spki', 'pkcs1'] as const) {
    const pem = publicKey.export({ format: 'pem', type }) as string;
    expect(Buffer.from(readPublicPem(`\n${pem}`)).equals(der)).toBe(true);
  }
});

test('a private key is refused and not read', () => {
  const pem = privateKey.export({ format: 'pem', type: 'pkcs8' }) as string;
  expect(createPublicKey(pem).type).toBe('public');
  for (const wrong of [pem, '', 'x', '-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----']) {
    expect(() => readPublicPem(wrong)).toThrow(refused);
  }
});
