import { parseBase64 } from '../core/bytes.js';
import { KeyspanError } from '../core/errors.js';
import type {
  BlobShape,
  IntegerShape,
  ListShape,
  MapShape,
  Member,
  Members,
  Pattern,
  Shape,
  StringShape,
  StructureShape,
} from './aws-shapes.js';
import { countMembers } from './form.js';

/**
 * The parser that follows a description of a request's members. It answers with AWS's own
 * sentences, so that a client cannot tell the doors apart.
 */

/** In JSON a blob is standard base64; in CBOR it is bytes, or base64 as in JSON. */
export type Encoding = 'json' | 'cbor';

/** Members made ready for parsing: their order and what an error calls them. */
export type Plan = readonly PlannedMember[];
interface PlannedMember {
  readonly name: string;
  /** AWS's validation sentences name members in lower camel case */
  readonly path: string;
  readonly shape: Member;
}

const plans = new WeakMap<Members, Plan>();

/** The plan of a table's members; made once for each table. */
export function planOf(members: Members): Plan {
  const known = plans.get(members);
  if (known) return known;
  const plan = Object.entries(members).map(([name, shape]) => ({
    name,
    path: name.charAt(0).toLowerCase() + name.slice(1),
    shape: uniform(shape),
  }));
  plans.set(members, plan);
  return plan;
}

/** The members that any of the shapes has. */
type NameOf<S> = S extends Shape ? keyof S : never;

/**
 * The same shape with every member that a shape can have: code that meets objects of one form
 * alone is several times as fast, and each request is parsed.
 */
function uniform<S extends Member>(shape: S): S {
  const all: {
    readonly [name in NameOf<StringShape | ListShape | MapShape | StructureShape>]?: unknown;
  } = shape;
  const { kind, min, max, pattern: form, values, secret, key, of, members } = all;
  const { required: isRequired } = shape;
  const item = of && uniform(of as Shape);
  const made = {
    kind,
    required: isRequired,
    min,
    max,
    pattern: form,
    values,
    secret,
    key,
    of: item,
    members,
  };
  return made as unknown as S;
}

interface Parsing {
  readonly encoding: Encoding;
  /** made when the first problem is found: a good request costs no list */
  problems: string[] | undefined;
}

/**
 * Reads the members of `source` and checks them. Unknown members are ignored and null is
 * absent, as at AWS.
 * @throws SerializationException when a value has another type than its shape,
 * ValidationException with every broken constraint
 */
export function parseStructure(
  plan: Plan,
  source: unknown,
  encoding: Encoding,
): Record<string, unknown> {
  const parsing: Parsing = { encoding, problems: undefined };
  const result = readMembers(plan, source, '', parsing);
  if (parsing.problems) throw validationError(parsing.problems);
  return result;
}

/** AWS's sentence for one or more broken constraints. */
export function validationError(problems: readonly string[]): KeyspanError {
  const noun = problems.length === 1 ? 'validation error' : 'validation errors';
  return new KeyspanError(
    'ValidationException',
    `${problems.length} ${noun} detected: ${problems.join('; ')}`,
  );
}

/** One broken constraint: a member that must be there is not. */
export const missingMember = (path: string): string =>
  `Value null at '${path}' failed to satisfy constraint: Member must not be null`;

function readMembers(
  plan: Plan,
  source: unknown,
  prefix: string,
  parsing: Parsing,
): Record<string, unknown> {
  if (typeof source !== 'object' || source === null || Array.isArray(source)) {
    throw wrongType(source, 'Structure');
  }
  const given = source as Record<string, unknown>;
  const read: unknown[] = [];
  let same = 0;
  for (const { name, path, shape } of plan) {
    const value = given[name];
    const isThere = value !== undefined && value !== null;
    const member = isThere ? readValue(shape, value, prefix + path, parsing) : undefined;
    read.push(member);
    if (isThere && member === value) same += 1;
    else if (shape.required && !isThere) addProblem(parsing, missingMember(prefix + path));
  }
  // most requests are as they should be: one that was read from the wire need not be built again
  return same === countMembers(given) ? given : membersOf(plan, read);
}

function membersOf(plan: Plan, read: readonly unknown[]): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  for (const [at, { name }] of plan.entries()) {
    if (read[at] !== undefined) result[name] = read[at];
  }
  return result;
}

function readValue(shape: Shape, value: unknown, path: string, parsing: Parsing): unknown {
  switch (shape.kind) {
    case 'string':
      return readString(shape, value, path, parsing);
    case 'integer':
      return readInteger(shape, value, path, parsing);
    case 'boolean':
      if (typeof value !== 'boolean') throw wrongType(value, 'Boolean');
      return value;
    case 'timestamp':
      if (typeof value !== 'number' || !Number.isFinite(value)) throw wrongType(value, 'Timestamp');
      return value;
    case 'blob':
      return readBlob(shape, value, path, parsing);
    case 'list':
      return readList(shape, value, path, parsing);
    case 'map':
      return readMap(shape, value, path, parsing);
    case 'structure':
      return readMembers(planOf(shape.members), value, `${path}.`, parsing);
  }
}

function readString(shape: StringShape, value: unknown, path: string, parsing: Parsing): string {
  const text = textOf(value);
  const broken = brokenByString(shape, text);
  if (broken) {
    const shown = shape.secret ? 'Value' : `Value '${text}'`;
    for (const constraint of broken) {
      addProblem(parsing, `${shown} at '${path}' failed to satisfy constraint: ${constraint}`);
    }
  }
  return text;
}

function brokenByString(shape: StringShape, text: string): string[] | undefined {
  const { max, min, pattern: form, values } = shape;
  const tooLong = max !== undefined && text.length > max;
  const tooShort = min !== undefined && text.length < min;
  const misformed = form !== undefined && !form.regexp.test(text);
  const foreign = values !== undefined && !values.includes(text);
  if (!tooLong && !tooShort && !misformed && !foreign) return undefined;
  const broken: string[] = [];
  if (tooLong) broken.push(lengthAtMost(max));
  if (tooShort) broken.push(lengthAtLeast(min));
  if (misformed) broken.push(satisfiesPattern(form));
  if (foreign) broken.push(isInSet(values));
  return broken;
}

const lengthAtMost = (max: number): string =>
  `Member must have length less than or equal to ${max}`;
const lengthAtLeast = (min: number): string =>
  `Member must have length greater than or equal to ${min}`;
const satisfiesPattern = (form: Pattern): string =>
  `Member must satisfy regular expression pattern: ${form.text}`;
const isInSet = (values: readonly string[]): string =>
  `Member must satisfy enum value set: [${values.join(', ')}]`;

/** Every constraint of a string, as AWS prints them for the items of a list. */
function constraintsOf(shape: StringShape): string {
  const all: string[] = [];
  if (shape.max !== undefined) all.push(lengthAtMost(shape.max));
  if (shape.min !== undefined) all.push(lengthAtLeast(shape.min));
  if (shape.pattern) all.push(satisfiesPattern(shape.pattern));
  if (shape.values) all.push(isInSet(shape.values));
  return all.join(', ');
}

function readInteger(shape: IntegerShape, value: unknown, path: string, parsing: Parsing): number {
  const number = typeof value === 'bigint' ? Number(value) : value;
  if (typeof number !== 'number' || !Number.isFinite(number)) throw wrongType(value, 'Integer');
  const whole = Math.trunc(number);
  const { max, min } = shape;
  if (max !== undefined && whole > max) {
    addProblem(parsing, outOfBounds(whole, path, `less than or equal to ${max}`));
  }
  if (min !== undefined && whole < min) {
    addProblem(parsing, outOfBounds(whole, path, `greater than or equal to ${min}`));
  }
  return whole;
}

const outOfBounds = (value: number, path: string, bound: string): string =>
  `Value '${value}' at '${path}' failed to satisfy constraint: Member must have value ${bound}`;

function readBlob(shape: BlobShape, value: unknown, path: string, parsing: Parsing): Uint8Array {
  const bytes = bytesOf(value, parsing.encoding);
  const { max, min } = shape;
  if (max !== undefined && bytes.length > max) {
    addProblem(parsing, `Value at '${path}' failed to satisfy constraint: ${lengthAtMost(max)}`);
  }
  if (min !== undefined && bytes.length < min) {
    addProblem(parsing, `Value at '${path}' failed to satisfy constraint: ${lengthAtLeast(min)}`);
  }
  return bytes;
}

function bytesOf(value: unknown, encoding: Encoding): Uint8Array {
  if (typeof value === 'string') {
    const bytes = parseBase64(value);
    if (!bytes) throw new KeyspanError('SerializationException', 'Invalid base64 encoding');
    return bytes;
  }
  if (encoding === 'cbor' && value instanceof Uint8Array) return value;
  throw wrongType(value, 'Blob');
}

function readList(shape: ListShape, value: unknown, path: string, parsing: Parsing): unknown[] {
  if (!Array.isArray(value)) throw wrongType(value, 'List');
  const { of, max, min } = shape;
  const items =
    of.kind === 'string'
      ? readStrings(of, value, path, parsing)
      : value.map((item, at) => readValue(of, item, `${path}.${at + 1}.member`, parsing));
  const failed = (): string => `Value '${shownList(items)}' at '${path}' failed to satisfy`;
  if (max !== undefined && items.length > max) {
    addProblem(parsing, `${failed()} constraint: ${lengthAtMost(max)}`);
  }
  if (min !== undefined && items.length < min) {
    addProblem(parsing, `${failed()} constraint: ${lengthAtLeast(min)}`);
  }
  return items;
}

function readStrings(of: StringShape, value: unknown[], path: string, parsing: Parsing): string[] {
  const items = value.map(textOf);
  if (items.some((item) => brokenByString(of, item))) {
    addProblem(
      parsing,
      `Value '${shownList(items)}' at '${path}' failed to satisfy constraint: ` +
        `Member must satisfy constraint: [${constraintsOf(of)}]`,
    );
  }
  return items;
}

const shownList = (items: readonly unknown[]): string =>
  `[${items.map((item) => (typeof item === 'string' ? item : '…')).join(', ')}]`;

/**
 * A Map and not an object: an encryption context may name a pair `__proto__`, and must not lose
 * it.
 */
function readMap(
  shape: MapShape,
  value: unknown,
  path: string,
  parsing: Parsing,
): ReadonlyMap<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw wrongType(value, 'Map');
  }
  const { key, of, max } = shape;
  const result = new Map<string, unknown>();
  const source: Iterable<readonly [unknown, unknown]> =
    value instanceof Map ? value : Object.entries(value);
  for (const [name, item] of source) {
    const known = of
      ? readValue(of, item, `${path}.${String(name)}.member`, parsing)
      : textOf(item);
    result.set(textOf(name), known);
  }
  const failed = (): string => `Value '${shownMap(result)}' at '${path}' failed to satisfy`;
  if (max !== undefined && result.size > max) {
    addProblem(parsing, `${failed()} constraint: ${lengthAtMost(max)}`);
  }
  if (key && [...result.keys()].some((name) => brokenByString(key, name))) {
    const constraints = `Map keys must satisfy constraint: [${constraintsOf(key)}]`;
    addProblem(parsing, `${failed()} constraint: ${constraints}`);
  }
  return result;
}

const shownMap = (pairs: ReadonlyMap<string, unknown>): string => {
  const shown = (value: unknown): string =>
    Array.isArray(value) ? shownList(value) : typeof value === 'string' ? value : '…';
  return `{${[...pairs].map(([name, value]) => `${name}=${shown(value)}`).join(', ')}}`;
};

const LONE_SURROGATE = /\p{Surrogate}/u;

/** Text with an encoding in UTF-8: a lone surrogate would silently become another character. */
function textOf(value: unknown): string {
  if (typeof value !== 'string') throw wrongType(value, 'String');
  if (LONE_SURROGATE.test(value)) {
    throw new KeyspanError('SerializationException', 'A string is not well-formed Unicode');
  }
  return value;
}

function wrongType(value: unknown, wanted: string): KeyspanError {
  return new KeyspanError('SerializationException', wrongTypeSentence(value, wanted));
}

function wrongTypeSentence(value: unknown, wanted: string): string {
  if (value === null || value === undefined) return `A null value cannot be converted to ${wanted}`;
  if (value instanceof Uint8Array) return `A byte string cannot be converted to ${wanted}`;
  if (Array.isArray(value)) return 'Start of list found where not expected';
  if (typeof value === 'object') return 'Start of structure or map found where not expected';
  if (typeof value === 'boolean') {
    return `${value ? 'TRUE' : 'FALSE'}_VALUE cannot be converted to ${wanted}`;
  }
  if (typeof value === 'string') return `STRING_VALUE cannot be converted to ${wanted}`;
  return `NUMBER_VALUE cannot be converted to ${wanted}`;
}

function addProblem(parsing: Parsing, problem: string): void {
  (parsing.problems ??= []).push(problem);
}
