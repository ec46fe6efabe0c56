import { describe, expect, test } from 'vitest';
import { holds, readCondition } from '../../src/iam/condition.js';

const KEY = 'kms:Some';

function evaluated(operator: string, values: string[], given: string[] | undefined): boolean {
  const condition = readCondition(operator, KEY, values);
  if (!condition) throw new Error(`unknown operator ${operator}`);
  return holds(condition, new Map(given ? [['kms:some', given]] : []));
}

describe('a condition', () => {
  test.each<[string, string[], string[] | undefined, boolean]>([
    ['StringEquals', ['a', 'b'], ['b'], true],
    ['StringEquals', ['a'], ['A'], false],
    ['StringEquals', ['a'], undefined, false],
    ['StringEqualsIfExists', ['a'], undefined, true],
    ['StringEqualsIfExists', ['a'], ['b'], false],
    ['StringNotEquals', ['a', 'b'], ['c'], true],
    ['StringNotEquals', ['a', 'b'], ['b'], false],
    ['StringNotEquals', ['a'], undefined, true],
    ['StringEqualsIgnoreCase', ['a'], ['A'], true],
    ['StringNotEqualsIgnoreCase', ['a'], ['A'], false],
    ['StringLike', ['a*'], ['abc'], true],
    ['StringLike', ['a*'], ['bc'], false],
    ['StringNotLike', ['a*'], ['abc'], false],
    ['ArnLike', ['arn:aws:iam::*:role/*'], ['arn:aws:iam::111122223333:role/a'], true],
    ['ArnEquals', ['arn:aws:iam::*:role/*'], ['arn:aws:iam::111122223333:user/a'], false],
    ['ArnNotLike', ['arn:aws:iam::*:role/*'], ['arn:aws:iam::111122223333:role/a'], false],
    ['ArnNotEquals', ['arn:aws:iam::*:role/*'], ['arn:aws:iam::111122223333:user/a'], true],
    ['Bool', ['true'], ['true'], true],
    ['Bool', ['false'], ['true'], false],
    ['Null', ['true'], undefined, true],
    ['Null', ['true'], ['a'], false],
    ['Null', ['false'], ['a'], true],
    ['NumericEquals', ['10'], ['1e1'], true],
    ['NumericNotEquals', ['10'], ['11'], true],
    ['NumericLessThan', ['10'], ['9'], true],
    ['NumericLessThan', ['10'], ['10'], false],
    ['NumericLessThanEquals', ['10'], ['10'], true],
    ['NumericGreaterThan', ['10'], ['11'], true],
    ['NumericGreaterThanEquals', ['10'], ['9'], false],
    ['NumericLessThan', ['10'], [''], false],
    ['ForAnyValue:StringEquals', ['a', 'b'], ['x', 'b'], true],
    ['ForAnyValue:StringEquals', ['a', 'b'], ['x'], false],
    ['ForAnyValue:StringEquals', ['a'], undefined, false],
    ['ForAnyValue:StringNotEquals', ['a'], ['a', 'x'], true],
    ['ForAnyValue:StringNotEquals', ['a'], ['a'], false],
    ['ForAllValues:StringEquals', ['a', 'b'], ['a', 'b'], true],
    ['ForAllValues:StringEquals', ['a', 'b'], ['a', 'x'], false],
    ['ForAllValues:StringEquals', ['a'], undefined, true],
    ['ForAllValues:StringNotLike', ['a*'], ['b', 'ab'], false],
    ['ForAllValues:StringLikeIfExists', ['a*'], ['ab', 'ac'], true],
  ])('%s %j with %j: %s', (operator, values, given, expected) => {
    expect(evaluated(operator, values, given)).toBe(expected);
  });

  test.each(['', 'Equals', 'StringEqualsIf', 'IpAddress', 'NullIfExists', 'ForAllValues:Null'])(
    'the operator %j is not known',
    (operator) => {
      expect(readCondition(operator, KEY, ['a'])).toBeUndefined();
    },
  );
});
