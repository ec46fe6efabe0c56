import { matchesArn, matchesWildcard } from './wildcard.js';

/**
 * What a request says about itself: values by condition key, the keys in lower case, because
 * condition keys are compared without regard to case.
 */
export type ConditionContext = ReadonlyMap<string, readonly string[]>;

/** One operator with one key: all of a statement's conditions must hold. */
export interface Condition {
  readonly test: Test;
  /** true for operators such as StringNotEquals, which hold where no value matches */
  readonly negated: boolean;
  readonly ifExists: boolean;
  readonly quantifier: 'one' | 'any' | 'all';
  /** in lower case */
  readonly key: string;
  readonly values: readonly string[];
}

type Test = 'Null' | ((wanted: string, given: string) => boolean);

const equalsNumber = (compare: (given: number, wanted: number) => boolean): Test => {
  return (wanted, given) => compare(numberOf(given), numberOf(wanted));
};
const numberOf = (text: string): number => (text.trim() === '' ? Number.NaN : Number(text));
const equals: Test = (wanted, given) => wanted === given;
const equalsIgnoreCase: Test = (wanted, given) => wanted.toLowerCase() === given.toLowerCase();

const OPERATORS: ReadonlyMap<string, { readonly test: Test; readonly negated: boolean }> = new Map([
  ['StringEquals', { test: equals, negated: false }],
  ['StringNotEquals', { test: equals, negated: true }],
  ['StringEqualsIgnoreCase', { test: equalsIgnoreCase, negated: false }],
  ['StringNotEqualsIgnoreCase', { test: equalsIgnoreCase, negated: true }],
  ['StringLike', { test: matchesWildcard, negated: false }],
  ['StringNotLike', { test: matchesWildcard, negated: true }],
  ['ArnEquals', { test: matchesArn, negated: false }],
  ['ArnLike', { test: matchesArn, negated: false }],
  ['ArnNotEquals', { test: matchesArn, negated: true }],
  ['ArnNotLike', { test: matchesArn, negated: true }],
  ['Bool', { test: equalsIgnoreCase, negated: false }],
  ['NumericEquals', { test: equalsNumber((given, wanted) => given === wanted), negated: false }],
  ['NumericNotEquals', { test: equalsNumber((given, wanted) => given === wanted), negated: true }],
  ['NumericLessThan', { test: equalsNumber((given, wanted) => given < wanted), negated: false }],
  [
    'NumericLessThanEquals',
    { test: equalsNumber((given, wanted) => given <= wanted), negated: false },
  ],
  ['NumericGreaterThan', { test: equalsNumber((given, wanted) => given > wanted), negated: false }],
  [
    'NumericGreaterThanEquals',
    { test: equalsNumber((given, wanted) => given >= wanted), negated: false },
  ],
  ['Null', { test: 'Null', negated: false }],
]);

const OPERATOR = /^(?:(ForAnyValue|ForAllValues):)?([A-Za-z]+?)(IfExists)?$/;

/**
 * Reads one operator with its key and values as a policy writes them.
 * @returns `undefined` when the operator is not known: such a policy is refused as a whole,
 * because a condition that is not understood must not be skipped
 */
export function readCondition(
  operator: string,
  key: string,
  values: readonly string[],
): Condition | undefined {
  const match = OPERATOR.exec(operator);
  const known = OPERATORS.get(match?.[2] ?? '');
  if (!match || !known) return undefined;
  const ifExists = match[3] !== undefined;
  if (known.test === 'Null' && (ifExists || match[1] !== undefined)) return undefined;
  const quantifier =
    match[1] === 'ForAnyValue' ? 'any' : match[1] === 'ForAllValues' ? 'all' : 'one';
  return { ...known, ifExists, quantifier, key: key.toLowerCase(), values };
}

/** Whether the condition holds for a request. Pure. */
export function holds(condition: Condition, context: ConditionContext): boolean {
  const given = context.get(condition.key);
  const { test, values, negated, quantifier } = condition;
  if (test === 'Null') {
    return values.some((value) => (value.toLowerCase() === 'true') === (given === undefined));
  }
  const matches = (one: string): boolean => values.some((wanted) => test(wanted, one));
  if (given === undefined || given.length === 0) {
    return condition.ifExists || quantifier === 'all' || (negated && quantifier === 'one');
  }
  switch (quantifier) {
    case 'all':
      return given.every((one) => matches(one) !== negated);
    case 'any':
      return given.some((one) => matches(one) !== negated);
    case 'one':
      return given.some(matches) !== negated;
  }
}
