import { randomBytes } from 'node:crypto';
import { assert, property, uint8Array } from 'fast-check';
import { expect, test } from 'vitest';
import { padOaep, padPkcs1, unpadOaep, unpadPkcs1 } from '../../src/token/rsa-padding.js';

const oaep = { hash: 'sha256', mgf: 'sha1' } as const;
const invalid = expect.objectContaining({ code: 'HsmDataInvalid' });

test('what was padded is found again, whatever it is', () => {
  assert(
    property(uint8Array({ maxLength: 190 }), (message) => {
      expect(Buffer.from(message).equals(unpadOaep(padOaep(message, 256, oaep), oaep))).toBe(true);
      expect(Buffer.from(message).equals(unpadPkcs1(padPkcs1(message, 256)))).toBe(true);
    }),
    { numRuns: 200 },
  );
});

test('no byte of a padding may be another', () => {
  const padded = padOaep(Buffer.from('key'), 256, oaep);
  const pkcs1 = padPkcs1(Buffer.from('key'), 256);
  for (const at of [0, 1, 20, 33, 64, 200]) {
    const changed = Buffer.from(padded);
    changed[at] = (changed[at] ?? 0) ^ 1;
    expect(() => unpadOaep(changed, oaep)).toThrow(invalid);
  }
  for (const at of [0, 1]) {
    const changed = Buffer.from(pkcs1);
    changed[at] = (changed[at] ?? 0) ^ 1;
    expect(() => unpadPkcs1(changed)).toThrow(invalid);
  }
});

test.each([
  ['no end of the filler', Buffer.concat([Buffer.of(0, 2), Buffer.alloc(254, 7)])],
  ['too short a filler', Buffer.concat([Buffer.of(0, 2), Buffer.alloc(7, 7), Buffer.alloc(247)])],
  ['nothing', Buffer.alloc(0)],
])('PKCS #1 v1.5 with %s is no message', (_, padded) => {
  expect(() => unpadPkcs1(padded)).toThrow(invalid);
});

test('OAEP of another hash, or of random bytes, is no message', () => {
  const padded = padOaep(Buffer.from('key'), 256, { hash: 'sha1', mgf: 'sha1' });
  expect(() => unpadOaep(padded, oaep)).toThrow(invalid);
  expect(() => unpadOaep(randomBytes(256), oaep)).toThrow(invalid);
  expect(() => unpadOaep(randomBytes(10), oaep)).toThrow(invalid);
});
