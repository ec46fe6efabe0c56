import { describe, expect, test } from 'vitest';
import {
  FLAG_NAMES,
  defaultFlags,
  giveFlags,
  giveFlagsAsPkcs11,
  hasFlag,
  isKeyReference,
  maySetFlag,
  readReference,
  withFlag,
  type FlagName,
} from '../../src/protocol/objects.js';

const made = { local: true, token: true };

describe("CloudHSM's defaults", () => {
  test.each([
    ['secret-key', 'sign', true],
    ['secret-key', 'encrypt', false],
    ['private-key', 'sign', false],
    ['private-key', 'extractable', true],
    ['private-key', 'sensitive', true],
    ['public-key', 'verify', false],
    ['public-key', 'sensitive', false],
    ['public-key', 'private', true],
  ] as const)('a %s has %s %s', (keyClass, name, value) => {
    expect(hasFlag(defaultFlags(keyClass), name)).toBe(value);
  });
});

describe('who makes a key', () => {
  test('says what it may be used for', () => {
    const { flags, refused } = giveFlags('private-key', { sign: true, extractable: false }, made);
    expect(refused).toBeUndefined();
    const is = (name: FlagName): boolean => hasFlag(flags, name);
    expect([is('sign'), is('extractable'), is('never-extractable'), is('local')]).toEqual([
      true,
      false,
      true,
      true,
    ]);
  });

  test.each([
    ['private-key', 'encrypt'],
    ['secret-key', 'trusted'],
    ['public-key', 'sign'],
    ['secret-key', 'local'],
  ] as const)('of a %s may not say that it is for %s', (keyClass, name) => {
    const given = { [name]: true };
    const outcome = giveFlags(keyClass, given, { local: false, token: true });
    expect(outcome.refused).toEqual({ name, value: true });
  });

  test('does not make an imported key one that always was here', () => {
    const { flags } = giveFlags('secret-key', {}, { local: false, token: true });
    expect(hasFlag(flags, 'always-sensitive')).toBe(false);
    expect(hasFlag(flags, 'local')).toBe(false);
  });
});

describe("by PKCS #11's rules who makes an object", () => {
  const namesOf = (...asked: Parameters<typeof giveFlagsAsPkcs11>): string[] => {
    const { flags, refused } = giveFlagsAsPkcs11(...asked);
    expect(refused).toBeUndefined();
    return FLAG_NAMES.filter((name) => hasFlag(flags, name));
  };

  test('names all that is true', () => {
    expect(namesOf('data', {}, { local: false, token: false })).toEqual([]);
    expect(namesOf('public-key', { verify: true }, made)).toEqual(['verify', 'token', 'local']);
    expect(namesOf('secret-key', { extractable: true }, { local: false, token: true })).toEqual([
      'token',
      'private',
      'extractable',
    ]);
    expect(namesOf('private-key', { sensitive: true, sign: true, token: true }, made)).toEqual([
      'sign',
      'token',
      'private',
      'sensitive',
      'always-sensitive',
      'never-extractable',
      'local',
    ]);
  });

  test.each([
    ['secret-key', 'trusted', true],
    ['secret-key', 'private', false],
    ['secret-key', 'always-sensitive', true],
    ['public-key', 'sensitive', true],
    ['public-key', 'never-extractable', true],
    ['private-key', 'encrypt', true],
    ['certificate', 'trusted', true],
    ['certificate', 'sign', true],
    ['data', 'sensitive', true],
  ] as const)('of a %s may not say that %s is %s', (of, name, value) => {
    const { refused } = giveFlagsAsPkcs11(of, { [name]: value }, { local: false, token: true });
    expect(refused).toEqual({ name, value });
  });
});

describe('a flag may be set', () => {
  const key = { class: 'secret-key', flags: defaultFlags('secret-key') } as const;

  test.each([
    ['wrap', true, 'owner', true],
    ['extractable', false, 'owner', true],
    ['extractable', true, 'owner', false],
    ['trusted', true, 'owner', false],
    ['trusted', true, 'admin', true],
    ['wrap', true, 'admin', false],
    ['private', false, 'owner', false],
    ['wrap-with-trusted', true, 'owner', true],
    ['wrap-with-trusted', false, 'owner', false],
    ['sensitive', true, 'owner', false],
    ['sensitive', false, 'owner', false],
  ] as const)('%s to %s by its %s: %s', (name, value, by, may) => {
    expect(maySetFlag(key, name, value, by)).toBe(may);
  });

  test('not where the key is not to be modified, but by an admin', () => {
    const fixed = { ...key, flags: withFlag(key.flags, 'modifiable', false) };
    expect(maySetFlag(fixed, 'wrap', true, 'owner')).toBe(false);
    expect(maySetFlag(fixed, 'trusted', true, 'admin')).toBe(true);
  });
});

test('an object that is not sensitive becomes so, and a certificate has no uses', () => {
  const open = { class: 'private-key', flags: withFlag(0, 'modifiable', true) } as const;
  expect(maySetFlag(open, 'sensitive', true, 'owner')).toBe(true);
  const beside = { class: 'certificate', flags: open.flags } as const;
  const may = (name: FlagName): boolean => maySetFlag(beside, name, true, 'owner');
  expect((['sign', 'sensitive', 'derive', 'destroyable'] as const).filter(may)).toEqual([
    'destroyable',
  ]);
  expect(maySetFlag(beside, 'trusted', true, 'admin')).toBe(true);
  expect(maySetFlag({ ...beside, class: 'data' }, 'trusted', true, 'admin')).toBe(false);
});

test('a reference has 16 hex digits, and may be written with fewer', () => {
  expect(readReference('0xABC')).toBe('0x0000000000000abc');
  expect(isKeyReference('0x0000000000000abc')).toBe(true);
  expect(isKeyReference('0xabc')).toBe(false);
  expect(readReference('abc')).toBeUndefined();
  expect(readReference('0x1234567890abcdef0')).toBeUndefined();
});
