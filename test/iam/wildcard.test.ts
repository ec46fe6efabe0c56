import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { matchesArn, matchesWildcard } from '../../src/iam/wildcard.js';

describe('matchesWildcard', () => {
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
    expect(matchesWildcard(pattern, text)).toBe(expected);
  });

  test('agrees with a regular expression', () => {
    const letters = (max: number, unit: string): fc.Arbitrary<string> =>
      fc.string({ unit: fc.constantFrom(...unit.split('')), maxLength: max });
    fc.assert(
      fc.property(letters(6, 'ab*?'), letters(8, 'ab'), (pattern, text) => {
        const form = pattern.replaceAll('*', '.*').replaceAll('?', '.');
        expect(matchesWildcard(pattern, text)).toBe(new RegExp(`^${form}$`).test(text));
      }),
    );
  });

  test('a pattern full of stars is no work', () => {
    const pattern = `${'*a'.repeat(2_000)}*b`;
    expect(matchesWildcard(pattern, 'a'.repeat(4_000))).toBe(false);
  });
});

describe('matchesArn', () => {
  test.each([
    ['arn:aws:kms:*:111122223333:key/*', 'arn:aws:kms:eu-west-1:111122223333:key/x', true],
    // a star does not reach into the next part
    ['arn:aws:kms:*:key/*', 'arn:aws:kms:eu-west-1:111122223333:key/x', false],
    ['arn:aws:iam::*:role/a:*', 'arn:aws:iam::111122223333:role/a:b:c', true],
    ['*', 'arn:aws:iam::111122223333:role/a', false],
  ])('%s and %s: %s', (pattern, arn, expected) => {
    expect(matchesArn(pattern, arn)).toBe(expected);
  });
});
