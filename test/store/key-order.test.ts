import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { compareKeys, SortedKeys } from '../../src/store/key-order.js';

const key = fc.string({ unit: 'binary', maxLength: 6 });
const sign = (n: number): number => Math.sign(n);
const inBytes = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b));

test('keys compare as their UTF-8 bytes do', () => {
  expect(compareKeys('\uffff', '\u{10000}')).toBeLessThan(0);
  fc.assert(
    fc.property(key, key, (a, b) => {
      expect(sign(compareKeys(a, b))).toBe(sign(inBytes(a, b)));
    }),
    { numRuns: 2_000 },
  );
});

test('sorted keys select what a filter of the sorted list selects', () => {
  const short = fc.string({ unit: fc.constantFrom('a', 'b', '/', '\uffff', '\u{1f600}') });
  const change = fc.record({ key: short, remove: fc.boolean() });
  fc.assert(
    fc.property(
      fc.array(change, { maxLength: 60 }),
      short,
      fc.option(short, { nil: undefined }),
      fc.integer({ min: 1, max: 20 }),
      (changes, prefix, after, limit) => {
        const sorted = new SortedKeys();
        const model = new Set<string>();
        for (const { key, remove } of changes) {
          if (remove) sorted.delete(key);
          else sorted.add(key);
          if (remove) model.delete(key);
          else model.add(key);
        }
        const expected = [...model]
          .filter((key) => key.startsWith(prefix))
          .filter((key) => after === undefined || inBytes(key, after) > 0)
          .toSorted(inBytes)
          .slice(0, limit);
        expect(sorted.select(prefix, { after, limit })).toEqual(expected);
      },
    ),
    { numRuns: 500 },
  );
});
