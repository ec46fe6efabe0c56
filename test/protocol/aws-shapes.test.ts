import { describe, expect, test } from 'vitest';
import {
  integer,
  list,
  oneOf,
  parseStructure,
  planOf,
  required,
  string,
  structure,
  TIMESTAMP,
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
});
