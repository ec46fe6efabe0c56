import { equalConstantTime } from '../core/bytes.js';
import { deadlineIn, hasPassed, type Deadline } from '../core/deadline.js';
import { KeyspanError } from '../core/errors.js';
import { RECORD_VERSION, type HsmFields, type HsmResults } from '../protocol/hsm-frames.js';
import {
  beginLogin,
  endLogin,
  mayChangePassword,
  mayCreateUser,
  mayDeleteUser,
  type Refusal,
  type Session,
} from './authority.js';
import type { Machine } from './machine.js';
import { needApproval } from './quorum.js';
import { withKey, type UserRecord } from './records.js';
import { hasFactor, hashOfKey } from './user-factors.js';

export function refuse(refusal: Refusal | undefined): void {
  if (refusal) throw new KeyspanError(refusal.refuse, refusal.message);
}

/**
 * Work that waited so long that its asker has given up is not begun.
 * @throws KeyspanError HsmDeadlineExceeded
 */
export function refuseLate(deadline: Deadline): void {
  if (hasPassed(deadline)) throw new KeyspanError('HsmDeadlineExceeded');
}

export async function login(
  machine: Machine,
  fields: HsmFields<'login'>,
  timeoutMs: number,
): Promise<HsmResults['login']> {
  const start = beginLogin(machine.user(fields.username));
  if ('refuse' in start) throw new KeyspanError(start.refuse, start.message);
  refuseWithoutFactor(start.verify, fields);
  const matches = await machine.passwords.matches(
    start.verify,
    fields.password,
    deadlineIn(timeoutMs),
  );
  // the record may have changed while the password was hashed: the decision is about the newest
  const user = start.verify && (machine.user(fields.username) ?? null);
  if (user?.locked === true) throw new KeyspanError('HsmUserLocked');
  // another password by now: what was checked is neither right nor wrong
  if (user && start.verify && !equalConstantTime(user.salt, start.verify.salt)) {
    throw new KeyspanError('HsmCredentialsRefused');
  }
  refuseWithoutFactor(user, fields);
  const proves = hasFactor(machine.tokens, user, fields.mfa);
  const outcome = endLogin(user, matches && proves);
  if (outcome.persist) machine.putUser(outcome.persist);
  if (outcome.refuse || !user) throw new KeyspanError(outcome.refuse ?? 'HsmCredentialsRefused');
  if (user.mfa && fields.mfa) machine.tokens.useChallenge(fields.mfa.token);
  const session = machine.openSession(user.username, user.role);
  return { session: session.id, role: session.role };
}

/** Said before the password is looked at: it tells nothing of that, and is no wrong one. */
function refuseWithoutFactor(user: UserRecord | null, { mfa }: HsmFields<'login'>): void {
  if (user?.mfa && !mfa) throw new KeyspanError('HsmMfaRequired');
}

export function logout(machine: Machine, session: Session): Record<string, never> {
  machine.closeSession(session.id);
  return {};
}

export async function newUser(
  machine: Machine,
  user: {
    username: string;
    role: UserRecord['role'];
    password: string;
    random?: boolean | undefined;
  },
): Promise<UserRecord> {
  const { role } = user;
  const random = user.random ? ({ random: true } as const) : {};
  const { salt, hash } = await machine.passwords.hash(user.password, { role, ...random });
  return {
    version: RECORD_VERSION,
    username: user.username.toLowerCase(),
    role,
    revision: 1,
    salt,
    hash,
    ...random,
    failures: 0,
    locked: false,
  };
}

/** @param change what becomes of the user besides, as it is when the password is hashed */
export async function setPassword(
  machine: Machine,
  user: UserRecord,
  password: string,
  change: (user: UserRecord) => UserRecord = (now) => now,
): Promise<void> {
  // whoever chose it: it is stretched
  const { salt, hash } = await machine.passwords.hash(password, { role: user.role });
  const known = machine.user(user.username);
  // deleted, replaced or activated while the password was hashed
  if (!known || known.role !== user.role) throw new KeyspanError('HsmUserNotFound');
  const { random: _, ...now } = known;
  const role = now.role === 'unactivated-admin' ? 'admin' : now.role;
  const revision = now.revision + 1;
  machine.putUser(change({ ...now, role, revision, salt, hash, failures: 0, locked: false }));
}

/** The one thing that an unactivated admin may do: become an admin, with a password of its own. */
export async function activate(
  machine: Machine,
  session: Session,
  fields: HsmFields<'activate'>,
): Promise<Record<string, never>> {
  const user = machine.user(session.username);
  if (!user) throw new KeyspanError('HsmUserNotFound');
  await setPassword(machine, user, fields.password);
  machine.closeSessionsOf(user.username);
  return {};
}

export function listUsers(machine: Machine): HsmResults['user-list'] {
  const users = [...machine.users.values()].map(
    ({ username, role, locked, mfa, quorum, publicKey }) => ({
      username,
      role,
      locked,
      ...(mfa && { mfa }),
      ...(quorum && { quorum }),
      ...(publicKey && { keyHash: hashOfKey(publicKey) }),
    }),
  );
  return { users };
}

export async function createUser(
  machine: Machine,
  session: Session,
  fields: HsmFields<'user-create'>,
): Promise<Record<string, never>> {
  const name = fields.username.toLowerCase();
  refuse(mayCreateUser(machine.users, name));
  needApproval(machine, session, { service: 'user' }, fields.approval);
  const user = await newUser(machine, fields);
  refuse(mayCreateUser(machine.users, name));
  machine.putUser(user);
  return {};
}

export function deleteUser(
  machine: Machine,
  session: Session,
  fields: HsmFields<'user-delete'>,
): Record<string, never> {
  const user = machine.user(fields.username);
  refuse(mayDeleteUser(session, user, fields.role));
  needApproval(machine, session, { service: 'user' }, fields.approval);
  if (user) machine.deleteUser(user.username);
  return {};
}

export async function changePassword(
  machine: Machine,
  session: Session,
  fields: HsmFields<'user-change-password'>,
): Promise<Record<string, never>> {
  const user = machine.user(fields.username);
  refuse(mayChangePassword(session, user, fields.role));
  if (!user) throw new KeyspanError('HsmUserNotFound');
  const { approval, deregisterMfa = false, deregisterQuorum = false } = fields;
  const isOwn = user.username === session.username;
  // an admin's own password is its own; what else it is known by is not
  if (session.role === 'admin' && (!isOwn || deregisterMfa || deregisterQuorum)) {
    needApproval(machine, session, { service: 'user' }, approval);
  }
  await setPassword(machine, user, fields.password, (now) =>
    withKey(now, {
      publicKey: now.publicKey,
      mfa: now.mfa === true && !deregisterMfa,
      quorum: now.quorum === true && !deregisterQuorum,
    }),
  );
  machine.closeSessionsOf(user.username, session.id);
  return {};
}
