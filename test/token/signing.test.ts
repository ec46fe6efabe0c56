import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ed25519FromSeed, importSeed } from '../../src/token/key-import.js';
import { generateEc, generateRsa, type NewPair } from '../../src/token/key-making.js';
import {
  HASHES,
  sign,
  verifySignature,
  type HashName,
  type SignMechanism,
} from '../../src/token/signing.js';
import { OpenSsl, ecdsaDer } from '../support/openssl.js';
import { TokenFixture } from '../support/token-fixture.js';

const DATA = Buffer.from('what is signed');
const HASH_NAMES = Object.keys(HASHES) as HashName[];
const CURVES = ['secp224r1', 'secp256r1', 'secp384r1', 'secp256k1', 'secp521r1'] as const;
const openssl = new OpenSsl();
let fixture: TokenFixture;
let rsa: NewPair;
let data = '';
beforeAll(() => {
  fixture = TokenFixture.ready();
  rsa = generateRsa(fixture.token, { bits: 2048, exponent: 65_537 });
  data = openssl.file(DATA);
});
afterAll(() => {
  fixture[Symbol.dispose]();
  openssl[Symbol.dispose]();
});

const made = ({ handle }: NewPair, mechanism: SignMechanism, of: Uint8Array = DATA): Buffer =>
  sign(fixture.token, handle, mechanism, of, { digested: of !== DATA });

function digestOf(hash: HashName): Buffer {
  return createHash(hash).update(DATA).digest();
}

/** Whether OpenSSL finds it right. */
function isRight(spki: Uint8Array, signature: Uint8Array, ...how: string[]): boolean {
  const [key, file] = [openssl.file(spki), openssl.file(signature)];
  return openssl.agrees(
    'dgst',
    ...how,
    '-keyform',
    'DER',
    '-verify',
    key,
    '-signature',
    file,
    data,
  );
}

/** Whether the token does; a changed signature and changed data are refused. */
function isVerified(spki: Uint8Array, mechanism: SignMechanism, signature: Uint8Array): boolean {
  const { token } = fixture;
  const changed = Buffer.from(signature);
  changed[5] = (changed[5] ?? 0) ^ 1;
  const given = { data: DATA, digested: false };
  expect(verifySignature(token, spki, mechanism, { ...given, signature: changed })).toBe(false);
  const other = { ...given, signature, data: Buffer.from('something else') };
  expect(verifySignature(token, spki, mechanism, other)).toBe(false);
  return verifySignature(token, spki, mechanism, { ...given, signature });
}

describe.each(HASH_NAMES)('RSA with %s', (hash) => {
  test('signs by PKCS #1 v1.5, also a DigestInfo', () => {
    const mechanism = { name: 'rsa-pkcs', hash } as const;
    const signature = made(rsa, mechanism);
    expect(isRight(rsa.spki, signature, `-${hash}`)).toBe(true);
    expect(isVerified(rsa.spki, mechanism, signature)).toBe(true);
    const info = Buffer.concat([HASHES[hash].prefix, digestOf(hash)]);
    expect(made(rsa, mechanism, info).equals(signature)).toBe(true);
    expect(() => made(rsa, mechanism, digestOf(hash))).toThrow(/no DigestInfo/);
  });

  test('signs by PSS, also a digest', () => {
    const saltLength = HASHES[hash].bytes;
    const mechanism = { name: 'rsa-pkcs-pss', hash, mgf: hash, saltLength } as const;
    const pss = ['-sigopt', 'rsa_padding_mode:pss', '-sigopt', `rsa_pss_saltlen:${saltLength}`];
    const mgf = ['-sigopt', `rsa_mgf1_md:${hash}`];
    for (const signature of [made(rsa, mechanism), made(rsa, mechanism, digestOf(hash))]) {
      expect(isRight(rsa.spki, signature, `-${hash}`, ...pss, ...mgf)).toBe(true);
      expect(isVerified(rsa.spki, mechanism, signature)).toBe(true);
    }
  });
});

describe.each(CURVES)('ECDSA on %s', (curve) => {
  test.each(HASH_NAMES)('signs with %s, also a digest', (hash) => {
    const pair = generateEc(fixture.token, curve);
    const mechanism = { name: 'ecdsa', hash } as const;
    for (const signature of [made(pair, mechanism), made(pair, mechanism, digestOf(hash))]) {
      expect(isRight(pair.spki, ecdsaDer(signature), `-${hash}`)).toBe(true);
      expect(isVerified(pair.spki, mechanism, signature)).toBe(true);
    }
    expect(() => made(pair, mechanism, Buffer.from('short'))).toThrow(/no digest/);
  });
});

test('Ed25519 signs from a seed, as RFC 8032 says', () => {
  // RFC 8032, 7.1, TEST 3
  const seed = Buffer.from(
    'c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7',
    'hex',
  );
  const { spki } = ed25519FromSeed(seed);
  const publicKey = 'fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025';
  expect(spki.subarray(-32).toString('hex')).toBe(publicKey);
  const handle = importSeed(fixture.token, seed);
  const message = Buffer.from('af82', 'hex');
  const mechanism = { name: 'ed25519' } as const;
  const signature = sign(fixture.token, handle, mechanism, message, { digested: false });
  expect(signature.toString('hex')).toBe(
    '6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac' +
      '18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a',
  );
  const own = sign(fixture.token, handle, mechanism, DATA, { digested: false });
  expect(isVerified(spki, mechanism, own)).toBe(true);
});

test('Ed25519ph is refused: neither the token nor OpenSSL 3.0 has it', () => {
  const mechanism = { name: 'ed25519ph' } as const;
  expect(() => made(rsa, mechanism)).toThrow(/no Ed25519ph/);
  const given = { data: DATA, signature: Buffer.alloc(64), digested: false };
  expect(() => verifySignature(fixture.token, rsa.spki, mechanism, given)).toThrow(/no Ed25519ph/);
});
