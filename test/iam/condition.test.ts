import { describe, expect, test } from 'vitest';
import { holds, readCondition } from '../../src/iam/condition.js';

const KEY = 'kms:Some';

function evaluated(operator: string, values: string[], given: string[] | undefined): boolean {
  const condition = readCondition(operator, KEY, values, { variables: true });
  if (!condition) throw new Error(`unknown operator ${operator}`);
  const context = new Map([['aws:username', ['alice']]]);
  if (given) context.set('kms:some', given);
  return holds(condition, context);
}

const ROLE = 'arn:aws:iam::111122223333:role/a';
type Row = [string, string[], string[] | undefined, boolean];

/** IAM JSON policy elements: condition operators, a table for each type. */
const TYPES: Readonly<Record<string, Row[]>> = {
  String: [
    ['StringEquals', ['a', 'b'], ['b'], true],
    ['StringEquals', ['a'], ['A'], false],
    ['StringEquals', ['a*'], ['ab'], false],
    ['StringEquals', ['${aws:username}'], ['alice'], true],
    ['StringEquals', ['${aws:userid}'], ['alice'], false],
    ['StringNotEquals', ['a', 'b'], ['c'], true],
    ['StringNotEquals', ['a', 'b'], ['b'], false],
    ['StringNotEquals', ['${aws:username}'], ['alice'], false],
    ['StringEqualsIgnoreCase', ['a'], ['A'], true],
    ['StringEqualsIgnoreCase', ['${aws:username}'], ['ALICE'], true],
    ['StringEqualsIgnoreCase', ['a'], ['b'], false],
    ['StringNotEqualsIgnoreCase', ['a'], ['A'], false],
    ['StringNotEqualsIgnoreCase', ['a'], ['b'], true],
    ['StringLike', ['a*'], ['abc'], true],
    ['StringLike', ['a?c'], ['abc'], true],
    ['StringLike', ['a*'], ['bc'], false],
    ['StringLike', ['a*'], ['Abc'], false],
    ['StringLike', ['${aws:username}/*'], ['alice/x'], true],
    ['StringNotLike', ['a*'], ['abc'], false],
    ['StringNotLike', ['a*'], ['bc'], true],
  ],
  Numeric: [
    ['NumericEquals', ['10'], ['1e1'], true],
    ['NumericEquals', ['10'], ['11'], false],
    ['NumericNotEquals', ['10'], ['11'], true],
    ['NumericNotEquals', ['10'], ['10.0'], false],
    ['NumericLessThan', ['10'], ['9'], true],
    ['NumericLessThan', ['10'], ['10'], false],
    ['NumericLessThan', ['-1.5'], ['-2'], true],
    ['NumericLessThanEquals', ['10'], ['10'], true],
    ['NumericLessThanEquals', ['10'], ['11'], false],
    ['NumericGreaterThan', ['10'], ['11'], true],
    ['NumericGreaterThan', ['10'], ['10'], false],
    ['NumericGreaterThanEquals', ['10'], ['9'], false],
    ['NumericGreaterThanEquals', ['10'], ['10'], true],
    ['NumericLessThan', ['10'], [''], false],
    ['NumericLessThan', ['10'], ['0x1'], false],
    ['NumericNotEquals', ['10'], ['ten'], true],
  ],
  Date: [
    ['DateEquals', ['2026-11-30T00:00:00Z'], ['2026-11-30T01:00:00+01:00'], true],
    ['DateEquals', ['2026-11-30'], ['2026-11-30T00:00:00Z'], true],
    ['DateEquals', ['1796947200'], ['2026-12-10T16:00:00.5Z'], false],
    ['DateEquals', ['1796947200'], ['2026-12-11T00:00:00Z'], true],
    ['DateNotEquals', ['2026'], ['2026-01-01T00:00Z'], false],
    ['DateNotEquals', ['2026'], ['2026-02'], true],
    ['DateLessThan', ['2026-11-30T00:00:00Z'], ['2026-11-29T23:59:59.999Z'], true],
    ['DateLessThan', ['2026-11-30T00:00:00Z'], ['2026-11-30T00:00:00Z'], false],
    ['DateLessThanEquals', ['2026-11-30T00:00:00Z'], ['2026-11-30T00:00:00Z'], true],
    ['DateLessThanEquals', ['2026-11-30T00:00:00Z'], ['2026-11-30T00:00:01Z'], false],
    ['DateGreaterThan', ['2026-11-30T00:00:00Z'], ['1796947200'], true],
    ['DateGreaterThan', ['2026-11-30T00:00:00Z'], ['2026-11-30T00:00:00Z'], false],
    ['DateGreaterThanEquals', ['2026-11-30T00:00:00Z'], ['2026-11-30T00:00:00Z'], true],
    ['DateGreaterThanEquals', ['2026-11-30T00:00:00Z'], ['2026'], false],
    ['DateGreaterThan', ['2026-11-30T00:00:00Z'], ['tomorrow'], false],
  ],
  Bool: [
    ['Bool', ['true'], ['true'], true],
    ['Bool', ['True'], ['true'], true],
    ['Bool', ['false'], ['true'], false],
    ['Bool', ['true'], ['yes'], false],
  ],
  Binary: [
    ['BinaryEquals', ['QmluYXJ5VmFsdWVJbkJhc2U2NA=='], ['QmluYXJ5VmFsdWVJbkJhc2U2NA=='], true],
    ['BinaryEquals', ['QmluYXJ5VmFsdWVJbkJhc2U2NA=='], ['QmluYXJ5'], false],
    ['BinaryEquals', ['QmluYXJ5'], ['no base64!'], false],
  ],
  IP: [
    ['IpAddress', ['203.0.113.0/24', '2001:db8::/32'], ['203.0.113.7'], true],
    ['IpAddress', ['203.0.113.0/24', '2001:db8::/32'], ['2001:db8::1'], true],
    ['IpAddress', ['203.0.113.0/24', '2001:db8::/32'], ['192.0.2.1'], false],
    ['NotIpAddress', ['203.0.113.0/24'], ['192.0.2.1'], true],
    ['NotIpAddress', ['203.0.113.0/24'], ['203.0.113.7'], false],
    ['NotIpAddress', ['203.0.113.0/24'], ['::ffff:203.0.113.7'], false],
  ],
  ARN: [
    ['ArnEquals', ['arn:aws:iam::*:role/*'], [ROLE], true],
    ['ArnEquals', ['arn:aws:iam::*:user/*'], [ROLE], false],
    ['ArnLike', ['arn:aws:iam::*:role/*'], [ROLE], true],
    ['ArnLike', ['arn:aws:iam::*:role/${aws:username}'], [ROLE], false],
    ['ArnLike', ['arn:*'], [ROLE], false],
    ['ArnNotEquals', ['arn:aws:iam::*:role/*'], [ROLE.replace('role', 'user')], true],
    ['ArnNotEquals', ['arn:aws:iam::*:role/*'], [ROLE], false],
    ['ArnNotLike', ['arn:aws:iam::*:role/*'], [ROLE], false],
    ['ArnNotLike', ['arn:aws:iam::*:role/b'], [ROLE], true],
  ],
  Null: [
    ['Null', ['true'], undefined, true],
    ['Null', ['true'], ['a'], false],
    ['Null', ['false'], ['a'], true],
    ['Null', ['false'], undefined, false],
    // a key without values is not there
    ['Null', ['false'], [], false],
    ['Null', ['true', 'false'], undefined, true],
    ['Null', ['true', 'false'], ['a'], true],
  ],
};

/** IAM JSON policy elements: single-valued vs. multivalued context keys. */
const SETS: Row[] = [
  ['ForAnyValue:StringEquals', ['a', 'b'], ['x', 'b'], true],
  ['ForAnyValue:StringEquals', ['a', 'b'], ['x'], false],
  ['ForAnyValue:StringEquals', ['a'], undefined, false],
  ['ForAnyValue:StringEquals', ['a'], [], false],
  ['ForAnyValue:StringEqualsIfExists', ['a'], undefined, true],
  ['ForAnyValue:StringNotEquals', ['a'], ['a', 'x'], true],
  ['ForAnyValue:StringNotEquals', ['a'], ['a'], false],
  ['ForAnyValue:StringNotEquals', ['a'], undefined, false],
  ['ForAllValues:StringEquals', ['a', 'b'], ['a', 'b'], true],
  ['ForAllValues:StringEquals', ['a', 'b'], ['a', 'x'], false],
  ['ForAllValues:StringEquals', ['a'], undefined, true],
  ['ForAllValues:StringEquals', ['a'], [], true],
  ['ForAllValues:StringNotLike', ['a*'], ['b', 'ab'], false],
  ['ForAllValues:StringNotLike', ['a*'], ['b', 'c'], true],
  ['ForAllValues:StringLikeIfExists', ['a*'], ['ab', 'ac'], true],
  ['ForAllValues:NumericLessThan', ['10'], ['1', '10'], false],
  ['ForAnyValue:IpAddress', ['10.0.0.0/8'], ['192.0.2.1', '10.1.2.3'], true],
  // without a set operator one of several values is enough, or none must be there
  ['StringEquals', ['a'], ['x', 'a'], true],
  ['StringNotEquals', ['a'], ['x', 'a'], false],
];

const POSITIVE: Readonly<Record<string, string>> = {
  StringEquals: 'a',
  StringEqualsIgnoreCase: 'a',
  StringLike: 'a',
  NumericEquals: '1',
  NumericLessThan: '1',
  NumericLessThanEquals: '1',
  NumericGreaterThan: '1',
  NumericGreaterThanEquals: '1',
  DateEquals: '2026',
  DateLessThan: '2026',
  DateLessThanEquals: '2026',
  DateGreaterThan: '2026',
  DateGreaterThanEquals: '2026',
  Bool: 'true',
  BinaryEquals: 'YQ==',
  IpAddress: '10.0.0.0/8',
  ArnEquals: ROLE,
  ArnLike: ROLE,
};
const NEGATED: Readonly<Record<string, string>> = {
  StringNotEquals: 'a',
  StringNotEqualsIgnoreCase: 'a',
  StringNotLike: 'a',
  NumericNotEquals: '1',
  DateNotEquals: '2026',
  NotIpAddress: '10.0.0.0/8',
  ArnNotEquals: ROLE,
  ArnNotLike: ROLE,
};

describe.each(Object.entries(TYPES))('%s', (_, rows) => {
  test.each(rows)('%s %j with %j: %s', (operator, values, given, expected) => {
    expect(evaluated(operator, values, given)).toBe(expected);
  });
});

test.each(SETS)('%s %j with %j: %s', (operator, values, given, expected) => {
  expect(evaluated(operator, values, given)).toBe(expected);
});

describe('a key that the request does not have', () => {
  test.each(Object.entries(POSITIVE))('fails %s, unless IfExists is said', (operator, value) => {
    expect(evaluated(operator, [value], undefined)).toBe(false);
    expect(evaluated(`${operator}IfExists`, [value], undefined)).toBe(true);
    expect(evaluated(`ForAllValues:${operator}`, [value], undefined)).toBe(true);
    expect(evaluated(`ForAnyValue:${operator}`, [value], undefined)).toBe(false);
  });

  test.each(Object.entries(NEGATED))('meets %s', (operator, value) => {
    expect(evaluated(operator, [value], undefined)).toBe(true);
    expect(evaluated(`${operator}IfExists`, [value], undefined)).toBe(true);
    expect(evaluated(`ForAllValues:${operator}`, [value], undefined)).toBe(true);
    expect(evaluated(`ForAnyValue:${operator}`, [value], undefined)).toBe(false);
  });
});

test.each([
  '',
  'Equals',
  'StringEqualsIf',
  'stringequals',
  'NullIfExists',
  'ForAllValues:Null',
  'ForAll:StringEquals',
])('the operator %j is not known', (operator) => {
  expect(readCondition(operator, KEY, ['a'], { variables: true })).toBeUndefined();
});

test.each([
  ['NumericEquals', 'ten'],
  ['NumericEquals', '${aws:username}'],
  ['DateLessThan', 'tomorrow'],
  ['DateLessThan', '2026-13-01'],
  ['DateLessThan', '2026-11-30T00:00:00'],
  ['Bool', 'yes'],
  ['BinaryEquals', 'no base64!'],
  ['IpAddress', '10.0.0.0/33'],
  ['Null', 'maybe'],
  ['StringEquals', '${aws:username'],
])('%s of %j cannot be read, and is never met', (operator, value) => {
  const condition = readCondition(operator, KEY, [value], { variables: true });
  expect(condition?.isReadable).toBe(false);
  if (operator !== 'Null') expect(evaluated(operator, [value], [value])).toBe(false);
});
