import { isInRange, readIpRange } from './ip-range.js';
import { readTemplate, resolve, textOf, type ConditionContext } from './policy-variables.js';
import { fits, fitsArn, type Pattern } from './wildcard.js';

/** Whether a value that a request has is the one that a policy wants. */
export type Test = (given: string, context: ConditionContext) => boolean;

/** Reads a value that a policy wants; `undefined` when it is none of the operator's type. */
type Reader = (value: string, variables: boolean) => Test | undefined;

interface Operator {
  readonly read: Reader;
  /** it holds where no value is the wanted one */
  readonly negated: boolean;
}

/** Variables stand in what is compared as text or ARN alone (IAM user guide). */
function templated<T>(
  kind: { readonly wildcards: boolean; readonly prepare: (wanted: Pattern) => T },
  compare: (wanted: T, given: string) => boolean,
): Reader {
  return (value, variables) => {
    const template = readTemplate(value, { wildcards: kind.wildcards, variables });
    if (!template) return undefined;
    if (template.fixed) {
      const wanted = kind.prepare(template.fixed);
      return (given) => compare(wanted, given);
    }
    return (given, context) => {
      const wanted = resolve(template, context);
      return wanted !== undefined && compare(kind.prepare(wanted), given);
    };
  };
}

/** What is compared as a value of some type; what a request has of another is unlike any. */
function typed<T>(
  read: (value: string) => T | undefined,
  compare: (given: T, wanted: T) => boolean,
): Reader {
  return (value) => {
    const wanted = read(value);
    if (wanted === undefined) return undefined;
    return (other) => {
      const given = read(other);
      return given !== undefined && compare(given, wanted);
    };
  };
}

const text = { wildcards: false, prepare: textOf };
const lowerCaseText = { ...text, prepare: (wanted: Pattern) => textOf(wanted).toLowerCase() };
const pattern = { wildcards: true, prepare: (wanted: Pattern) => wanted };
const string = templated(text, (wanted, given) => wanted === given);
const anyCase = templated(lowerCaseText, (wanted, given) => wanted === given.toLowerCase());
const like = templated(pattern, fits);
const arn = templated(pattern, fitsArn);
const bool = typed(
  (value) => (/^(true|false)$/i.test(value) ? value.toLowerCase() : undefined),
  (given, wanted) => given === wanted,
);
const binary = typed(
  (value) => (BASE64.test(value) ? Buffer.from(value, 'base64') : undefined),
  (given, wanted) => given.equals(wanted),
);
const ip: Reader = (value) => {
  const range = readIpRange(value);
  return range && ((given) => isInRange(range, given));
};
const number = (compare: (given: number, wanted: number) => boolean): Reader =>
  typed(readNumber, compare);
const date = (compare: (given: number, wanted: number) => boolean): Reader =>
  typed(readDate, compare);

const equal = (given: number, wanted: number): boolean => given === wanted;
const less = (given: number, wanted: number): boolean => given < wanted;
const lessOrEqual = (given: number, wanted: number): boolean => given <= wanted;
const greater = (given: number, wanted: number): boolean => given > wanted;
const greaterOrEqual = (given: number, wanted: number): boolean => given >= wanted;

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/;
/** the W3C's profile of ISO 8601: a year alone, up to a time with its zone */
const DATE = /^\d{4}(?:-\d\d(?:-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d))?)?)?$/;

function readNumber(value: string): number | undefined {
  return NUMBER.test(value) ? Number(value) : undefined;
}

/** @returns milliseconds since 1970, of a date or of seconds since then */
function readDate(value: string): number | undefined {
  if (!DATE.test(value)) {
    const seconds = readNumber(value);
    return seconds === undefined ? undefined : seconds * 1_000;
  }
  const ms = Date.parse(value);
  return Number.isNaN(ms) ? undefined : ms;
}

const plain = (read: Reader): Operator => ({ read, negated: false });
const negated = (read: Reader): Operator => ({ read, negated: true });

/** IAM JSON policy elements: condition operators. `Null` asks for no value: it is not here. */
export const OPERATORS: ReadonlyMap<string, Operator> = new Map([
  ['StringEquals', plain(string)],
  ['StringNotEquals', negated(string)],
  ['StringEqualsIgnoreCase', plain(anyCase)],
  ['StringNotEqualsIgnoreCase', negated(anyCase)],
  ['StringLike', plain(like)],
  ['StringNotLike', negated(like)],
  ['NumericEquals', plain(number(equal))],
  ['NumericNotEquals', negated(number(equal))],
  ['NumericLessThan', plain(number(less))],
  ['NumericLessThanEquals', plain(number(lessOrEqual))],
  ['NumericGreaterThan', plain(number(greater))],
  ['NumericGreaterThanEquals', plain(number(greaterOrEqual))],
  ['DateEquals', plain(date(equal))],
  ['DateNotEquals', negated(date(equal))],
  ['DateLessThan', plain(date(less))],
  ['DateLessThanEquals', plain(date(lessOrEqual))],
  ['DateGreaterThan', plain(date(greater))],
  ['DateGreaterThanEquals', plain(date(greaterOrEqual))],
  ['Bool', plain(bool)],
  ['BinaryEquals', plain(binary)],
  ['IpAddress', plain(ip)],
  ['NotIpAddress', negated(ip)],
  ['ArnEquals', plain(arn)],
  ['ArnLike', plain(arn)],
  ['ArnNotEquals', negated(arn)],
  ['ArnNotLike', negated(arn)],
]);
