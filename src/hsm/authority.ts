import { equalConstantTime } from '../core/bytes.js';
import type { ErrorCode } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import {
  HSM_OPERATIONS,
  type HsmOperation,
  type HsmPhase,
  type HsmRole,
} from '../protocol/hsm-frames.js';
import type { RecordChange } from '../protocol/hsm-key-frames.js';
import {
  digestOfRecord,
  encodeKeyRecord,
  versionOf,
  type KeyObject,
  type KeyRecord,
  type UserRecord,
} from './records.js';

/**
 * What an HSM decides by itself: who may ask for what. Pure: each function gets what the HSM
 * knows and returns what is
 * to be done; reading the token, hashing and persisting is done by its callers, and no
 * operation reaches the token
 * without a decision of this file.
 */
export interface Refusal {
  readonly refuse: ErrorCode;
  readonly message?: string;
}

/** One login of one user on one connection. */
export interface Session {
  readonly id: number;
  readonly username: string;
  readonly role: HsmRole;
}

export interface Admission {
  readonly phase: HsmPhase;
  /** the newest epoch on the token */
  readonly epoch: number;
  readonly session: Session | undefined;
}

const IN_ANY_PHASE: ReadonlySet<HsmOperation> = new Set([
  'info',
  'fault-add',
  'fault-list',
  'fault-clear',
]);

/** Whether an operation may begin at all: phase, login, role, epoch, in this order. */
export function admit(
  operation: HsmOperation,
  frameEpoch: number,
  now: Admission,
): Refusal | undefined {
  const rule = HSM_OPERATIONS[operation];
  if (rule.phase !== now.phase && !IN_ANY_PHASE.has(operation)) return { refuse: 'HsmPhase' };
  if (rule.roles !== 'anyone') {
    if (!now.session) return { refuse: 'HsmNotLoggedIn' };
    const roles: readonly HsmRole[] = rule.roles;
    if (!roles.includes(now.session.role)) {
      return { refuse: 'HsmRoleRefused', message: `a user of role ${now.session.role} may not` };
    }
  }
  if (rule.mutating && frameEpoch < now.epoch) return { refuse: 'HsmEpochStale' };
  return undefined;
}

export type KeyUse = 'encrypt' | 'decrypt';

const sees = (session: Session, record: KeyRecord): boolean =>
  record.owner === session.username || record.sharedWith.includes(session.username);

/** Whether a crypto-user may work with a key. A key of others reads as absent. */
export function mayUse(session: Session, record: KeyRecord, use: KeyUse): Refusal | undefined {
  if (!sees(session, record)) return { refuse: 'HsmKeyNotFound' };
  if (!record.usage[use]) return { refuse: 'HsmUsageRefused' };
  return undefined;
}

/** Destroying is the owner's alone; one whom the key is shared with learns that it may not. */
export function mayDestroy(session: Session, record: KeyRecord): Refusal | undefined {
  if (!sees(session, record)) return { refuse: 'HsmKeyNotFound' };
  if (record.owner !== session.username) {
    return { refuse: 'HsmRoleRefused', message: 'only the owner may destroy a key' };
  }
  return undefined;
}

/** The record after a change: what nobody named stays as it was. */
export function changedRecord(
  record: KeyRecord,
  change: RecordChange,
  now: {
    readonly users: ReadonlyMap<string, UserRecord>;
    readonly stamp?: number | undefined;
    /** the object after the change */
    readonly object?: KeyObject | undefined;
  },
): Refusal | { record: KeyRecord } {
  const share = (change.share ?? []).map((name) => name.toLowerCase());
  const unshare = new Set((change.unshare ?? []).map((name) => name.toLowerCase()));
  const refusal = share
    .map((name) => mayShareWith(record, now.users.get(name)))
    .find((found) => found !== undefined);
  if (refusal) return refusal;
  const shared = new Set([...record.sharedWith, ...share]);
  const stamp = Math.max(record.stamp ?? 0, now.stamp ?? 0);
  const changed: KeyRecord = {
    ...record,
    revision: record.revision + 1,
    sharedWith: [...shared].filter((name) => !unshare.has(name)).sort(),
    label: change.label ?? record.label,
    usage: {
      encrypt: change.usage?.encrypt ?? record.usage.encrypt,
      decrypt: change.usage?.decrypt ?? record.usage.decrypt,
    },
    ...(stamp > 0 && { stamp }),
    ...(now.object && { object: now.object, version: versionOf(now.object) }),
  };
  if (encodeKeyRecord(changed).length <= LIMITS.hsm_record_max_bytes) return { record: changed };
  return { refuse: 'HsmBusy', message: 'the key is shared with as many users as it can be' };
}

function mayShareWith(record: KeyRecord, user: UserRecord | undefined): Refusal | undefined {
  if (user?.role !== 'crypto-user') {
    return { refuse: 'HsmUserNotFound', message: 'Specified user does not exist' };
  }
  if (user.username !== record.owner) return undefined;
  return { refuse: 'HsmAlreadyExists', message: 'the owner has the key already' };
}

/**
 * Whether a record that was vouched for takes the place of the one that is here: it must be a newer
 * one of the same key. The same one again is no error.
 */
export function mayReplace(known: KeyRecord, record: KeyRecord): Refusal | undefined {
  const same =
    known.id === record.id &&
    known.kind === record.kind &&
    known.owner === record.owner &&
    equalConstantTime(known.proof, record.proof);
  if (!same) return { refuse: 'HsmBadRecord', message: 'the record is of another key' };
  if (record.revision > known.revision) return undefined;
  const again = equalConstantTime(digestOfRecord(known), digestOfRecord(record));
  return again ? undefined : { refuse: 'HsmRecordStale' };
}

/** Masked objects: the appliance user and admins carry any key, a crypto-user only its own. */
export function mayCarry(session: Session, record: KeyRecord): Refusal | undefined {
  if (session.role === 'appliance-user' || session.role === 'admin') return undefined;
  return record.owner === session.username ? undefined : { refuse: 'HsmKeyNotFound' };
}

export const maySee = sees;

/** What a login begins with: a refusal, or the record to check the password against. */
export function beginLogin(user: UserRecord | undefined): Refusal | { verify: UserRecord | null } {
  if (user?.locked === true) return { refuse: 'HsmUserLocked' };
  // without a user a password is checked all the same: the time must not tell who exists
  return { verify: user ?? null };
}

/** What a login ends with: perhaps a changed record to persist, and then the answer. */
export interface LoginOutcome {
  readonly persist?: UserRecord;
  readonly refuse?: ErrorCode;
}

export function endLogin(user: UserRecord | null, matches: boolean): LoginOutcome {
  if (user === null) return { refuse: 'HsmCredentialsRefused' };
  if (matches && user.failures === 0) return {};
  const failures = matches ? 0 : user.failures + 1;
  const locked = failures >= LIMITS.hsm_login_failures_max;
  const persist = { ...user, revision: user.revision + 1, failures, locked };
  return matches ? { persist } : { persist, refuse: 'HsmCredentialsRefused' };
}

/**
 * A new password for a user: one's own, or any if an admin asks, but for the appliance user's:
 * without it the daemon could not bring the HSM into service. It unlocks.
 */
export function mayChangePassword(
  session: Session,
  user: UserRecord | undefined,
  role: HsmRole,
): Refusal | undefined {
  const own = user?.username === session.username;
  const another = session.role === 'admin' && role !== 'appliance-user';
  if (!own && !another) return { refuse: 'HsmRoleRefused' };
  if (!user || user.role !== role) {
    return { refuse: 'HsmUserNotFound', message: 'Specified user does not exist' };
  }
  return undefined;
}

export function mayCreateUser(
  users: ReadonlyMap<string, UserRecord>,
  username: string,
): Refusal | undefined {
  if (users.has(username)) {
    return { refuse: 'HsmAlreadyExists', message: 'User already exists' };
  }
  if (users.size >= LIMITS.hsm_users_max) {
    return { refuse: 'HsmBusy', message: `an HSM holds at most ${LIMITS.hsm_users_max} users` };
  }
  return undefined;
}

export function mayDeleteUser(
  session: Session,
  user: UserRecord | undefined,
  role: HsmRole,
): Refusal | undefined {
  if (!user || user.role !== role) {
    return { refuse: 'HsmUserNotFound', message: 'Specified user does not exist' };
  }
  if (user.username === session.username) {
    return { refuse: 'HsmRoleRefused', message: 'a user cannot delete itself' };
  }
  return undefined;
}
