import { constants, generateKeyPairSync, randomBytes, sign, type KeyObject } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CKM } from '../../src/core/pkcs11.js';
import type { SignatureMechanism } from '../../src/token/data-signature.js';
import { verifyAs } from '../../src/token/data-verification.js';
import { OpenSsl } from '../support/openssl.js';
import { TokenFixture } from '../support/token-fixture.js';

const openssl = new OpenSsl();
let fixture: TokenFixture;
beforeAll(() => {
  fixture = TokenFixture.ready();
});
afterAll(() => {
  fixture[Symbol.dispose]();
  openssl[Symbol.dispose]();
});

const DATA = Buffer.from('what is signed');
const rsa = generateKeyPairSync('rsa', { modulusLength: 3_072 });
const ec = generateKeyPairSync('ec', { namedCurve: 'P-384' });
const edwards = generateKeyPairSync('ed25519');
const PSS = { type: CKM.SHA384_RSA_PKCS_PSS, hash: CKM.SHA384, mgf: 3, saltLength: 48 };
const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 48 };

/** What outsiders sign. */
const SIGNED: readonly [string, KeyObject, SignatureMechanism, (data: Buffer) => Buffer][] = [
  [
    'PKCS #1 v1.5',
    rsa.publicKey,
    { type: CKM.SHA256_RSA_PKCS },
    (data) => sign('sha256', data, rsa.privateKey),
  ],
  ['PSS', rsa.publicKey, PSS, (data) => sign('sha384', data, { key: rsa.privateKey, ...pss })],
  [
    'ECDSA',
    ec.publicKey,
    { type: CKM.ECDSA_SHA512 },
    (data) => sign('sha512', data, { key: ec.privateKey, dsaEncoding: 'ieee-p1363' }),
  ],
  ['EdDSA', edwards.publicKey, { type: CKM.EDDSA }, (data) => sign(null, data, edwards.privateKey)],
];
const holds = (
  key: KeyObject,
  mechanism: SignatureMechanism,
  data: Buffer,
  signature: Buffer,
): boolean => {
  const spki = key.export({ format: 'der', type: 'spki' });
  const curveBytes = key.asymmetricKeyType === 'ec' ? 48 : undefined;
  return verifyAs(fixture.token, { spki, curveBytes }, mechanism, { data, signature });
};

describe.each(SIGNED)('a signature of another: %s', (_, key, mechanism, signed) => {
  test('is verified, of anything and of nothing', () => {
    for (const data of [DATA, Buffer.alloc(0), randomBytes(4_000)]) {
      expect(holds(key, mechanism, data, signed(data))).toBe(true);
    }
  });

  test('is none with another bit, of another length, of other data', () => {
    const signature = signed(DATA);
    const { retired } = fixture.token.sessions;
    for (let at = 0; at < signature.length; at += 13) {
      const flipped = Buffer.from(signature);
      flipped[at] = (flipped[at] ?? 0) ^ 0x10;
      expect(holds(key, mechanism, DATA, flipped)).toBe(false);
    }
    const longer = Buffer.concat([signature, Buffer.of(0)]);
    const others = [Buffer.alloc(0), signature.subarray(1), longer, Buffer.alloc(signature.length)];
    for (const wrong of [...others, Buffer.alloc(signature.length, 0xff), Buffer.alloc(1_024, 1)]) {
      expect(holds(key, mechanism, DATA, wrong)).toBe(false);
    }
    expect(holds(key, mechanism, Buffer.from('other'), signature)).toBe(false);
    // nothing is left at work, or of the key
    expect(fixture.token.sessions.retired).toBe(retired);
    expect(holds(key, mechanism, DATA, signature)).toBe(true);
  });
});

test('what the openssl command signs is verified', () => {
  const pem = openssl.file(ec.privateKey.export({ format: 'pem', type: 'pkcs8' }));
  const digest = openssl.run('dgst', '-sha384', '-binary', openssl.file(DATA));
  const der = openssl.run('pkeyutl', '-sign', '-inkey', pem, '-in', openssl.file(digest));
  const scalar = (at: number): Buffer => {
    const digits = der.subarray(at + 2, at + 2 + (der[at + 1] ?? 0));
    return Buffer.concat([Buffer.alloc(48), digits]).subarray(-48);
  };
  const second = 4 + (der[3] ?? 0);
  const signature = Buffer.concat([scalar(2), scalar(second)]);
  expect(holds(ec.publicKey, { type: CKM.ECDSA }, digest, signature)).toBe(true);
  expect(holds(ec.publicKey, { type: CKM.ECDSA_SHA384 }, DATA, signature)).toBe(true);
});
