import { KeyspanError, isErrorCode, isKeyspanError, type ErrorCode } from '../core/errors.js';
import type { HsmFields } from '../protocol/hsm-frames.js';
import type { HsmApproval } from '../protocol/quorum-frames.js';
import type { ClusterSession } from './cluster-session.js';

/** A login that changes users. */
export type UserSession = Pick<ClusterSession, 'onEach' | 'changed' | 'username'>;

/**
 * Changes of users, as CloudHSM's client pushes them: to each HSM that can be reached now, and to
 * none later. An HSM that is already as it is to be is no failure while another had to be changed,
 * so what a failure left half done is repaired by the same command.
 * @throws KeyspanError what the HSMs answered where all did the same; KeyspanRefused with how many
 * failed; VaultUnavailable when the login is on no HSM that serves
 */
export async function createUser(
  session: UserSession,
  user: HsmFields<'user-create'>,
): Promise<void> {
  const outcomes = await session.onEach('user-create', user);
  judge('User create', outcomes, 'HsmAlreadyExists');
  await voidUnused(session, user.approval, outcomes);
}

/** As `createUser`. */
export async function deleteUser(
  session: UserSession,
  user: HsmFields<'user-delete'>,
): Promise<void> {
  const outcomes = await session.onEach('user-delete', user);
  judge('User delete', outcomes, 'HsmUserNotFound');
  await voidUnused(session, user.approval, outcomes);
}

/** As `createUser`; it unlocks the user on the HSMs where it was locked. */
export async function changePassword(
  session: UserSession,
  user: HsmFields<'user-change-password'>,
): Promise<void> {
  const outcomes = await session.onEach('user-change-password', user);
  const isOwn = user.username.toLowerCase() === session.username;
  // also where it failed on some: the others have it
  if (isOwn && outcomes.some(isDone)) session.changed(user.password);
  judge('User change-password', outcomes, 'HsmUserNotFound');
  await voidUnused(session, user.approval, outcomes);
}

/**
 * An approval whose change was made is of no more use on HSMs that had nothing to do, and there in
 * the way of the next one. The tokens of HSMs that cannot be reached end with their connections.
 */
export async function voidUnused(
  session: Pick<UserSession, 'onEach'>,
  approval: HsmApproval | undefined,
  outcomes: readonly PromiseSettledResult<unknown>[],
): Promise<void> {
  if (!approval || outcomes.every(isDone)) return;
  await session.onEach('token-delete', { scope: 'user', among: approval.data });
}

export const isDone = ({ status }: PromiseSettledResult<unknown>): boolean =>
  status === 'fulfilled';

/** @param idle the code of an HSM that has nothing to do; undefined: none has */
export function judge(
  what: string,
  outcomes: readonly PromiseSettledResult<unknown>[],
  idle?: ErrorCode,
): void {
  const failures = outcomes.flatMap((one) =>
    one.status === 'rejected' ? [one.reason as unknown] : [],
  );
  const [first] = failures;
  if (outcomes.length === 0) throw new KeyspanError('VaultUnavailable');
  if (first === undefined) return;
  const codes = new Set(failures.map(codeOf));
  if (failures.length === outcomes.length && codes.size === 1) throw first;
  const real = failures.filter((failure) => codeOf(failure) !== idle);
  if (real.length === 0) return;
  const told = `${what} failed on ${real.length} of ${outcomes.length} connections`;
  throw new KeyspanError('KeyspanRefused', told, { cause: real[0] });
}

const codeOf = (failure: unknown): ErrorCode =>
  isKeyspanError(failure) && isErrorCode(failure.code) ? failure.code : 'InternalFailure';
