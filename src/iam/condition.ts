import { OPERATORS, type Test } from './condition-operators.js';
import type { ConditionContext } from './policy-variables.js';

/** One operator with one key: all of a statement's conditions must hold. */
export interface Condition {
  /** as it is written, with its set operator and IfExists */
  readonly operator: string;
  /** as it is written */
  readonly name: string;
  /** the name in lower case */
  readonly key: string;
  readonly values: readonly string[];
  /** for each value that could be read; of Null whether the key shall be absent */
  readonly tests: readonly Test[] | 'absent' | 'present' | 'either';
  /** true for operators such as StringNotEquals, which hold where no value matches */
  readonly negated: boolean;
  readonly ifExists: boolean;
  readonly quantifier: 'one' | 'any' | 'all';
  /** false: it has a value that is none of the operator's type, and is never met */
  readonly isReadable: boolean;
}

const OPERATOR = /^(?:(ForAnyValue|ForAllValues):)?([A-Za-z]+?)(IfExists)?$/;

/**
 * Reads one operator with its key and values as a policy writes them.
 * @param options.variables whether `${…}` stands for what the request says
 * @returns `undefined` when the operator is not known: such a policy is refused as a whole,
 * because a condition that is not understood must not be skipped
 */
export function readCondition(
  operator: string,
  name: string,
  values: readonly string[],
  options: { readonly variables: boolean },
): Condition | undefined {
  const [, set, word = '', ifExists] = OPERATOR.exec(operator) ?? [];
  const common = {
    operator,
    name,
    key: name.toLowerCase(),
    values,
    ifExists: ifExists !== undefined,
    quantifier: set === 'ForAnyValue' ? 'any' : set === 'ForAllValues' ? 'all' : 'one',
  } as const;
  if (word === 'Null') {
    if (common.ifExists || set !== undefined) return undefined;
    return { ...common, negated: false, ...readNull(values) };
  }
  const known = OPERATORS.get(word);
  if (!known) return undefined;
  const tests = values.map((value) => known.read(value, options.variables));
  const readable = tests.filter((test) => test !== undefined);
  const isReadable = readable.length === values.length;
  return { ...common, negated: known.negated, tests: readable, isReadable };
}

function readNull(values: readonly string[]): Pick<Condition, 'tests' | 'isReadable'> {
  const wanted = new Set(values.map((value) => value.toLowerCase()));
  const isReadable = [...wanted].every((value) => value === 'true' || value === 'false');
  if (wanted.size > 1) return { tests: 'either', isReadable };
  return { tests: wanted.has('true') ? 'absent' : 'present', isReadable };
}

/** Whether the condition holds for a request. Pure. */
export function holds(condition: Condition, context: ConditionContext): boolean {
  const given = context.get(condition.key);
  const { tests, negated, quantifier } = condition;
  // a key that has no value is none
  const isAbsent = given === undefined || given.length === 0;
  if (typeof tests === 'string') {
    return tests === 'either' || (tests === 'absent') === isAbsent;
  }
  if (isAbsent) {
    return condition.ifExists || quantifier === 'all' || (negated && quantifier === 'one');
  }
  switch (quantifier) {
    case 'all':
      return given.every((one) => matches(tests, one, context) !== negated);
    case 'any':
      return given.some((one) => matches(tests, one, context) !== negated);
    case 'one':
      return given.some((one) => matches(tests, one, context)) !== negated;
  }
}

function matches(tests: readonly Test[], given: string, context: ConditionContext): boolean {
  for (const test of tests) if (test(given, context)) return true;
  return false;
}
