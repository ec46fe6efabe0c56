import { createPrivateKey, createPublicKey, generateKeyPairSync, randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { newMaskingKeyId } from '../../src/core/ids.js';
import { importSecret, kindOfPrivate, spkiOf } from '../../src/token/key-import.js';
import { EC_PARAMETERS, type EcCurve, type KeyKind } from '../../src/token/key-kind.js';
import {
  generateAes,
  generateEc,
  generateRsa,
  makeRsaKey,
  type NewPair,
} from '../../src/token/key-making.js';
import { checkValue, proveHandle } from '../../src/token/key-proof.js';
import { exposeKey, importKey } from '../../src/token/key-transport.js';
import { foundMaskingKeys } from '../../src/token/masking-keys.js';
import { listKeys } from '../../src/token/objects.js';
import type { Handle } from '../../src/token/token.js';
import { unwrapToSession, unwrapToToken, wrapKey } from '../../src/token/wrapping.js';
import { TokenFixture } from '../support/token-fixture.js';

let fixture: TokenFixture;
let masking: Handle;
beforeAll(() => {
  fixture = new TokenFixture();
  fixture.token.initialize({ label: 'one', ...fixture.pins });
  masking = foundMaskingKeys(fixture.token, fixture, newMaskingKeyId()).wrap;
});
afterAll(() => fixture[Symbol.dispose]());

const RSA: KeyKind = { class: 'private-key', type: 'rsa' };
const invalid = expect.objectContaining({ code: 'HsmDataInvalid' });

/** Onto the token and back: the same key, proved by its public half. */
function travels(handle: Handle, kind: KeyKind, spki?: Buffer): void {
  const { token } = fixture;
  const of = { keyId: 'id', spki };
  const proof = proveHandle(token, handle, kind, of);
  const blob = wrapKey(token, masking, handle);
  const named = { recordBytes: Buffer.from('a record'), label: 'one' };
  const stored = unwrapToToken(token, masking, blob, named, kind);
  expect(proveHandle(token, stored, kind, of).equals(proof)).toBe(true);
  expect(listKeys(token).some((key) => key.handle.equals(stored))).toBe(true);
  const copy = unwrapToSession(token, masking, wrapKey(token, masking, stored), kind);
  expect(proveHandle(token, copy, kind, of).equals(proof)).toBe(true);
  expect(proveHandle(token, copy, kind, { ...of, keyId: 'other' }).equals(proof)).toBe(false);
  for (const one of [stored, copy]) token.destroy(one);
}

test.each([16, 24, 32] as const)('an AES key of %i bytes travels, and is shown its bytes', (n) => {
  const kind: KeyKind = { class: 'secret-key', type: 'aes', lengthBytes: n };
  const handle = generateAes(fixture.token, n);
  travels(handle, kind);
  const bytes = exposeKey(fixture.token, masking, handle, kind);
  expect(bytes).toHaveLength(n);
  const again = importKey(fixture.token, kind, bytes);
  expect(checkValue(fixture.token, again).equals(checkValue(fixture.token, handle))).toBe(true);
});

test("an AES key's check value is the beginning of a block of zeros under it", () => {
  const kind: KeyKind = { class: 'secret-key', type: 'aes', lengthBytes: 16 };
  const handle = importKey(fixture.token, kind, Buffer.alloc(16));
  // FIPS 197's cipher of zeros under zeros
  expect(checkValue(fixture.token, handle).toString('hex')).toBe('66e94b');
});

describe.each(Object.keys(EC_PARAMETERS) as EcCurve[])('a key on %s', (curve) => {
  test('travels, and leaves as PKCS #8', () => {
    const kind: KeyKind = { class: 'private-key', type: 'ec', curve };
    const { handle, spki } = generateEc(fixture.token, curve);
    travels(handle, kind, spki);
    const pkcs8 = exposeKey(fixture.token, masking, handle, kind);
    expect(kindOfPrivate(pkcs8)).toEqual(kind);
    expect(spkiOf(pkcs8).equals(spki)).toBe(true);
    travels(importKey(fixture.token, kind, pkcs8), kind, spki);
  });
});

describe('an RSA key', () => {
  test.each([
    [2048, 65_537],
    [2304, 65_539],
  ])('of %i bits with the exponent %i travels, and leaves as PKCS #8', (bits, exponent) => {
    const { handle, spki } = generateRsa(fixture.token, { bits, exponent });
    const details = createPublicKey({ key: spki, format: 'der', type: 'spki' });
    expect(details.asymmetricKeyDetails).toMatchObject({
      modulusLength: bits,
      publicExponent: BigInt(exponent),
    });
    travels(handle, RSA, spki);
    const pkcs8 = exposeKey(fixture.token, masking, handle, RSA);
    const key = createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' });
    expect(key.asymmetricKeyDetails?.modulusLength).toBe(bits);
  });

  test('that was made elsewhere is proved, wrapped and gone', () => {
    const of = { bits: 2048, exponent: 65_537, keyId: 'id' };
    const { blob, spki, proof } = makeRsaKey(fixture.token, masking, of);
    const handle = unwrapToSession(fixture.token, masking, blob, RSA);
    expect(proveHandle(fixture.token, handle, RSA, { keyId: 'id', spki }).equals(proof)).toBe(true);
  });

  test('is not proved by the public half of another', () => {
    const make = (): NewPair => generateRsa(fixture.token, { bits: 2048, exponent: 65_537 });
    const [{ handle }, { spki }] = [make(), make()];
    const prove = (): Buffer => proveHandle(fixture.token, handle, RSA, { keyId: 'id', spki });
    expect(prove).toThrow(expect.objectContaining({ code: 'HsmKeyUnproven' }));
  });
});

test('what is no key of the kind is not taken', () => {
  const { token } = fixture;
  const ec: KeyKind = { class: 'private-key', type: 'ec', curve: 'secp256r1' };
  expect(() => importKey(token, ec, randomBytes(64))).toThrow();
  for (const bytes of [randomBytes(64), Buffer.alloc(0)]) {
    expect(() => kindOfPrivate(bytes)).toThrow(invalid);
  }
  const small = generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey;
  const x25519 = generateKeyPairSync('x25519').privateKey;
  for (const key of [small, x25519]) {
    const pkcs8 = key.export({ format: 'der', type: 'pkcs8' });
    expect(() => kindOfPrivate(pkcs8)).toThrow(/no type that an HSM holds/);
  }
  const ed = generateKeyPairSync('ed25519').privateKey.export({ format: 'der', type: 'pkcs8' });
  expect(kindOfPrivate(ed)).toMatchObject({ curve: 'ed25519', seed: ed.subarray(-32) });
});

test('a secret of any length is an object of memory', () => {
  for (const length of [1, 13, 800]) {
    const handle = importSecret(fixture.token, randomBytes(length));
    fixture.token.destroy(handle);
  }
});
