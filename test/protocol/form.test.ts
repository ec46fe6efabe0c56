import { describe, expect, test } from 'vitest';
import { isHsmId, newClusterId, newHsmId } from '../../src/core/ids.js';
import {
  FormError,
  accept,
  bytes,
  flag,
  id,
  int,
  list,
  nullable,
  object,
  oneOf,
  optional,
  orElse,
  text,
  tuple,
  type Form,
} from '../../src/protocol/form.js';

const HSM = newHsmId();

/** [what, form, values that it takes, values that it refuses] */
const FORMS: [string, Form<unknown>, unknown[], unknown[]][] = [
  ['a text', text({ max: 3 }), ['a', 'abc', '€€€'], ['', 'abcd', 1, null, undefined, ['a']]],
  ['a text that may be empty', text({ min: 0, max: 1 }), ['', 'a'], ['ab']],
  ['a text of a pattern', text({ max: 3, pattern: /^[a-z]+$/ }), ['abc'], ['aB', 'a\n']],
  ['bytes', bytes({ min: 1, max: 2 }), [new Uint8Array(2), Buffer.of(1)], [new Uint8Array(3), 'a']],
  ['bytes, and none', bytes({ max: 1 }), [new Uint8Array(0)], [[], new Uint16Array(1)]],
  ['a number', int({ min: 0, max: 2 }), [0, 2], [-1, 3, 0.5, NaN, '1', 1n]],
  ['any number', int({ min: 1 }), [2 ** 53 - 1], [2 ** 53, Infinity]],
  ['a flag', flag, [true, false], [0, 1, 'true', null, undefined]],
  [
    'a constant',
    oneOf<string | number | null>('a', 1, null),
    ['a', 1, null],
    ['b', '1', undefined, false],
  ],
  ['an id', id(isHsmId), [HSM], [newClusterId(), '', 7]],
  ['null or a text', nullable(text({ max: 1 })), [null, 'a'], [undefined, 'ab']],
  ['a list', list(flag, { min: 1, max: 2 }), [[true], [true, false]], [[], [1], [], {}, 'ab']],
  ['a tuple', tuple(flag, text({ max: 1 })), [[true, 'a']], [[true], [true, 'a', 1], ['a', true]]],
  ['an object', object({ a: flag }), [{ a: true }], [{}, { a: 1 }, { a: true, b: 1 }, null, 'a']],
];

describe.each(FORMS)('%s', (_, form, good, bad) => {
  test.each(good.map((value) => [value]))('takes %s', (value) => {
    expect(form(value)).toEqual(value);
    expect(accept(form, value)).toEqual(value);
  });

  test.each(bad.map((value) => [value]))('refuses %s', (value) => {
    expect(() => form(value)).toThrow(FormError);
    expect(accept(form, value)).toBeUndefined();
  });
});

describe('an object', () => {
  const form = object({ must: flag, may: optional(flag), else: orElse(int({ min: 0 }), 7) });

  test('fills in what may be absent', () => {
    expect(form({ must: true })).toEqual({ must: true, else: 7 });
    expect(form({ must: true, may: false, else: 1 })).toEqual({ must: true, may: false, else: 1 });
  });

  test('refuses what is there in a wrong form', () => {
    expect(() => form({ must: true, may: 1 })).toThrow('may is neither true nor false');
    expect(() => form({ must: true, else: -1 })).toThrow(/^else must be a whole number from 0/);
    expect(() => form({ may: true })).toThrow('must is missing');
  });

  test('is not fooled by what every object has', () => {
    expect(() => form({ must: true, toString: 1 })).toThrow('has a member of unknown name');
    expect(() => form(JSON.parse('{"must":true,"__proto__":{"a":1}}'))).toThrow(FormError);
    expect(() => object({ constructor: flag })({})).toThrow(FormError);
  });
});

test('an error says where the value is wrong', () => {
  const form = object({ users: list(object({ name: text({ max: 3 }) }), { max: 4 }) });
  const wrong = { users: [{ name: 'abc' }, { name: 'abcd' }] };
  expect(() => form(wrong)).toThrow('users.1.name must have 1 to 3 characters');
  const error = new FormError('is wrong', ['a']);
  expect(error.within('b')).toMatchObject({ message: 'b.a is wrong', path: ['b', 'a'] });
});

test('what a form throws that is no FormError is a fault, and passes', () => {
  const broken: Form<unknown> = () => {
    throw new TypeError('a fault');
  };
  expect(() => accept(broken, 1)).toThrow(TypeError);
  expect(() => object({ a: broken })({ a: 1 })).toThrow(TypeError);
});
