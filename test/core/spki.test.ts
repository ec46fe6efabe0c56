import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { expect, test } from 'vitest';
import { octetString, pointOf, rsaPartsOf } from '../../src/core/spki.js';

const spki = (key: KeyObject): Buffer => key.export({ format: 'der', type: 'spki' });

test.each([
  ['secp224r1', 57],
  ['prime256v1', 65],
  ['secp384r1', 97],
  ['secp521r1', 133],
])('the point of a key on %s has %i bytes', (namedCurve, length) => {
  const { publicKey } = generateKeyPairSync('ec', { namedCurve });
  const point = pointOf(spki(publicKey));
  expect(point).toHaveLength(length);
  expect(point[0]).toBe(0x04);
  expect(octetString(point).subarray(-length).equals(point)).toBe(true);
});

test('that of an Ed25519 key is its 32 bytes', () => {
  const { publicKey } = generateKeyPairSync('ed25519');
  const { x = '' } = publicKey.export({ format: 'jwk' });
  expect(pointOf(spki(publicKey)).equals(Buffer.from(x, 'base64url'))).toBe(true);
});

test('an RSA key has a modulus and an exponent', () => {
  const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const { n, e } = rsaPartsOf(spki(publicKey));
  expect(n).toHaveLength(256);
  expect(e.toString('hex')).toBe('010001');
});
