import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { LIMITS } from '../../src/core/limits.js';
import { MachineFixture, PASSWORDS } from '../support/hsm-machine.js';

const refused = (code: string): unknown => expect.objectContaining({ code });

let fixture: MachineFixture;
let admin = 0;
beforeAll(async () => {
  fixture = await MachineFixture.founded();
  const before = await fixture.login('admin', PASSWORDS.admin);
  await fixture.ask('activate', { password: 'after-activation' }, { session: before });
});
afterAll(() => fixture[Symbol.dispose]());
beforeEach(async () => {
  admin = await fixture.login('admin', 'after-activation');
});

const create = (username: string, role = 'crypto-user'): Promise<unknown> =>
  fixture.ask('user-create', { username, role, password: 'password-1' }, { session: admin });
const change = (session: number, username: string, password: string): Promise<unknown> =>
  fixture.ask('user-change-password', { username, role: 'crypto-user', password }, { session });

describe('activation', () => {
  test('made an admin of the unactivated one, once', async () => {
    expect(fixture.machine.user('admin')?.role).toBe('admin');
    await expect(fixture.login('admin', PASSWORDS.admin)).rejects.toEqual(
      refused('HsmCredentialsRefused'),
    );
    await expect(
      fixture.ask('activate', { password: 'once-more' }, { session: admin }),
    ).rejects.toEqual(refused('HsmRoleRefused'));
  });
});

describe('lockout', () => {
  const wrong = (name: string): Promise<number> => fixture.login(name, 'not the password');

  test('comes with the fifth wrong password, outlives a restart, ends with a new one', async () => {
    await create('locky');
    for (let time = 1; time <= LIMITS.hsm_login_failures_max; time += 1) {
      await expect(wrong('locky')).rejects.toEqual(refused('HsmCredentialsRefused'));
    }
    await expect(fixture.login('locky', 'password-1')).rejects.toEqual(refused('HsmUserLocked'));
    expect(fixture.restart()).toBe(true);
    await expect(fixture.login('LOCKY', 'password-1')).rejects.toEqual(refused('HsmUserLocked'));
    const { users } = await fixture.ask('user-list', {});
    expect(users).toContainEqual({ username: 'locky', role: 'crypto-user', locked: true });
    admin = await fixture.login('admin', 'after-activation');
    await change(admin, 'locky', 'password-2');
    expect(await fixture.login('locky', 'password-2')).toBeGreaterThan(0);
  });

  test('does not come from passwords that were never compared', async () => {
    await create('waity');
    const late = { username: 'waity', password: 'not the password' };
    for (let time = 0; time <= LIMITS.hsm_login_failures_max; time += 1) {
      await expect(fixture.ask('login', late, { timeoutMs: 0 })).rejects.toEqual(
        refused('HsmDeadlineExceeded'),
      );
    }
    expect(fixture.machine.user('waity')?.failures).toBe(0);
    expect(await fixture.login('waity', 'password-1')).toBeGreaterThan(0);
  });

  test('counts over a restart, and a right password in time sets the count back', async () => {
    await create('county');
    for (let time = 0; time < 3; time += 1) await wrong('county').catch(() => undefined);
    fixture.restart();
    await wrong('county').catch(() => undefined);
    expect(fixture.machine.user('county')?.failures).toBe(4);
    await fixture.login('county', 'password-1');
    expect(fixture.machine.user('county')).toMatchObject({ failures: 0, locked: false });
  });

  test('cannot be outrun by many guesses at once', async () => {
    await create('rushy');
    const guesses = Array.from({ length: 9 }, () => wrong('rushy'));
    const ends = await Promise.allSettled([...guesses, fixture.login('rushy', 'password-1')]);
    expect(fixture.machine.user('rushy')).toMatchObject({ failures: 5, locked: true });
    expect(ends.at(-1)).toEqual({ status: 'rejected', reason: refused('HsmUserLocked') });
  });
});

describe('users', () => {
  test('are named without regard to case, once', async () => {
    await create('Alice');
    await expect(create('aLICE')).rejects.toEqual(refused('HsmAlreadyExists'));
    const both = await Promise.allSettled([create('bob'), create('BOB')]);
    expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    expect(await fixture.login('ALICE', 'password-1')).toBeGreaterThan(0);
  });

  test('are gone with their sessions when they are deleted', async () => {
    await create('gone');
    const session = await fixture.login('gone', 'password-1');
    const before = fixture.machine.sessionCount;
    const fields = { username: 'gone', role: 'crypto-user' };
    await fixture.ask('user-delete', fields, { session: admin });
    expect(fixture.machine.sessionCount).toBe(before - 1);
    await expect(fixture.ask('random', { length: 1 }, { session })).rejects.toEqual(
      refused('HsmNotLoggedIn'),
    );
    await expect(fixture.login('gone', 'password-1')).rejects.toEqual(
      refused('HsmCredentialsRefused'),
    );
    fixture.restart();
    expect(fixture.machine.user('gone')).toBeUndefined();
  });

  test('lose their other sessions when their password changes', async () => {
    await create('changer');
    const [one, other] = [
      await fixture.login('changer', 'password-1'),
      await fixture.login('changer', 'password-1'),
    ];
    await change(one, 'changer', 'password-2');
    expect(fixture.machine.session(one)).toBeDefined();
    expect(fixture.machine.session(other)).toBeUndefined();
    await expect(fixture.login('changer', 'password-1')).rejects.toEqual(
      refused('HsmCredentialsRefused'),
    );
    expect(await fixture.login('changer', 'password-2')).toBeGreaterThan(0);
  });

  test('do not get in with a password that is replaced while it is checked', async () => {
    await create('racer');
    // one hash at a time, and none remembered: the new password is there before the old is checked
    Object.assign(LIMITS, { hsm_hash_concurrent_max: 1 });
    fixture.restart();
    admin = await fixture.login('admin', 'after-activation');
    const changed = change(admin, 'racer', 'password-2');
    const late = fixture.login('racer', 'password-1');
    const ends = await Promise.allSettled([changed, late]);
    expect(ends).toMatchObject([
      { status: 'fulfilled' },
      { status: 'rejected', reason: refused('HsmCredentialsRefused') },
    ]);
    expect(fixture.machine.user('racer')?.failures).toBe(0);
    expect(await fixture.login('racer', 'password-2')).toBeGreaterThan(0);
  });

  test('who are deleted while their new password is hashed stay deleted', async () => {
    await create('phoenix');
    const changing = change(admin, 'phoenix', 'password-2');
    const fields = { username: 'phoenix', role: 'crypto-user' };
    await fixture.ask('user-delete', fields, { session: admin });
    await expect(changing).rejects.toEqual(refused('HsmUserNotFound'));
    expect(fixture.machine.user('phoenix')).toBeUndefined();
    expect(fixture.restart()).toBe(true);
    expect(fixture.machine.user('phoenix')).toBeUndefined();
  });
});

describe('epochs', () => {
  test('the newest is kept on the token, and older ones change nothing', async () => {
    const fields = { username: 'epochal', role: 'crypto-user', password: 'password-1' };
    await fixture.ask('user-create', fields, { session: admin, epoch: 9 });
    const remove = { username: 'epochal', role: 'crypto-user' };
    const late = fixture.ask('user-delete', remove, { session: admin, epoch: 8 });
    await expect(late).rejects.toEqual(refused('HsmEpochStale'));
    expect(fixture.restart()).toBe(true);
    expect(fixture.machine.epoch).toBe(9);
    expect((await fixture.ask('info', {})).epoch).toBe(9);
    admin = await fixture.login('admin', 'after-activation');
    await fixture.ask('user-delete', remove, { session: admin, epoch: 9 });
  });

  test('a frame that is refused brings no epoch', async () => {
    const fields = { username: 'nobody', role: 'crypto-user', password: 'password-1' };
    await expect(fixture.ask('user-create', fields, { epoch: 99 })).rejects.toEqual(
      refused('HsmNotLoggedIn'),
    );
    const bad = fixture.ask('user-create', { ...fields, role: 'x' }, { session: admin, epoch: 99 });
    await expect(bad).rejects.toEqual(refused('HsmBadFrame'));
    expect(fixture.machine.epoch).toBe(9);
  });
});
