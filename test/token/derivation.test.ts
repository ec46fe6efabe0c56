import { ECDH, createECDH, createHash, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { octetString, pointOf } from '../../src/core/spki.js';
import { agree, type Agreement } from '../../src/token/derivation.js';
import type { EcCurve } from '../../src/token/key-kind.js';
import { importKey } from '../../src/token/key-transport.js';
import type { Handle } from '../../src/token/token.js';
import { TokenFixture } from '../support/token-fixture.js';

let fixture: TokenFixture;
beforeAll(() => {
  fixture = TokenFixture.ready();
});
afterAll(() => fixture[Symbol.dispose]());

const code = (name: string): unknown => expect.objectContaining({ code: name });
const CKD_NULL = 1;
const KDFS = [
  [2, 'sha1'],
  [5, 'sha224'],
  [6, 'sha256'],
  [7, 'sha384'],
  [8, 'sha512'],
] as const;

/** ANSI X9.63 as SEC 1, 3.6.1 writes it down. */
function kdf(by: string, secret: Buffer, bytes: number, info = Buffer.alloc(0)): Buffer {
  let made = Buffer.alloc(0);
  for (let counter = 1; made.length < bytes; counter += 1) {
    const count = Buffer.from([0, 0, counter >> 8, counter & 255]);
    const block = createHash(by)
      .update(Buffer.concat([secret, count, info]))
      .digest();
    made = Buffer.concat([made, block]);
  }
  return made.subarray(0, bytes);
}

interface Base {
  readonly handle: Handle;
  readonly curve: EcCurve;
  /** what node:crypto agrees upon */
  secret(point: Buffer): Buffer;
}
function newBase(curve: EcCurve, name: string): Base {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: name });
  const peer = createECDH(name);
  peer.setPrivateKey(scalarOf(privateKey));
  const pkcs8 = privateKey.export({ format: 'der', type: 'pkcs8' });
  const handle = importKey(fixture.token, { class: 'private-key', type: 'ec', curve }, pkcs8);
  return { handle, curve, secret: (point) => peer.computeSecret(point) };
}
/** Of ECPrivateKey (RFC 5915): behind its header and its version. */
function scalarOf(key: KeyObject): Buffer {
  const der = key.export({ format: 'der', type: 'sec1' });
  const at = (der[1] ?? 0) < 0x80 ? 5 : 6;
  return der.subarray(at + 2, at + 2 + (der[at + 1] ?? 0));
}
const agreed = (
  base: Base,
  publicData: Uint8Array,
  more: Partial<Omit<Agreement, 'publicData' | 'curve'>> = {},
): Buffer =>
  agree(fixture.token, base.handle, { curve: base.curve, kdf: CKD_NULL, publicData, ...more });

describe.each<[EcCurve, string, number]>([
  ['secp224r1', 'secp224r1', 28],
  ['secp256r1', 'prime256v1', 32],
  ['secp384r1', 'secp384r1', 48],
  ['secp256k1', 'secp256k1', 32],
  ['secp521r1', 'secp521r1', 66],
])('ECDH on %s', (curve, name, bytes) => {
  let base: Base;
  const other = createECDH(name);
  const point = other.generateKeys();
  beforeAll(() => {
    base = newBase(curve, name);
  });

  test('agrees with node:crypto, whatever the form of the point', () => {
    const expected = base.secret(point);
    expect(expected).toHaveLength(bytes);
    const compressed = other.getPublicKey(null, 'compressed');
    const hybrid = other.getPublicKey(null, 'hybrid');
    for (const form of [point, octetString(point), compressed, octetString(compressed), hybrid]) {
      expect(agreed(base, form)).toEqual(expected);
    }
  });

  test('is as long as it is asked for, without bytes of the leading end', () => {
    const expected = base.secret(point);
    for (const length of [1, 16, 24, bytes - 1, bytes]) {
      expect(agreed(base, point, { length })).toEqual(expected.subarray(bytes - length));
    }
    expect(() => agreed(base, point, { length: bytes + 1 })).toThrow(
      code('HsmMechanismParamInvalid'),
    );
  });

  test.each(KDFS)('goes through a KDF (%i: %s)', (number, by) => {
    const expected = base.secret(point);
    const sharedData = Buffer.from('shared');
    for (const length of [1, 16, 32, 64, 65, 800]) {
      const more = { kdf: number, length };
      expect(agreed(base, point, more)).toEqual(kdf(by, expected, length));
      const informed = agreed(base, point, { ...more, sharedData });
      expect(informed).toEqual(kdf(by, expected, length, sharedData));
    }
    expect(agreed(base, point, { kdf: number })).toEqual(kdf(by, expected, bytes));
  });

  test('refuses what is no point of the curve', () => {
    const off = Buffer.from(point);
    off[off.length - 1] = (off.at(-1) ?? 0) ^ 1;
    const elsewhere = createECDH(name === 'prime256v1' ? 'secp256k1' : 'prime256v1').generateKeys();
    const wrong = [
      off,
      elsewhere,
      octetString(off),
      point.subarray(1),
      point.subarray(0, -1),
      Buffer.concat([point, Buffer.of(0)]),
      Buffer.concat([Buffer.of(4, bytes), point]),
      Buffer.of(0),
      Buffer.of(4),
      Buffer.of(4, 0x81),
      Buffer.of(4, 1, 0),
      Buffer.alloc(point.length),
      Buffer.alloc(1_024, 4),
    ];
    for (const each of wrong) {
      expect(() => agreed(base, each)).toThrow(code('HsmMechanismParamInvalid'));
    }
    for (const number of [0, 3, 4, 9, 0xffff_ffff]) {
      expect(() => agreed(base, point, { kdf: number })).toThrow(code('HsmMechanismParamInvalid'));
    }
    // and leaves nothing behind that Node would take for an error of its own
    expect(generateKeyPairSync('ec', { namedCurve: name }).publicKey.type).toBe('public');
    expect(agreed(base, point)).toEqual(base.secret(point));
  });
});

test('a secret that begins with zeros keeps them', () => {
  const base = newBase('secp256r1', 'prime256v1');
  let found = 0;
  for (let i = 0; i < 20_000 && found < 2; i += 1) {
    const point = createECDH('prime256v1').generateKeys();
    const expected = base.secret(point);
    if (expected[0] !== 0) continue;
    found += 1;
    expect(agreed(base, point)).toEqual(expected);
    expect(agreed(base, point, { length: 31 })).toEqual(expected.subarray(1));
  }
  expect(found).toBe(2);
});

test('a point of a key in SubjectPublicKeyInfo is taken as it is', () => {
  const base = newBase('secp384r1', 'secp384r1');
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-384' });
  const point = pointOf(publicKey.export({ format: 'der', type: 'spki' }));
  expect(ECDH.convertKey(point, 'secp384r1')).toEqual(point);
  expect(agreed(base, point)).toEqual(base.secret(point));
});
