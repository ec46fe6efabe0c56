import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { newMaskingKeyId } from '../../src/core/ids.js';
import { CKA } from '../../src/core/pkcs11.js';
import { foundMaskingKeys } from '../../src/token/masking-keys.js';
import { AES_KEY_GEN, RSA_KEY_PAIR_GEN } from '../../src/token/mechanism.js';
import { tornReason } from '../../src/token/object-file.js';
import { createData } from '../../src/token/objects.js';
import { makeIdentity } from '../../src/token/signature.js';
import { ofAes256, storedAesKey } from '../../src/token/template.js';
import { TokenFixture } from '../support/token-fixture.js';

let fixture: TokenFixture;
const files: Buffer[] = [];

/** Object files as SoftHSM writes them, one of each kind. */
beforeAll(() => {
  fixture = new TokenFixture();
  const { token } = fixture;
  token.initialize({ label: 'files', ...fixture.pins });
  foundMaskingKeys(token, fixture, newMaskingKeyId());
  makeIdentity(token);
  const key = storedAesKey({ place: 'token', recordBytes: Buffer.alloc(600, 1), label: 'key' });
  token.cryptoki.C_GenerateKey(token.anchor, AES_KEY_GEN, [
    ...ofAes256(key),
    { type: CKA.START_DATE, value: '20260101' },
  ]);
  createData(token, { application: 'a', label: 'l', value: Buffer.alloc(300, 2) });
  token.cryptoki.C_GenerateKeyPair(
    token.anchor,
    RSA_KEY_PAIR_GEN,
    [
      { type: CKA.TOKEN, value: true },
      { type: CKA.MODULUS_BITS, value: 2048 },
      { type: CKA.PUBLIC_EXPONENT, value: Buffer.from([1, 0, 1]) },
    ],
    [
      { type: CKA.TOKEN, value: true },
      { type: CKA.PRIVATE, value: true },
      { type: CKA.ID, value: Buffer.from([1]) },
    ],
  );
  const tokens = join(fixture.directory, 'tokens');
  const folder = join(tokens, readdirSync(tokens)[0] ?? '');
  for (const name of readdirSync(folder)) {
    const isObject = name.endsWith('.object') && name !== 'token.object';
    if (isObject) files.push(readFileSync(join(folder, name)));
  }
});
afterAll(() => fixture[Symbol.dispose]());

test('a whole file of every kind is whole', () => {
  expect(files).toHaveLength(8);
  expect(files.map(tornReason)).toEqual(files.map(() => undefined));
});

test('a file of keys or data that is cut anywhere is torn', () => {
  for (const file of files) {
    // what follows the generation and begins with CKA_CLASS: {0, number, class}
    if (file.readUInt32BE(8 + 16 + 4) === 2) continue; // public keys may end anywhere
    for (let length = 0; length < file.length; length += 1) {
      expect(tornReason(file.subarray(0, length)), `${length} of ${file.length}`).toBeDefined();
    }
  }
});

test('a file that goes on after its end is torn', () => {
  for (const file of files) {
    expect(tornReason(Buffer.concat([file, Buffer.alloc(1)]))).toBeDefined();
    expect(tornReason(Buffer.concat([file, Buffer.alloc(24)]))).toBeDefined();
  }
});

test('zeros and garbage are torn, and no length in them leads astray', () => {
  for (const size of [0, 1, 8, 16, 32, 100, 4096]) {
    expect(tornReason(Buffer.alloc(size))).toBeDefined();
    expect(tornReason(Buffer.alloc(size, 0xff))).toBeDefined();
    expect(tornReason(Buffer.alloc(size, 0x01))).toBeDefined();
  }
});

test('each number in a file that is replaced by an absurd one does no harm', () => {
  for (const file of files) {
    for (let at = 8; at + 8 <= file.length; at += 8) {
      const changed = Buffer.from(file);
      changed.fill(0xff, at, at + 8);
      expect(() => tornReason(changed)).not.toThrow();
    }
  }
});

const word = (value: number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32BE(value >>> 0, 4);
  return bytes;
};
const attribute = (type: number, kind: number, ...value: Buffer[]): Buffer =>
  Buffer.concat([word(type), word(kind), ...value]);
const numberOf = (type: number, value: number): Buffer => attribute(type, 2, word(value));
const bytesOf = (type: number, value: Buffer): Buffer =>
  attribute(type, 3, word(value.length), value);
const LAST = attribute(CKA.ALLOWED_MECHANISMS, 5, word(0));

const secretKey = (parts: { value: Buffer; id: Buffer; last?: boolean }): Buffer =>
  Buffer.concat([
    word(1),
    numberOf(CKA.CLASS, 4),
    bytesOf(CKA.VALUE, parts.value),
    numberOf(CKA.KEY_TYPE, 0x1f),
    bytesOf(CKA.ID, parts.id),
    ...(parts.last === false ? [] : [LAST]),
  ]);

test('a key needs a value, an id, and its last attribute', () => {
  const some = Buffer.alloc(32, 1);
  const none = Buffer.alloc(0);
  expect(tornReason(secretKey({ value: some, id: some }))).toBeUndefined();
  expect(tornReason(secretKey({ value: none, id: some }))).toBe('no key value');
  expect(tornReason(secretKey({ value: some, id: none }))).toBe('no CKA_ID');
  expect(tornReason(secretKey({ value: some, id: some, last: false }))).toContain('missing');
});

test('attributes in wrong order, twice, or of an unknown kind are torn', () => {
  const whole = secretKey({ value: Buffer.alloc(1), id: Buffer.alloc(1) });
  expect(tornReason(whole)).toBeUndefined();
  expect(tornReason(Buffer.concat([whole, LAST]))).toBeDefined();
  expect(tornReason(Buffer.concat([whole, numberOf(CKA.CLASS, 4)]))).toBeDefined();
  expect(tornReason(Buffer.concat([whole, attribute(0x7000_0000, 9, word(1))]))).toBeDefined();
  expect(tornReason(Buffer.concat([word(1), bytesOf(CKA.LABEL, Buffer.from('x'))]))).toContain(
    'CKA_CLASS',
  );
});

test('templates nest to a bounded depth', () => {
  const nest = (depth: number): Buffer => {
    const inner = depth === 0 ? numberOf(CKA.KEY_TYPE, 1) : nest(depth - 1);
    return attribute(CKA.UNWRAP_TEMPLATE, 4, word(inner.length), inner);
  };
  const withTemplate = (template: Buffer): Buffer => {
    const whole = secretKey({ value: Buffer.alloc(1), id: Buffer.alloc(1), last: false });
    return Buffer.concat([whole, template, LAST]);
  };
  expect(tornReason(withTemplate(nest(0)))).toBeUndefined();
  expect(tornReason(withTemplate(nest(500)))).toBeDefined();
});
