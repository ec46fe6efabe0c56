import { describe, expect, test } from 'vitest';
import type { HsmKeyId } from '../../src/core/ids.js';
import { LIMITS } from '../../src/core/limits.js';
import {
  admit,
  beginLogin,
  changedRecord,
  endLogin,
  mayCarry,
  mayChangePassword,
  mayCreateUser,
  mayDeleteUser,
  mayDestroy,
  mayReplace,
  maySee,
  mayUse,
  type Session,
} from '../../src/hsm/authority.js';
import { mayChangeObject } from '../../src/hsm/object-authority.js';
import type { KeyRecord, UserRecord } from '../../src/hsm/records.js';
import {
  HSM_OPERATIONS,
  HSM_ROLES,
  type HsmOperation,
  type HsmPhase,
  type HsmRole,
} from '../../src/protocol/hsm-frames.js';
import type { RecordChange } from '../../src/protocol/hsm-key-frames.js';

const session = (role: HsmRole, username = 'alice'): Session => ({ id: 1, username, role });

const user = (changes: Partial<UserRecord> = {}): UserRecord => ({
  version: 1,
  username: 'alice',
  role: 'crypto-user',
  revision: 3,
  salt: Buffer.alloc(16, 1),
  hash: Buffer.alloc(32, 2),
  failures: 0,
  locked: false,
  ...changes,
});

const key = (changes: Partial<KeyRecord> = {}): KeyRecord => ({
  version: 1,
  id: 'a'.repeat(32) as HsmKeyId,
  revision: 1,
  kind: 'aes-256',
  owner: 'alice',
  sharedWith: ['bob'],
  label: '',
  usage: { encrypt: true, decrypt: true },
  proof: Buffer.alloc(16),
  ...changes,
});

/** What each role may ask for: the whole of it, written down a second time. */
const TABLE: Record<HsmOperation, [HsmPhase | 'any', readonly HsmRole[] | 'anyone', boolean]> = {
  info: ['any', 'anyone', false],
  'store-seen': ['member', ['appliance-user'], false],
  'fault-add': ['any', 'anyone', false],
  'fault-list': ['any', 'anyone', false],
  'fault-clear': ['any', 'anyone', false],
  identity: ['new', 'anyone', true],
  found: ['new', 'anyone', true],
  'join-offer': ['new', 'anyone', true],
  join: ['new', 'anyone', true],
  handover: ['member', ['appliance-user'], false],
  login: ['member', 'anyone', false],
  backup: ['member', ['appliance-user'], false],
  'backup-keys': ['member', ['appliance-user'], false],
  leave: ['member', ['appliance-user'], false],
  logout: ['member', HSM_ROLES, false],
  activate: ['member', ['unactivated-admin'], true],
  'user-list': ['member', 'anyone', false],
  'user-create': ['member', ['admin'], true],
  'user-delete': ['member', ['admin'], true],
  'user-change-password': ['member', ['admin', 'crypto-user', 'appliance-user'], true],
  'mfa-challenge': ['member', 'anyone', false],
  'user-change-mfa': ['member', ['admin', 'crypto-user'], true],
  'user-change-quorum': ['member', ['admin', 'crypto-user'], true],
  'user-extract': ['member', ['admin'], false],
  'user-insert': ['member', ['admin'], true],
  'token-create': ['member', ['admin', 'crypto-user'], false],
  'token-list': ['member', 'anyone', false],
  'token-delete': ['member', ['admin', 'crypto-user'], false],
  'quorum-values': ['member', 'anyone', false],
  'quorum-set': ['member', ['admin'], true],
  generate: ['member', ['appliance-user', 'crypto-user'], false],
  import: ['member', ['crypto-user'], false],
  insert: ['member', ['appliance-user', 'crypto-user', 'admin'], true],
  extract: ['member', ['appliance-user', 'crypto-user', 'admin'], false],
  find: ['member', ['crypto-user'], false],
  destroy: ['member', ['crypto-user'], true],
  discard: ['member', ['appliance-user'], true],
  inventory: ['member', ['appliance-user'], false],
  'record-prepare': ['member', ['crypto-user', 'admin'], false],
  'record-apply': ['member', ['appliance-user'], true],
  'record-extract': ['member', ['appliance-user'], false],
  'cluster-key': ['member', ['appliance-user'], false],
  'key-generate': ['member', ['crypto-user'], false],
  'key-pair-generate': ['member', ['crypto-user'], false],
  'key-import': ['member', ['crypto-user'], false],
  'key-unwrap': ['member', ['crypto-user'], false],
  'key-keep': ['member', ['crypto-user'], false],
  'key-wrap': ['member', ['crypto-user'], false],
  'key-destroyable': ['member', ['crypto-user'], false],
  'key-drop': ['member', ['crypto-user'], false],
  'key-sign': ['member', ['crypto-user'], false],
  'key-verify': ['member', ['crypto-user'], false],
  'key-find': ['member', ['crypto-user', 'admin'], false],
  'key-export': ['member', ['crypto-user', 'admin'], false],
  'key-acceptable': ['member', ['crypto-user', 'admin'], false],
  'object-find': ['member', ['crypto-user', 'admin', 'appliance-user'], false],
  'object-create': ['member', ['crypto-user'], false],
  'object-copy': ['member', ['crypto-user'], false],
  'object-reveal': ['member', ['crypto-user', 'admin', 'appliance-user'], false],
  'p11-cipher': ['member', ['crypto-user', 'admin', 'appliance-user'], false],
  'p11-sign': ['member', ['crypto-user'], false],
  'p11-verify': ['member', ['crypto-user', 'admin', 'appliance-user'], false],
  'p11-derive': ['member', ['crypto-user'], false],
  digest: ['member', ['crypto-user', 'admin', 'appliance-user'], false],
  'stream-open': ['member', ['crypto-user', 'admin', 'appliance-user'], false],
  'stream-update': ['member', ['crypto-user', 'admin', 'appliance-user'], false],
  'stream-final': ['member', ['crypto-user', 'admin', 'appliance-user'], false],
  'stream-close': ['member', ['crypto-user', 'admin', 'appliance-user'], false],
  random: ['member', ['crypto-user', 'admin', 'appliance-user'], false],
  encrypt: ['member', ['crypto-user'], false],
  decrypt: ['member', ['crypto-user'], false],
  reencrypt: ['member', ['crypto-user'], false],
  'data-key': ['member', ['crypto-user'], false],
};

describe('admission', () => {
  test('the table names every operation', () => {
    expect(Object.keys(TABLE).sort()).toEqual(Object.keys(HSM_OPERATIONS).sort());
  });

  test.each(Object.entries(TABLE))(
    '%s: phase, login, role, epoch',
    (name, [phase, roles, changes]) => {
      const operation = name as HsmOperation;
      for (const now of ['new', 'member'] as const) {
        for (const role of [undefined, ...HSM_ROLES]) {
          for (const frameEpoch of [6, 7, 8]) {
            const who = role && session(role);
            const refusal = admit(operation, frameEpoch, { phase: now, epoch: 7, session: who });
            let expected: string | undefined;
            if (phase !== 'any' && phase !== now) expected = 'HsmPhase';
            else if (roles !== 'anyone' && !role) expected = 'HsmNotLoggedIn';
            else if (roles !== 'anyone' && role && !roles.includes(role))
              expected = 'HsmRoleRefused';
            else if (changes && frameEpoch < 7) expected = 'HsmEpochStale';
            expect(refusal?.refuse).toBe(expected);
          }
        }
      }
    },
  );
});

describe('a change of a record', () => {
  const users = new Map([
    ['alice', user()],
    ['bob', user({ username: 'bob' })],
    ['carol', user({ username: 'carol' })],
    ['admin', user({ username: 'admin', role: 'admin' })],
  ]);
  const changed = (
    change: RecordChange,
    record: Partial<KeyRecord> = {},
    stamp?: number,
  ): ReturnType<typeof changedRecord> => changedRecord(key(record), change, { users, stamp });

  test('raises the revision and leaves what it does not name', () => {
    expect(changed({ label: 'new' })).toEqual({ record: key({ revision: 2, label: 'new' }) });
    const usage = { encrypt: false, decrypt: true };
    expect(changed({ usage: { encrypt: false } })).toEqual({ record: key({ revision: 2, usage }) });
    expect(changed({})).toEqual({ record: key({ revision: 2 }) });
  });

  test('shares with users that are there, by names in any case, and takes it back', () => {
    const sharedWith = ['bob', 'carol'];
    expect(changed({ share: ['CAROL', 'bob'] })).toEqual({
      record: key({ revision: 2, sharedWith }),
    });
    const none = { record: key({ revision: 2, sharedWith: [] }) };
    expect(changed({ unshare: ['Bob', 'who-left'] })).toEqual(none);
    expect(changed({ share: ['nobody'] })).toMatchObject({ refuse: 'HsmUserNotFound' });
    expect(changed({ share: ['admin'] })).toMatchObject({ refuse: 'HsmUserNotFound' });
    expect(changed({ share: ['alice'] })).toMatchObject({ refuse: 'HsmAlreadyExists' });
  });

  test('says how far the store had come, and never less than before', () => {
    expect(changed({}, {}, 7)).toEqual({ record: key({ revision: 2, stamp: 7 }) });
    expect(changed({}, { stamp: 9 }, 7)).toEqual({ record: key({ revision: 2, stamp: 9 }) });
    expect(changed({}, { stamp: 9 })).toEqual({ record: key({ revision: 2, stamp: 9 }) });
  });

  test('leaves a record that fits where the first one of a copy stands', () => {
    const sharedWith = Array.from({ length: 140 }, (_, at) => `${'x'.repeat(27)}${at + 100}`);
    expect(changed({}, { sharedWith })).toMatchObject({ refuse: 'HsmBusy' });
    expect(changed({}, { sharedWith: sharedWith.slice(40) })).toHaveProperty('record');
  });

  test('takes the place of an older record of the same key, and of no other', () => {
    const known = key({ revision: 3 });
    expect(mayReplace(known, key({ revision: 4 }))).toBeUndefined();
    expect(mayReplace(known, key({ revision: 9, sharedWith: [] }))).toBeUndefined();
    expect(mayReplace(known, known)).toBeUndefined();
    expect(mayReplace(known, key({ revision: 3, sharedWith: [] }))?.refuse).toBe('HsmRecordStale');
    expect(mayReplace(known, key({ revision: 2 }))?.refuse).toBe('HsmRecordStale');
    const others: Partial<KeyRecord>[] = [
      { id: 'b'.repeat(32) as HsmKeyId },
      { proof: Buffer.alloc(16, 1) },
      { owner: 'bob' },
      { kind: 'cluster-key' },
    ];
    for (const other of others) {
      expect(mayReplace(known, key({ revision: 4, ...other }))?.refuse).toBe('HsmBadRecord');
    }
  });
});

describe('keys', () => {
  const [owner, friend, stranger] = ['alice', 'bob', 'carol'].map((name) =>
    session('crypto-user', name),
  ) as [Session, Session, Session];

  test('are seen and used by the owner and those they are shared with', () => {
    for (const use of ['encrypt', 'decrypt'] as const) {
      expect(mayUse(owner, key(), use)).toBeUndefined();
      expect(mayUse(friend, key(), use)).toBeUndefined();
      expect(mayUse(stranger, key(), use)).toEqual({ refuse: 'HsmKeyNotFound' });
    }
    expect([owner, friend, stranger].map((who) => maySee(who, key()))).toEqual([true, true, false]);
  });

  test('are used only as their attributes allow, and a stranger does not learn these', () => {
    const usage = { encrypt: true, decrypt: false };
    expect(mayUse(owner, key({ usage }), 'encrypt')).toBeUndefined();
    expect(mayUse(owner, key({ usage }), 'decrypt')).toEqual({ refuse: 'HsmUsageRefused' });
    expect(mayUse(stranger, key({ usage }), 'decrypt')).toEqual({ refuse: 'HsmKeyNotFound' });
  });

  test('are changed by their owner alone', () => {
    expect(mayChangeObject(owner, key(), { label: 'x' })).toBeUndefined();
    expect(mayChangeObject(friend, key(), { label: 'x' })?.refuse).toBe('HsmRoleRefused');
    expect(mayChangeObject(stranger, key(), { label: 'x' })?.refuse).toBe('HsmKeyNotFound');
  });

  test('are destroyed by their owner alone', () => {
    expect(mayDestroy(owner, key())).toBeUndefined();
    expect(mayDestroy(friend, key())?.refuse).toBe('HsmRoleRefused');
    expect(mayDestroy(stranger, key())?.refuse).toBe('HsmKeyNotFound');
  });

  test('are carried by the appliance user, and by their owner', () => {
    expect(mayCarry(session('appliance-user', 'app_user'), key())).toBeUndefined();
    expect(mayCarry(owner, key())).toBeUndefined();
    expect(mayCarry(friend, key())?.refuse).toBe('HsmKeyNotFound');
    expect(mayCarry(stranger, key())?.refuse).toBe('HsmKeyNotFound');
  });
});

describe('a login', () => {
  test('of a locked user is refused before its password is looked at', () => {
    expect(beginLogin(user({ locked: true }))).toEqual({ refuse: 'HsmUserLocked' });
  });

  test('of nobody checks a password all the same', () => {
    expect(beginLogin(undefined)).toEqual({ verify: null });
    expect(endLogin(null, false)).toEqual({ refuse: 'HsmCredentialsRefused' });
    expect(endLogin(null, true)).toEqual({ refuse: 'HsmCredentialsRefused' });
  });

  test('writes nothing when nothing changes', () => {
    expect(beginLogin(user())).toEqual({ verify: user() });
    expect(endLogin(user(), true)).toEqual({});
  });

  test('counts wrong passwords and locks at the last', () => {
    let record = user();
    for (let failure = 1; failure <= LIMITS.hsm_login_failures_max; failure += 1) {
      const outcome = endLogin(record, false);
      expect(outcome.refuse).toBe('HsmCredentialsRefused');
      record = outcome.persist as UserRecord;
      expect(record).toMatchObject({ failures: failure, revision: 3 + failure });
      expect(record.locked).toBe(failure === 5);
    }
    expect(beginLogin(record)).toEqual({ refuse: 'HsmUserLocked' });
  });

  test('with the right password sets the count back', () => {
    const outcome = endLogin(user({ failures: 4 }), true);
    expect(outcome.refuse).toBeUndefined();
    expect(outcome.persist).toMatchObject({ failures: 0, locked: false, revision: 4 });
  });
});

describe('users', () => {
  test('change their own passwords, and admins those of others', () => {
    expect(mayChangePassword(session('crypto-user'), user(), 'crypto-user')).toBeUndefined();
    expect(mayChangePassword(session('admin', 'root'), user(), 'crypto-user')).toBeUndefined();
    const other = session('crypto-user', 'bob');
    expect(mayChangePassword(other, user(), 'crypto-user')?.refuse).toBe('HsmRoleRefused');
    expect(mayChangePassword(other, undefined, 'crypto-user')?.refuse).toBe('HsmRoleRefused');
  });

  test('are named with their role', () => {
    const admin = session('admin', 'root');
    expect(mayChangePassword(admin, user(), 'admin')?.refuse).toBe('HsmUserNotFound');
    expect(mayChangePassword(admin, undefined, 'admin')?.refuse).toBe('HsmUserNotFound');
    expect(mayDeleteUser(admin, user(), 'admin')?.refuse).toBe('HsmUserNotFound');
    expect(mayDeleteUser(admin, undefined, 'crypto-user')?.refuse).toBe('HsmUserNotFound');
  });

  test("nobody but the appliance user changes the appliance user's password", () => {
    const appliance = user({ username: 'app_user', role: 'appliance-user' });
    const admin = session('admin', 'root');
    expect(mayChangePassword(admin, appliance, 'appliance-user')?.refuse).toBe('HsmRoleRefused');
    const self = session('appliance-user', 'app_user');
    expect(mayChangePassword(self, appliance, 'appliance-user')).toBeUndefined();
  });

  test('are created once, up to the bound', () => {
    const users = new Map([['alice', user()]]);
    expect(mayCreateUser(users, 'bob')).toBeUndefined();
    expect(mayCreateUser(users, 'alice')?.refuse).toBe('HsmAlreadyExists');
    const full = Array.from(
      { length: LIMITS.hsm_users_max },
      (_, at) => [`u${at}`, user()] as const,
    );
    expect(mayCreateUser(new Map(full), 'bob')?.refuse).toBe('HsmBusy');
    expect(mayCreateUser(new Map(full.slice(1)), 'bob')).toBeUndefined();
  });

  test('are deleted by others than themselves', () => {
    const admin = user({ username: 'root', role: 'admin' });
    expect(mayDeleteUser(session('admin', 'root'), user(), 'crypto-user')).toBeUndefined();
    expect(mayDeleteUser(session('admin', 'root'), admin, 'admin')?.refuse).toBe('HsmRoleRefused');
  });
});
