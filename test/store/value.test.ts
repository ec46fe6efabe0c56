import { expect, test } from 'vitest';
import { decodeValue, encodeValue } from '../../src/store/value.js';
import {
  bytes as blob,
  list,
  nullable,
  number,
  object,
  oneOf,
  optional,
  text,
} from '../../src/protocol/form.js';
import { bytes, expectCode } from '../support/store-calls.js';

const schema = object({
  v: oneOf(1),
  name: text({ max: 64 }),
  blob: blob({ max: 64 }),
  list: list(number, { max: 8 }),
  note: optional(nullable(text({ max: 64 }))),
});

test('a value comes back as it was, blobs included', () => {
  const members = { name: 'é', blob: bytes('\u0000\u00ff'), list: [1, 2 ** 40, -1.5], note: null };
  const decoded = decodeValue(encodeValue(1, members), schema);
  expect(Buffer.from(decoded.blob)).toEqual(Buffer.from(members.blob));
  expect({ ...decoded, blob: members.blob }).toEqual({ v: 1, ...members });
});

test('the version is the first member of a CBOR map (RFC 8949)', () => {
  const encoded = Buffer.from(encodeValue(1, { a: 2 })).toString('hex');
  // map of 2: "v": 1, "a": 2
  expect(encoded).toBe('a2617601616102');
});

test('values may be kept: encoding another one does not change them', () => {
  const first = encodeValue(1, { name: 'first' });
  const before = Buffer.from(first).toString('hex');
  for (let i = 0; i < 2_000; i += 1) encodeValue(1, { name: `other ${i}` });
  expect(Buffer.from(first).toString('hex')).toBe(before);
});

test('what is no value of the expected form is named as corrupt', async () => {
  const decode = async (value: Uint8Array): Promise<unknown> => decodeValue(value, schema);
  const good = encodeValue(1, { name: 'n', blob: bytes('b'), list: [] });
  await expectCode(decode(encodeValue(2, { name: 'n' })), 'StoreCorrupt');
  await expectCode(decode(encodeValue(1, { name: 1 })), 'StoreCorrupt');
  await expectCode(decode(new Uint8Array(0)), 'StoreCorrupt');
  await expectCode(decode(good.subarray(0, good.length - 1)), 'StoreCorrupt');
  await expectCode(decode(bytes('{"v":1}')), 'StoreCorrupt');
});
