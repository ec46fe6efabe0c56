import { describe, expect, test } from 'vitest';
import { parseStructure, planOf } from '../../src/protocol/aws-parser.js';
import {
  integer,
  list,
  map,
  oneOf,
  required,
  string,
  structure,
  TIMESTAMP,
  unanchored,
} from '../../src/protocol/aws-shapes.js';

describe('shapes that no action has yet', () => {
  test('a secret is not repeated in an error', () => {
    const plan = planOf({ KeyStorePassword: string({ min: 7, secret: true }) });
    expect(() => parseStructure(plan, { KeyStorePassword: 'geheim' }, 'json')).toThrow(
      "1 validation error detected: Value at 'keyStorePassword' failed to satisfy constraint: " +
        'Member must have length greater than or equal to 7',
    );
  });

  test('a timestamp is a number of seconds', () => {
    const plan = planOf({ ValidTo: TIMESTAMP });
    expect(parseStructure(plan, { ValidTo: 1.5 }, 'json')).toEqual({ ValidTo: 1.5 });
    expect(() => parseStructure(plan, { ValidTo: '2030-01-01' }, 'json')).toThrow(
      expect.objectContaining({ code: 'SerializationException' }),
    );
  });

  test('a list of values out of a set', () => {
    const plan = planOf({ Operations: list(oneOf('Encrypt', 'Decrypt'), { min: 1 }) });
    expect(() => parseStructure(plan, { Operations: ['Encrypt', 'X'] }, 'json')).toThrow(
      "Value '[Encrypt, X]' at 'operations' failed to satisfy constraint: " +
        'Member must satisfy constraint: [Member must satisfy enum value set: [Encrypt, Decrypt]]',
    );
    expect(() => parseStructure(plan, { Operations: [] }, 'json')).toThrow(
      "Value '[]' at 'operations' failed to satisfy constraint: " +
        'Member must have length greater than or equal to 1',
    );
  });

  test('structures nest', () => {
    const plan = planOf({ Outer: structure({ Inner: required(integer({ min: 1 })) }) });
    expect(parseStructure(plan, { Outer: { Inner: 3 } }, 'json')).toEqual({ Outer: { Inner: 3 } });
    expect(() => parseStructure(plan, { Outer: { Inner: 0 } }, 'json')).toThrow(
      "Value '0' at 'outer.inner' failed",
    );
    expect(() => parseStructure(plan, { Outer: 7 }, 'json')).toThrow(
      expect.objectContaining({ code: 'SerializationException' }),
    );
  });

  test('a pattern that is not anchored is found anywhere', () => {
    const plan = planOf({ VpcId: string({ pattern: unanchored('vpc-[0-9a-f]') }) });
    expect(parseStructure(plan, { VpcId: 'vpc-50ae0636' }, 'json')).toEqual({
      VpcId: 'vpc-50ae0636',
    });
    expect(() => parseStructure(plan, { VpcId: 'vpc-' }, 'json')).toThrow(
      "Value 'vpc-' at 'vpcId' failed to satisfy constraint: " +
        'Member must satisfy regular expression pattern: vpc-[0-9a-f]',
    );
  });

  test('a map of lists is a Map, and checks what its lists hold', () => {
    const plan = planOf({ Filters: map(string(), list(oneOf('a', 'b')), { max: 1 }) });
    const given = JSON.parse('{"Filters":{"__proto__":["a"]}}') as unknown;
    expect(parseStructure(plan, given, 'json')).toEqual({
      Filters: new Map([['__proto__', ['a']]]),
    });
    expect(() => parseStructure(plan, { Filters: { x: ['c'], y: ['a'] } }, 'json')).toThrow(
      "2 validation errors detected: Value '[c]' at 'filters.x.member' failed to satisfy " +
        'constraint: Member must satisfy constraint: ' +
        '[Member must satisfy enum value set: [a, b]]; ' +
        "Value '{x=[c], y=[a]}' at 'filters' failed to satisfy constraint: " +
        'Member must have length less than or equal to 1',
    );
  });
});
