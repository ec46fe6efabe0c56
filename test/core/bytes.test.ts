import { expect, test } from 'vitest';
import {
  asBuffer,
  copyBytes,
  equalConstantTime,
  formatBase64,
  formatHex,
  parseBase64,
  parseHex,
  wipe,
} from '../../src/core/bytes.js';

test('a view shares its memory, a copy does not', () => {
  const bytes = new Uint8Array([1, 2, 3, 4]).subarray(1, 3);
  const view = asBuffer(bytes);
  const copy = copyBytes(bytes);
  wipe(bytes, undefined);
  expect([...view]).toEqual([0, 0]);
  expect([...copy]).toEqual([2, 3]);
});

test('equality is of bytes', () => {
  expect(equalConstantTime(Buffer.from('ab'), Buffer.from('ab'))).toBe(true);
  expect(equalConstantTime(Buffer.from('ab'), Buffer.from('ac'))).toBe(false);
  expect(equalConstantTime(Buffer.from('ab'), Buffer.from('abc'))).toBe(false);
});

test('base64 is the strict one', () => {
  for (const text of ['', 'AA==', 'AAA=', '+/+/']) {
    const bytes = parseBase64(text);
    expect(bytes && formatBase64(bytes)).toBe(text);
  }
  for (const text of ['A', 'AA', 'AA=', 'A===', '-_-_', 'AA==\n', ' AA==', 'AAAA=']) {
    expect(parseBase64(text)).toBeUndefined();
  }
});

test('hex', () => expect(formatHex(parseHex('00ff10'))).toBe('00ff10'));
