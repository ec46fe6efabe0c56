import { describe, expect, test } from 'vitest';
import { isKeyspanError } from '../../src/core/errors.js';
import type { Encoding } from '../../src/protocol/aws-parser.js';
import type { Member, Members, Shape } from '../../src/protocol/aws-shapes.js';
import { KMS_ACTIONS, type KmsAction } from '../../src/protocol/kms.js';
import { KmsFixture, newCall, ROOT } from '../support/kms-fixture.js';
import { leastParams, leastValue } from '../support/least-params.js';

/**
 * Every parameter of every action, wrong in each way that its shape knows: generated from the
 * table, which other tests compare with AWS's models.
 */

type Value = unknown;
interface Case {
  readonly what: string;
  readonly value: Value;
  /** what the refusal must be */
  readonly refusal: RegExp;
}

const ABSENT = Symbol('absent');
const SERIALIZATION = /^SerializationException: ./;
const validation = (constraint: string): RegExp =>
  new RegExp(`^ValidationException: \\d+ validation errors? detected: .*${constraint}`, 's');
const TOO_SHORT = validation('Member must have length greater than or equal to');
const TOO_LONG = validation('Member must have length less than or equal to');
const TOO_SMALL = validation('Member must have value greater than or equal to');
const TOO_LARGE = validation('Member must have value less than or equal to');
const MISFORMED = validation('Member must satisfy regular expression pattern: ');
const FOREIGN = validation('Member must satisfy enum value set: ');

const WRONG_TYPES: Readonly<Record<Shape['kind'], readonly Value[]>> = {
  string: [7, 1.5, true, [], ['x'], {}],
  integer: ['7', true, [], {}],
  boolean: ['true', 1, [], {}],
  timestamp: ['2030-01-01', true, [], {}],
  blob: [7, true, [], {}, 'not base64'],
  list: ['x', 7, true, {}],
  map: ['x', 7, true, []],
  structure: ['x', 7, true, []],
};

function casesOf(shape: Shape): Case[] {
  const wrongTypes = WRONG_TYPES[shape.kind].map((value) => ({
    what: `of another type: ${JSON.stringify(value)}`,
    value,
    refusal: SERIALIZATION,
  }));
  return [...wrongTypes, ...boundCases(shape)];
}

function boundCases(shape: Shape): Case[] {
  const cases: Case[] = [];
  const add = (what: string, value: Value, refusal: RegExp): void => {
    cases.push({ what, value, refusal });
  };
  if (shape.kind === 'integer') {
    if (shape.min !== undefined) add('too small', shape.min - 1, TOO_SMALL);
    if (shape.max !== undefined) add('too large', shape.max + 1, TOO_LARGE);
  } else if (shape.kind === 'string' || shape.kind === 'blob') {
    const of = (length: number): Value =>
      shape.kind === 'blob' ? Buffer.alloc(length, 1) : 'a'.repeat(length);
    if (shape.min) add('too short', of(shape.min - 1), TOO_SHORT);
    if (shape.max !== undefined) add('too long', of(shape.max + 1), TOO_LONG);
    if (shape.kind === 'string') cases.push(...stringCases(shape));
  } else if (shape.kind === 'list') {
    const items = (count: number): Value => Array.from({ length: count }, () => item(shape.of));
    if (shape.max !== undefined) add('too long', items(shape.max + 1), TOO_LONG);
    for (const { what, value, refusal } of casesOf(shape.of)) {
      // a list of strings names all that its items must be, in one sentence
      add(`with an item ${what}`, [value], refusal);
    }
    add('with an item that is null', [null], shape.of.kind === 'string' ? SERIALIZATION : /./);
  } else if (shape.kind === 'map') {
    add('with a number', new Map([['a', 7]]), SERIALIZATION);
    add('with null', new Map([['a', null]]), SERIALIZATION);
    add('with half a character', new Map([['a', '\ud800']]), SERIALIZATION);
  } else if (shape.kind === 'structure') {
    for (const [name, member] of Object.entries<Member>(shape.members)) {
      for (const { what, value, refusal } of memberCases(member)) {
        add(`whose ${name} is ${what}`, withMember(leastValue(shape), name, value), refusal);
      }
    }
  }
  return cases;
}

const item = (shape: Shape): Value => leastValue(shape);

function stringCases(shape: Shape & { kind: 'string' }): Case[] {
  const cases: Case[] = [];
  if (shape.pattern) {
    const length = Math.max(shape.min ?? 1, 1);
    const value = '\u{1F511}'.repeat(Math.ceil(length / 2));
    cases.push({ what: 'outside its pattern', value, refusal: MISFORMED });
  }
  if (shape.values) cases.push({ what: 'not of its enum', value: 'NOT_ONE', refusal: FOREIGN });
  return cases;
}

function memberCases(member: Member): Case[] {
  if (!member.required) return casesOf(member);
  const refusal = validation('Member must not be null');
  const absent = { what: 'absent', value: ABSENT, refusal };
  return [absent, { what: 'null', value: null, refusal }, ...casesOf(member)];
}

function withMember(params: unknown, name: string, value: Value): Record<string, Value> {
  const changed: Record<string, Value> = { ...(params as object), [name]: value };
  if (value === ABSENT) delete changed[name];
  return changed;
}

/** As JSON has it: bytes are base64, maps are objects. */
function asJson(value: Value): Value {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('base64');
  if (value instanceof Map) return Object.fromEntries(value);
  if (Array.isArray(value)) return value.map(asJson);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, asJson(one)]));
}

async function answer(
  at: KmsFixture,
  action: string,
  params: Value,
  encoding: Encoding,
): Promise<string> {
  const given = encoding === 'json' ? asJson(params) : params;
  try {
    await at.kms.perform(action, given, encoding, ROOT, newCall(), 'test');
    return 'ok';
  } catch (error) {
    if (!isKeyspanError(error)) return `not of the table: ${String(error)}`;
    return `${error.code}: ${error.message}`;
  }
}

/** Nothing that a caller sends may be one of these. */
const INTERNAL =
  /^(KMSInternalException|InternalFailure|not of the table|Vault|Store|Hsm|Keyspan|Dependency)/;

const ENCODINGS: readonly Encoding[] = ['json', 'cbor'];

describe.each(Object.keys(KMS_ACTIONS) as KmsAction[])('%s', (action) => {
  test('refuses each member that is wrong in its form', async () => {
    await using at = await KmsFixture.open();
    const members: Members = KMS_ACTIONS[action];
    const wrong: string[] = [];
    for (const [name, member] of Object.entries(members)) {
      for (const { what, value, refusal } of memberCases(member)) {
        const params = withMember(leastParams(action), name, value);
        for (const encoding of ENCODINGS) {
          const answered = await answer(at, action, params, encoding);
          const isRefused = refusal.test(answered) && !INTERNAL.test(answered);
          if (!isRefused) wrong.push(`${encoding}: ${name} ${what}: ${answered.slice(0, 200)}`);
        }
      }
    }
    expect(wrong).toEqual([]);
  });

  test('answers each member that is right in its form, or null, otherwise', async () => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    const least = leastParams(action);
    for (const name of Object.keys(least)) if (name.endsWith('KeyId')) least[name] = KeyId;
    for (const [name, member] of Object.entries<Member>(KMS_ACTIONS[action])) {
      if (member.required) continue;
      for (const value of [leastValue(member), null]) {
        for (const encoding of ENCODINGS) {
          const answered = await answer(at, action, withMember(least, name, value), encoding);
          expect(answered, `${name} in ${encoding}`).not.toMatch(INTERNAL);
          if (value === null) expect(answered).not.toMatch(/^SerializationException/);
        }
      }
    }
  });
});
