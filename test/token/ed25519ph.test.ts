import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { signEd25519ph, verifyEd25519ph } from '../../src/token/ed25519ph.js';
import { ed25519FromSeed } from '../../src/token/key-import.js';

/** RFC 8032, section 7.3 */
const SEED = Buffer.from('833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42', 'hex');
const PUBLIC = Buffer.from(
  'ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf',
  'hex',
);
const SIGNATURE = Buffer.from(
  '98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae41' +
    '31f85042463c2a355a2003d062adf5aaa10b8c61e636062aaad11c2a26083406',
  'hex',
);
const ABC = Buffer.from('abc');
const DIGEST = createHash('sha512').update(ABC).digest();
const given = { data: ABC, signature: SIGNATURE, digested: false };

test('it is Ed25519ph (RFC 8032, section 7.3), also of a digest', () => {
  expect(ed25519FromSeed(SEED).spki.subarray(-32).equals(PUBLIC)).toBe(true);
  expect(signEd25519ph(SEED, ABC, { digested: false }).equals(SIGNATURE)).toBe(true);
  expect(signEd25519ph(SEED, DIGEST, { digested: true }).equals(SIGNATURE)).toBe(true);
  expect(verifyEd25519ph(PUBLIC, given)).toBe(true);
  expect(verifyEd25519ph(PUBLIC, { ...given, data: DIGEST, digested: true })).toBe(true);
});

test('a change of anything does not verify', () => {
  for (const at of [0, 31, 32, 63]) {
    const signature = Buffer.from(SIGNATURE);
    signature[at] = (signature[at] ?? 0) ^ 1;
    expect(verifyEd25519ph(PUBLIC, { ...given, signature })).toBe(false);
  }
  expect(verifyEd25519ph(PUBLIC, { ...given, data: Buffer.from('abd') })).toBe(false);
  const short = SIGNATURE.subarray(0, 63);
  expect(verifyEd25519ph(PUBLIC, { ...given, signature: short })).toBe(false);
  const other = ed25519FromSeed(Buffer.alloc(32, 1)).spki.subarray(-32);
  expect(verifyEd25519ph(other, given)).toBe(false);
});

test('a digest is one of SHA-512', () => {
  expect(() => signEd25519ph(SEED, ABC, { digested: true })).toThrow(/no digest of 64 bytes/);
});
