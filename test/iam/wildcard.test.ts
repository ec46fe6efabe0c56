import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { codeUnits, fits, fitsArn, hasWildcard, readPattern } from '../../src/iam/wildcard.js';

describe('fits', () => {
  test.each([
    ['*', '', true],
    ['', '', true],
    ['', 'a', false],
    ['?', '', false],
    ['a*', 'a', true],
    ['a*c', 'abbc', true],
    ['a*c', 'abcd', false],
    ['*b*', 'abc', true],
    ['a?c', 'abc', true],
    ['a?c', 'ac', false],
    ['**', 'anything', true],
    ['kms:generate*', 'kms:generatedatakey', true],
    ['a.c', 'abc', false],
  ])('%j and %j: %s', (pattern, text, expected) => {
    expect(fits(readPattern(pattern), text)).toBe(expected);
  });

  test('agrees with a regular expression', () => {
    const letters = (max: number, unit: string): fc.Arbitrary<string> =>
      fc.string({ unit: fc.constantFrom(...unit.split('')), maxLength: max });
    fc.assert(
      fc.property(letters(6, 'ab*?'), letters(8, 'ab'), (pattern, text) => {
        const form = pattern.replaceAll('*', '.*').replaceAll('?', '.');
        expect(fits(readPattern(pattern), text)).toBe(new RegExp(`^${form}$`).test(text));
      }),
    );
  });

  test('a pattern full of stars is no work', () => {
    const pattern = readPattern(`${'*a'.repeat(2_000)}*b`);
    expect(fits(pattern, 'a'.repeat(4_000))).toBe(false);
  });

  test('code units stand for themselves', () => {
    expect(fits(codeUnits('a*?'), 'a*?')).toBe(true);
    expect(fits(codeUnits('a*?'), 'abc')).toBe(false);
    expect([hasWildcard('a?'), hasWildcard('a*'), hasWildcard('a.')]).toEqual([true, true, false]);
  });
});

describe('fitsArn', () => {
  test.each([
    ['arn:aws:kms:*:111122223333:key/*', 'arn:aws:kms:eu-west-1:111122223333:key/x', true],
    // a star does not reach into the next part
    ['arn:aws:kms:*:key/*', 'arn:aws:kms:eu-west-1:111122223333:key/x', false],
    ['arn:aws:iam::*:role/a:*', 'arn:aws:iam::111122223333:role/a:b:c', true],
    ['*', 'arn:aws:iam::111122223333:role/a', false],
    ['arn:aws:iam::*', 'arn:aws:iam::111122223333:role/a', false],
    ['a:b', 'a:b', true],
    ['a:b', 'a:c', false],
  ])('%s and %s: %s', (pattern, arn, expected) => {
    expect(fitsArn(readPattern(pattern), arn)).toBe(expected);
  });
});
