import { createECDH, createPublicKey } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { agree } from '../../src/token/derivation.js';
import { generateEc } from '../../src/token/key-making.js';
import { TokenFixture } from '../support/token-fixture.js';

let fixture: TokenFixture;
beforeAll(() => {
  fixture = TokenFixture.ready();
});
afterAll(() => fixture[Symbol.dispose]());

const CURVES = {
  secp224r1: 'secp224r1',
  secp256r1: 'prime256v1',
  secp384r1: 'secp384r1',
  secp521r1: 'secp521r1',
  secp256k1: 'secp256k1',
} as const;

test.each(Object.keys(CURVES) as (keyof typeof CURVES)[])(
  'both come to the same on %s',
  (curve) => {
    const { token } = fixture;
    const { handle, spki } = generateEc(token, curve);
    const other = createECDH(CURVES[curve]);
    other.generateKeys();
    const length = other.getPublicKey().length;
    const der = createPublicKey({ key: spki, format: 'der', type: 'spki' }).export({
      format: 'der',
      type: 'spki',
    });
    const own = der.subarray(der.length - length);
    for (const form of ['uncompressed', 'compressed'] as const) {
      const publicData = other.getPublicKey(null, form);
      const shared = agree(token, handle, { curve, kdf: 1, publicData });
      expect(shared).toEqual(other.computeSecret(own));
    }
  },
);
