import { Decoder, Encoder } from 'cbor-x';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CborWriter, decodeCborItem, encodeCborItem } from '../../src/core/cbor.js';

/** a well-kept implementation of the whole standard is the peer */
const encoder = new Encoder({ useRecords: false, tagUint8Array: false });
const decoder = new Decoder({ useRecords: false, mapsAsObjects: true });
/** The peer makes big integers of what takes eight bytes; here they are numbers where they can. */
function asNumbers(value: unknown): unknown {
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  if (Array.isArray(value)) return value.map(asNumbers);
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value;
  const members = Object.entries(value).map(([name, member]) => [name, asNumbers(member)]);
  return Object.fromEntries(members) as unknown;
}
const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');

describe('what is plain', () => {
  test.each([
    [[1, -1, 2 ** 40, 0.5, NaN, true, false, null, undefined]],
    ['ä'.repeat(70_000)],
    [{ a: { b: [[{ c: Buffer.alloc(300, 7) }]] }, '': 1 }],
    [18_446_744_073_709_551_615n],
    [[2n ** 70n, -(2n ** 70n)]],
    [Array.from({ length: 300 }, (_, i) => ({ [`name${i}`]: i }))],
  ])('comes back as it was', (value) => {
    expect(decodeCborItem(encoder.encode(value))).toEqual(value);
  });

  test('may be of indefinite length', () => {
    expect(decodeCborItem(hex('bf 61 61 9f 01 02 ff 61 62 bf ff ff'))).toEqual({
      a: [1, 2],
      b: {},
    });
  });

  test('may have a member of any name, and pollutes nothing', () => {
    const given: unknown = JSON.parse('{"a":[{"__proto__":{"b":1},"constructor":2}],"1":3}');
    const read = decodeCborItem(encoder.encode(given));
    expect(JSON.stringify(read)).toBe(JSON.stringify(given));
    expect(({} as { b?: unknown }).b).toBeUndefined();
    const text = ['__proto__'];
    expect(decodeCborItem(encoder.encode(text))).toEqual(text);
  });
});

describe('what we write', () => {
  const members = fc.string().filter((name) => name !== '__proto__');
  const { tree } = fc.letrec((tie) => ({
    tree: fc.oneof(
      { maxDepth: 4 },
      fc.string({ maxLength: 200, unit: 'binary' }),
      fc.integer(),
      // zero has one form
      fc.double().map((value) => value + 0),
      fc.boolean(),
      fc.constant(null),
      fc.constant(undefined),
      fc.bigInt({ min: 2n ** 53n, max: 2n ** 64n - 1n }),
      fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
      fc.array(tie('tree'), { maxLength: 30 }),
      fc.dictionary(members, tie('tree'), { maxKeys: 30, noNullPrototype: true }),
    ),
  }));

  test('another implementation reads, and we read what it writes', () => {
    fc.assert(
      fc.property(tree, (value) => {
        expect(decodeCborItem(encodeCborItem(value))).toEqual(value);
        expect(asNumbers(decoder.decode(encodeCborItem(value)))).toEqual(value);
        expect(decodeCborItem(encoder.encode(value))).toEqual(value);
      }),
      { numRuns: 2_000 },
    );
  });

  test('whole numbers come back as numbers as long as they are exact', () => {
    fc.assert(
      fc.property(
        fc.maxSafeInteger().map((value) => value + 0),
        (value) => {
          expect(decodeCborItem(encodeCborItem(value))).toBe(value);
          expect(asNumbers(decoder.decode(encodeCborItem(value)))).toBe(value);
        },
      ),
    );
  });

  test.each([
    // RFC 8949, appendix A
    [0, '00'],
    [23, '17'],
    [24, '1818'],
    [1_000, '1903e8'],
    [1_000_000, '1a000f4240'],
    [1_000_000_000_000, '1b000000e8d4a51000'],
    [18_446_744_073_709_551_615n, '1bffffffffffffffff'],
    [18_446_744_073_709_551_616n, 'c249010000000000000000'],
    [-18_446_744_073_709_551_616n, '3bffffffffffffffff'],
    [-18_446_744_073_709_551_617n, 'c349010000000000000000'],
    [-1, '20'],
    [-1_000, '3903e7'],
    [-9_007_199_254_740_991, '3b001ffffffffffffe'],
    [1.1, 'fb3ff199999999999a'],
    [Infinity, 'fb7ff0000000000000'],
    [false, 'f4'],
    [null, 'f6'],
    [undefined, 'f7'],
    [Buffer.of(1, 2, 3, 4), '4401020304'],
    ['', '60'],
    ['IETF', '6449455446'],
    ['\u00fc', '62c3bc'],
    ['\ud800\udd51', '64f0908591'],
    [[1, [2, 3], [4, 5]], '8301820203820405'],
    [
      Array.from({ length: 25 }, (_, i) => i + 1),
      '98190102030405060708090a0b0c0d0e0f101112131415161718181819',
    ],
    [{ a: 1, b: [2, 3] }, 'a26161016162820203'],
    [new Map([['a', 'b']]), 'a161616162'],
  ])('has the shortest form: $1', (value, expected) => {
    expect(encodeCborItem(value).toString('hex')).toBe(expected);
  });

  test.each([
    ['f90000', 0],
    ['f93c00', 1],
    ['f97bff', 65_504],
    ['f90001', 5.960464477539063e-8],
    ['f9c400', -4],
    ['f97c00', Infinity],
    ['f97e00', NaN],
    ['fa47c35000', 100_000],
  ])('and shorter floats are read: %s', (text, value) => {
    expect(decodeCborItem(hex(text))).toBe(value);
  });

  test('grows with its item, and is as it was for the next', () => {
    const writer = new CborWriter();
    for (const size of [10, 40_000, 2 ** 20, 10]) {
      const item = ['a'.repeat(size), '\u00e4'.repeat(size), Buffer.alloc(size, 3), size] as const;
      const length = writer.write(item);
      const read = decodeCborItem(writer.bytes.subarray(0, length)) as typeof item;
      expect([read[0] === item[0], read[1] === item[1], read[3]]).toEqual([true, true, size]);
      expect(item[2].equals(read[2])).toBe(true);
    }
  });

  test.each([[() => 1], [Symbol('a')], [new Date()], [{ a: new Error('x') }], [new Map([[1, 2]])]])(
    'has no form for %s',
    (value) => expect(() => encodeCborItem(value)).toThrow(TypeError),
  );

  test('an object of a class is written as its members', () => {
    class Pair {
      readonly KeyId = 'k';
      readonly Limit = 3;
    }
    expect(decodeCborItem(encodeCborItem(new Pair()))).toEqual({ KeyId: 'k', Limit: 3 });
  });

  test('what stands in itself has no form', () => {
    const cycle: unknown[] = [];
    cycle.push(cycle);
    expect(() => encodeCborItem(cycle)).toThrow(TypeError);
  });

  test('names that look alike to the memory of names are told apart', () => {
    const near = ['abca', 'acba', 'aXXa', 'abca', 'a\u00e4a'];
    for (const name of [...near, ...near]) {
      expect(Object.keys(decodeCborItem(encodeCborItem({ [name]: 1 })) as object)).toEqual([name]);
    }
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
    expect(() => decodeCborItem(bytes)).toThrow(Error);
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
  ])('a torn or wrong item: %s', (text) => expect(() => decodeCborItem(hex(text))).toThrow(Error));

  test('a second item, and a map in the place of a name', () => {
    expect(() => decodeCborItem(hex('01 01'))).toThrow(Error);
    expect(() => decodeCborItem(hex('a2 a0 01 69 5f5f70726f746f5f5f 02'))).toThrow(Error);
  });
});
