import { generateKeyPairSync, sign } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CKM } from '../../src/core/pkcs11.js';
import { verifyAs } from '../../src/token/data-verification.js';
import { TokenFixture } from '../support/token-fixture.js';

let fixture: TokenFixture;
beforeAll(() => {
  fixture = TokenFixture.ready();
});
afterAll(() => fixture[Symbol.dispose]());

const DER = { format: 'der', type: 'spki' } as const;

test('signatures from outside are judged, also of nothing, and no session is lost', () => {
  const { token } = fixture;
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2_048 });
  const spki = rsa.publicKey.export(DER);
  const mechanism = { type: CKM.SHA256_RSA_PKCS };
  for (const data of [Buffer.from('data'), Buffer.alloc(0)]) {
    const signature = sign('sha256', data, rsa.privateKey);
    expect(verifyAs(token, { spki }, mechanism, { data, signature })).toBe(true);
    const changed = Buffer.from(signature);
    changed[9] = (changed[9] ?? 0) ^ 1;
    expect(verifyAs(token, { spki }, mechanism, { data, signature: changed })).toBe(false);
    const short = signature.subarray(1);
    expect(verifyAs(token, { spki }, mechanism, { data, signature: short })).toBe(false);
  }
  const { open } = token.sessions;
  const data = Buffer.from('data');
  for (let i = 0; i < 100; i += 1) {
    const signature = Buffer.alloc(256, i);
    expect(verifyAs(token, { spki }, mechanism, { data, signature })).toBe(false);
  }
  expect(token.sessions.open).toBe(open);
});

test('Ed25519 is verified by the token', () => {
  const pair = generateKeyPairSync('ed25519');
  const spki = pair.publicKey.export(DER);
  const data = Buffer.from('data');
  const signature = sign(null, data, pair.privateKey);
  const { token } = fixture;
  expect(verifyAs(token, { spki }, { type: CKM.EDDSA }, { data, signature })).toBe(true);
  const other = Buffer.from('other');
  expect(verifyAs(token, { spki }, { type: CKM.EDDSA }, { data: other, signature })).toBe(false);
});
