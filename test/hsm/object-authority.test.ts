import { describe, expect, test } from 'vitest';
import type { Session } from '../../src/hsm/authority.js';
import {
  changedObject,
  copiedFlags,
  mayAskApprovals,
  mayChangeObject,
  mayDelete,
  mayFindObject,
  mayReveal,
  maySeeObject,
  mayUseObject,
  mayWrap,
  newFlags,
  objectOf,
  sharesOf,
} from '../../src/hsm/object-authority.js';
import type { KeyObject, KeyRecord, UserRecord } from '../../src/hsm/records.js';
import {
  defaultFlags,
  hasFlag,
  isKeyClass,
  withFlag,
  type FlagName,
  type ObjectClass,
} from '../../src/protocol/objects.js';
import { newKeyRecord } from '../support/hsm-machine.js';

const as = (username: string, role: Session['role'] = 'crypto-user'): Session => ({
  id: 1,
  username,
  role,
});
const [owner, friend, stranger, admin] = [
  as('alice'),
  as('bob'),
  as('carol'),
  as('admin', 'admin'),
];

function key(
  keyClass: ObjectClass,
  flags: Partial<Record<FlagName, boolean>> = {},
  more: Partial<KeyObject> = {},
): KeyRecord {
  let all = isKeyClass(keyClass) ? defaultFlags(keyClass) : withFlag(0, 'private', true);
  for (const [name, value] of Object.entries(flags)) all = withFlag(all, name as FlagName, value);
  const object: KeyObject = {
    class: keyClass,
    type: 'aes',
    reference: '0x0000000000000001',
    flags: all,
    id: new Uint8Array(0),
    length: 32,
    manage: 0,
    use: 0,
    ...more,
  };
  const record = { owner: 'alice', sharedWith: ['bob'], kind: 'object', object } as const;
  return newKeyRecord({ version: 2, ...record });
}

const refused = (refusal: { refuse: string } | undefined): string | undefined => refusal?.refuse;

describe('a key', () => {
  test('is seen by its owner, by whom it is shared with, and by admins', () => {
    const seen = [owner, friend, stranger, admin].map((who) =>
      maySeeObject(who, key('secret-key')),
    );
    expect(seen).toEqual([true, true, false, true]);
    expect(maySeeObject(stranger, key('public-key'))).toBe(true);
  });

  test('is used as its attributes allow, and a stranger does not learn of it', () => {
    const record = key('private-key', { sign: true });
    expect(mayUseObject(friend, record, 'sign')).toBeUndefined();
    expect(refused(mayUseObject(friend, record, 'decrypt'))).toBe('HsmUsageRefused');
    expect(refused(mayUseObject(stranger, record, 'sign'))).toBe('HsmKeyNotFound');
  });

  test('is deleted by its owner, where it may be', () => {
    expect(mayDelete(owner, key('secret-key'))).toBeUndefined();
    expect(refused(mayDelete(friend, key('secret-key')))).toBe('HsmRoleRefused');
    expect(refused(mayDelete(stranger, key('secret-key')))).toBe('HsmKeyNotFound');
    const kept = key('secret-key', { destroyable: false });
    expect(refused(mayDelete(owner, kept))).toBe('HsmUsageRefused');
  });

  test('of KMS is one, too, that cannot leave', () => {
    const object = objectOf(newKeyRecord({ kind: 'aes-256' }));
    expect(object?.reference).toMatch(/^0xf[0-9a-f]{15}$/);
    expect(hasFlag(object?.flags ?? 0, 'extractable')).toBe(false);
    expect(hasFlag(object?.flags ?? 0, 'encrypt')).toBe(true);
    expect(objectOf(newKeyRecord({ kind: 'cluster-key' }))).toBeUndefined();
  });
});

describe('a key leaves', () => {
  const wrapping = key('secret-key', { wrap: true });
  const trusted = key('secret-key', { wrap: true, trusted: true });

  test('by its owner, under a key that wraps', () => {
    expect(mayWrap(owner, key('secret-key'), wrapping)).toBeUndefined();
    expect(refused(mayWrap(friend, key('secret-key'), wrapping))).toBe('HsmRoleRefused');
    expect(refused(mayWrap(owner, key('secret-key'), key('secret-key')))).toBe('HsmUsageRefused');
  });

  test('only if it is extractable, and no public key', () => {
    const fixed = key('secret-key', { extractable: false });
    expect(mayWrap(owner, fixed, wrapping)?.message).toBe('the key is not extractable');
    expect(refused(mayWrap(owner, key('public-key'), wrapping))).toBe('HsmUsageRefused');
  });

  test('only under a trusted one where it asks for that', () => {
    const payload = key('private-key', { 'wrap-with-trusted': true });
    expect(refused(mayWrap(owner, payload, wrapping))).toBe('HsmUsageRefused');
    expect(mayWrap(owner, payload, trusted)).toBeUndefined();
  });

  test("only if it fits the wrapping key's template", () => {
    const wrapTemplate = { mask: withFlag(0, 'sign', true), flags: withFlag(0, 'sign', true) };
    const by = key('secret-key', { wrap: true }, { wrapTemplate });
    expect(mayWrap(owner, key('secret-key'), by)).toBeUndefined();
    expect(refused(mayWrap(owner, key('private-key'), by))).toBe('HsmUsageRefused');
  });
});

describe('attributes', () => {
  const change = (record: KeyRecord, name: FlagName, value: boolean, who = owner): unknown =>
    changedObject(who, record.object as KeyObject, { set: { name, value } });

  test('are changed by the owner, and `trusted` by an admin', () => {
    expect(change(key('secret-key'), 'wrap', true)).toMatchObject({ object: {} });
    expect(change(key('secret-key'), 'trusted', true)).toMatchObject({
      refuse: 'HsmAttributeRefused',
      message: 'Attribute trusted cannot be set to the value true by the user for this operation',
    });
    expect(change(key('secret-key'), 'trusted', true, admin)).toMatchObject({ object: {} });
    const trust = { set: { name: 'trusted', value: true } } as const;
    expect(mayChangeObject(admin, key('secret-key'), trust)).toBeUndefined();
    expect(refused(mayChangeObject(admin, key('secret-key'), { label: 'x' }))).toBe(
      'HsmRoleRefused',
    );
    expect(refused(mayChangeObject(friend, key('secret-key'), { label: 'x' }))).toBe(
      'HsmRoleRefused',
    );
  });

  test('that only go one way do not come back', () => {
    expect(change(key('secret-key', { extractable: false }), 'extractable', true)).toMatchObject({
      message:
        'Attribute extractable cannot be set to the value true by the user for this operation',
    });
    const bound = key('secret-key', { 'wrap-with-trusted': true });
    expect(change(bound, 'wrap-with-trusted', false)).toMatchObject({
      refuse: 'HsmAttributeRefused',
    });
  });

  test('of a key that is not modifiable stay, its label too', () => {
    const fixed = key('secret-key', { modifiable: false }).object as KeyObject;
    expect(changedObject(owner, fixed, { label: 'x' })).toMatchObject({
      refuse: 'HsmAttributeRefused',
    });
    expect(changedObject(owner, fixed, { id: Buffer.of(1) })).toMatchObject({
      refuse: 'HsmAttributeRefused',
    });
  });

  test('of a key that is unwrapped are those of the template, or it is refused', () => {
    const making = { keyId: 'a'.repeat(32), reference: '0x0000000000000001', label: '' };
    const template = { mask: withFlag(0, 'sign', true), flags: 0 };
    const made = { class: 'secret-key', local: false, token: true, template } as const;
    const flagsOf = (given: Record<string, boolean>): unknown =>
      newFlags({ ...making, given } as Parameters<typeof newFlags>[0], made);
    const { flags } = flagsOf({}) as { flags: number };
    expect(hasFlag(flags, 'sign')).toBe(false);
    expect(flagsOf({ sign: true })).toMatchObject({ refuse: 'HsmAttributeRefused' });
  });

  test('that nobody but the HSM or an admin gives come by no template', () => {
    const making = { keyId: 'a'.repeat(32), reference: '0x0000000000000001', label: '', given: {} };
    const names: FlagName[] = [
      'trusted',
      'local',
      'always-sensitive',
      'never-extractable',
      'token',
    ];
    const all = names.reduce((flags, name) => withFlag(flags, name, true), 0);
    const template = { mask: all, flags: all };
    for (const pkcs11 of [true, false]) {
      const made = { class: 'secret-key', local: false, token: false, template } as const;
      const answer = newFlags({ ...making, pkcs11 } as Parameters<typeof newFlags>[0], made);
      const { flags } = answer as { flags: number };
      expect(names.filter((name) => hasFlag(flags, name))).toEqual([]);
    }
  });
});

describe('an object of PKCS #11', () => {
  const appliance = as('app_user', 'appliance-user');
  const users = [owner, friend, stranger, admin, appliance];

  test.each<[ObjectClass, boolean, boolean[]]>([
    ['secret-key', true, [true, true, false, false, false]],
    ['private-key', false, [true, true, false, true, true]],
    ['public-key', true, [true, true, true, false, false]],
    ['public-key', false, [true, true, true, true, true]],
    ['certificate', true, [true, true, false, false, false]],
    ['certificate', false, [true, true, true, true, true]],
    ['data', false, [true, true, true, true, true]],
  ])('%s (private: %s) is found by whom it is for', (of, isPrivate, found) => {
    const record = key(of, { private: isPrivate });
    expect(users.map((who) => mayFindObject(who, record))).toEqual(found);
  });

  test('that KMS made is found by its owner alone', () => {
    const record = newKeyRecord({ sharedWith: ['bob'] });
    expect(users.map((who) => mayFindObject(who, record))).toEqual([
      true,
      false,
      false,
      false,
      false,
    ]);
  });

  test('tells its bytes where it may', () => {
    const may = (who: Session, record: KeyRecord): string | undefined =>
      refused(mayReveal(who, record));
    const free = key('secret-key', { sensitive: false });
    expect([owner, friend, stranger].map((who) => may(who, free))).toEqual([
      undefined,
      undefined,
      'HsmKeyNotFound',
    ]);
    expect(may(admin, free)).toBe('HsmKeyNotFound');
    expect(may(admin, key('secret-key', { sensitive: false, private: false }))).toBe(
      'HsmRoleRefused',
    );
    expect(may(owner, key('secret-key'))).toBe('HsmUsageRefused');
    expect(may(owner, key('secret-key', { sensitive: false, extractable: false }))).toBe(
      'HsmUsageRefused',
    );
    expect(may(appliance, key('certificate', { private: false }))).toBeUndefined();
    expect(may(owner, newKeyRecord())).toBe('HsmUsageRefused');
    expect(may(owner, newKeyRecord({ kind: 'cluster-key' }))).toBe('HsmKeyNotFound');
  });

  test('is not wrapped where it is no key', () => {
    const wrapping = key('secret-key', { wrap: true });
    expect(refused(mayWrap(owner, key('data', { extractable: true }), wrapping))).toBe(
      'HsmUsageRefused',
    );
  });

  test('has copies that are as it could become, and that nobody vouched for', () => {
    const making = { keyId: 'a'.repeat(32), reference: '0x0000000000000001', label: '' };
    const copy = (record: KeyRecord, given: Record<string, boolean>, more = {}): unknown => {
      const asked = { ...making, given, ...more } as Parameters<typeof copiedFlags>[1];
      return copiedFlags(record.object as KeyObject, asked, true);
    };
    const trusted = key('secret-key', { trusted: true }).object as KeyObject;
    const flags = withFlag(trusted.flags, 'trusted', false);
    expect(copy(key('secret-key', { trusted: true }), {})).toEqual({ flags });
    const no = { refuse: 'HsmAttributeRefused' };
    for (const [name, value] of [
      ['trusted', true],
      ['token', false],
      ['private', false],
      ['local', false],
    ] as const) {
      expect(copy(key('secret-key', { local: true }), { [name]: value })).toMatchObject(no);
    }
    expect(copy(key('data'), { private: false, destroyable: true })).toHaveProperty('flags');
    const fixed = key('secret-key', { modifiable: false });
    expect(copy(fixed, { destroyable: false })).toHaveProperty('flags');
    expect(copy(fixed, { modifiable: true })).toMatchObject(no);
    expect(copy(fixed, { wrap: true })).toMatchObject(no);
    expect(copy(fixed, {}, { extra: { '1': Buffer.of(1) } })).toMatchObject(no);
  });
});

describe('approvals', () => {
  test.each([
    [undefined, 1, undefined],
    [{ manage: 0, use: 0 }, 1, undefined],
    [{ manage: 2, use: 2 }, 2, undefined],
    [{ manage: 1, use: 2 }, 4, /greater than 1$/],
    [{ manage: 0, use: 2 }, 4, /greater than 1$/],
    [{ manage: 3, use: 2 }, 2, /^Invalid quorum value provided/],
  ])('%j of %i users', (quorum, users, message) => {
    const refusal = mayAskApprovals(quorum, users);
    if (message) expect(refusal?.message).toMatch(message);
    else expect(refusal).toBeUndefined();
  });
});

test('a key is shared with crypto-users, however written, and not with its owner', () => {
  const users = new Map<string, UserRecord>(
    (['bob', 'carol', 'root'] as const).map((name) => [
      name,
      { role: name === 'root' ? 'admin' : 'crypto-user' } as UserRecord,
    ]),
  );
  users.set('alice', { role: 'crypto-user' } as UserRecord);
  expect(sharesOf('alice', ['Carol', 'BOB', 'alice'], users)).toEqual({
    sharedWith: ['bob', 'carol'],
  });
  for (const name of ['root', 'nobody']) {
    expect(sharesOf('alice', [name], users)).toMatchObject({
      message: 'Specified user does not exist',
    });
  }
});
