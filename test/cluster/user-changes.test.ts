import { describe, expect, test } from 'vitest';
import {
  changePassword,
  createUser,
  deleteUser,
  type UserSession,
} from '../../src/cluster/user-changes.js';
import { KeyspanError, type ErrorCode } from '../../src/core/errors.js';

/** A login on so many HSMs, each of which does it or fails with this code. */
function sessionOf(...answers: readonly (ErrorCode | undefined)[]): UserSession & {
  readonly passwords: string[];
  readonly asked: string[];
} {
  const passwords: string[] = [];
  const asked: string[] = [];
  return {
    username: 'admin',
    passwords,
    asked,
    changed: (password) => void passwords.push(password),
    onEach: async (operation) => {
      asked.push(operation);
      return await Promise.allSettled(
        answers.map(async (code) => {
          if (code) throw new KeyspanError(code);
          return {} as never;
        }),
      );
    },
  };
}

const user = { username: 'alice', role: 'crypto-user', password: 'password-1' } as const;
const own = { username: 'Admin', role: 'admin', password: 'password-2' } as const;
const failed = (what: string, count: string): unknown =>
  expect.objectContaining({
    code: 'KeyspanRefused',
    message: `${what} failed on ${count} connections`,
  });
const coded = (code: ErrorCode): unknown => expect.objectContaining({ code });

describe('a change of users', () => {
  test('is done when each HSM did it, or had nothing to do where another had', async () => {
    await createUser(sessionOf(undefined, undefined), user);
    await createUser(sessionOf('HsmAlreadyExists', undefined), user);
    await deleteUser(sessionOf('HsmUserNotFound', undefined), user);
    await changePassword(sessionOf(undefined, 'HsmUserNotFound'), user);
  });

  test('says what all HSMs said', async () => {
    const all = (code: ErrorCode): UserSession => sessionOf(code, code);
    await expect(createUser(all('HsmAlreadyExists'), user)).rejects.toEqual(
      coded('HsmAlreadyExists'),
    );
    await expect(deleteUser(all('HsmUserNotFound'), user)).rejects.toEqual(
      coded('HsmUserNotFound'),
    );
    await expect(deleteUser(all('HsmRoleRefused'), user)).rejects.toEqual(coded('HsmRoleRefused'));
  });

  test('that an HSM failed says on how many', async () => {
    const lost = 'KeyspanConnection';
    const creates = createUser(sessionOf(undefined, lost, 'HsmAlreadyExists'), user);
    await expect(creates).rejects.toEqual(failed('User create', '1 of 3'));
    const deletes = deleteUser(sessionOf(lost, 'HsmDeviceError'), user);
    await expect(deletes).rejects.toEqual(failed('User delete', '2 of 2'));
  });

  test('that was approved leaves no token behind on an HSM that had no use for it', async () => {
    const approved = { ...user, approval: { data: Buffer.alloc(245), signatures: [] } };
    const whole = sessionOf(undefined, undefined);
    await createUser(whole, approved);
    expect(whole.asked).toEqual(['user-create']);
    const idle = sessionOf('HsmAlreadyExists', undefined);
    await createUser(idle, approved);
    expect(idle.asked).toEqual(['user-create', 'token-delete']);
    const unasked = sessionOf('HsmAlreadyExists', undefined);
    await createUser(unasked, user);
    expect(unasked.asked).toEqual(['user-create']);
  });

  test('needs an HSM', async () => {
    await expect(createUser(sessionOf(), user)).rejects.toEqual(coded('VaultUnavailable'));
  });
});

test("a login goes on with its user's new password, also where only some have it", async () => {
  const session = sessionOf(undefined, undefined);
  await changePassword(session, own);
  expect(session.passwords).toEqual([own.password]);
  const half = sessionOf(undefined, 'KeyspanConnection');
  await expect(changePassword(half, own)).rejects.toEqual(failed('User change-password', '1 of 2'));
  expect(half.passwords).toEqual([own.password]);
  const none = sessionOf('HsmRoleRefused');
  await expect(changePassword(none, own)).rejects.toEqual(coded('HsmRoleRefused'));
  expect(none.passwords).toEqual([]);
  const others = sessionOf(undefined);
  await changePassword(others, user);
  expect(others.passwords).toEqual([]);
});
