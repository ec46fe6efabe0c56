import { createHash, createHmac, randomBytes, verify } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CKM } from '../../src/core/pkcs11.js';
import {
  digestInPieces,
  digestOf,
  hashNamed,
  macInPieces,
  signAs,
  signatureKind,
} from '../../src/token/data-signature.js';
import { importSecret } from '../../src/token/key-import.js';
import { generateEc } from '../../src/token/key-making.js';
import { TokenFixture } from '../support/token-fixture.js';

let fixture: TokenFixture;
beforeAll(() => {
  fixture = TokenFixture.ready();
});
afterAll(() => fixture[Symbol.dispose]());

test('ECDSA on each curve takes digests that are longer than its order', () => {
  const data = Buffer.from('what is signed');
  const bytes = { secp224r1: 28, secp256r1: 32, secp384r1: 48, secp521r1: 66 } as const;
  for (const [curve, curveBytes] of Object.entries(bytes)) {
    const { handle, spki } = generateEc(fixture.token, curve as keyof typeof bytes);
    const digest = createHash('sha512').update(data).digest();
    const key = { handle, spki, curveBytes };
    const made = signAs(fixture.token, key, { type: CKM.ECDSA }, digest);
    const outside = { key: spki, format: 'der', type: 'spki', dsaEncoding: 'ieee-p1363' } as const;
    expect(verify('sha512', data, outside, made), curve).toBe(true);
  }
});

test('a MAC in pieces keeps its session until it ends, and gives it back', () => {
  const { token } = fixture;
  const secret = randomBytes(10);
  const handle = importSecret(token, secret);
  const data = randomBytes(100_000);
  const mac = macInPieces(token, handle, { type: CKM.SHA512_HMAC });
  for (let at = 0; at < data.length; at += 999) mac.update(data.subarray(at, at + 999));
  expect(mac.final()).toEqual(createHmac('sha512', secret).update(data).digest());
  const { open } = token.sessions;
  for (let i = 0; i < 100; i += 1) {
    const short = macInPieces(token, handle, { type: CKM.SHA256_HMAC_GENERAL, macLength: 8 });
    expect(short.final()).toHaveLength(8);
  }
  expect(token.sessions.open).toBe(open);
});

test('digests are those of node:crypto, and what is none is refused', () => {
  const data = Buffer.from('abc');
  const whole = digestOf(CKM.SHA224, data);
  expect(whole).toEqual(createHash('sha224').update(data).digest());
  const pieces = digestInPieces(CKM.SHA224);
  for (const byte of data) pieces.update(Buffer.of(byte));
  expect(pieces.final()).toEqual(whole);
  expect(hashNamed(CKM.SHA384)).toBe('sha384');
  expect(() => digestOf(CKM.AES_CBC, data)).toThrow(
    expect.objectContaining({ code: 'HsmMechanismInvalid' }),
  );
  expect(signatureKind(CKM.AES_CMAC_GENERAL)).toBe('mac');
});
