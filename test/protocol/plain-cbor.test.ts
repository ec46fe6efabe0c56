import { Encoder } from 'cbor-x';
import { describe, expect, test } from 'vitest';
import { decodePlainCbor } from '../../src/protocol/plain-cbor.js';

const encoder = new Encoder({ useRecords: false, tagUint8Array: false });
const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');

describe('what is plain', () => {
  test.each([
    [[1, -1, 2 ** 40, 0.5, NaN, true, false, null, undefined]],
    ['ä'.repeat(70_000)],
    [{ a: { b: [[{ c: Buffer.alloc(300, 7) }]] }, '': 1 }],
    [18_446_744_073_709_551_615n],
    [[2n ** 70n, -(2n ** 70n)]],
    [new Map([['a', 'x']])],
    [Array.from({ length: 300 }, (_, i) => ({ [`name${i}`]: i }))],
  ])('comes back as it was', (value) => {
    expect(decodePlainCbor(encoder.encode(value))).toEqual(value);
  });

  test('may be of indefinite length', () => {
    expect(decodePlainCbor(hex('bf 61 61 9f 01 02 ff 61 62 bf ff ff'))).toEqual({
      a: [1, 2],
      b: {},
    });
  });

  test('may have a member of any name, and pollutes nothing', () => {
    const given: unknown = JSON.parse('{"a":[{"__proto__":{"b":1},"constructor":2}],"1":3}');
    const read = decodePlainCbor(encoder.encode(given));
    expect(JSON.stringify(read)).toBe(JSON.stringify(given));
    expect(({} as { b?: unknown }).b).toBeUndefined();
    const text = ['__proto__'];
    expect(decodePlainCbor(encoder.encode(text))).toEqual(text);
  });
});

describe('what is not plain is refused before it costs anything', () => {
  const bigInteger = Buffer.concat([hex('c2 5a 00 03 ff f0'), Buffer.alloc(0x3fff0, 0xff)]);
  /** read twice at each of its levels, if it is read at all */
  const shared = hex(`${'d81c'.repeat(40)} 98 28 ${'d81d 00'.repeat(40)}`);

  test.each([
    ['a big integer', bigInteger],
    ['a big integer of 24 bytes', Buffer.concat([hex('c2 58 18'), Buffer.alloc(24, 1)])],
    ['shared values', shared],
    ['a regular expression', hex('d81b 82 66 526567457870 61 61')],
    ['a record', hex('d9 dfff 83 19 e000 81 61 61 01')],
    ['a set', hex('d9 0102 81 01')],
    ['a date', hex('c1 00')],
    ['a map by its tag that is none', hex('d9 0103 01')],
    ['deep nesting', Buffer.alloc(200_000, 0x81)],
    ['deep nesting of maps by their tag', Buffer.alloc(200_000, hex('d90103a10001'))],
  ])('%s', (_what, bytes) => {
    expect(() => decodePlainCbor(bytes)).toThrow(Error);
  });

  test.each([
    '',
    '18',
    '1c',
    '5a ffffffff',
    '9b ffffffffffffffff',
    'ff',
    '9f 01',
    'bf 01 ff',
    '5f',
  ])('a torn or wrong item: %s', (text) => expect(() => decodePlainCbor(hex(text))).toThrow(Error));

  test('a second item, and a map in the place of a name', () => {
    expect(() => decodePlainCbor(hex('01 01'))).toThrow(Error);
    expect(() => decodePlainCbor(hex('a2 a0 01 69 5f5f70726f746f5f5f 02'))).toThrow(Error);
  });
});
