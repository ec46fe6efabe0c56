import { equalConstantTime } from '../core/bytes.js';
import { KeyspanError } from '../core/errors.js';
import type { HsmFields, HsmResults } from '../protocol/hsm-frames.js';
import { mayChangePassword, type Session } from './authority.js';
import type { Machine } from './machine.js';
import { needApproval } from './quorum.js';
import { withKey, type UserRecord } from './records.js';
import { proofOfKey, readUserKey } from './user-factors.js';
import { refuse, setPassword } from './user-operations.js';

/** For whoever asks, and whoever is named: it is worth nothing without that user's key. */
export function challenge(
  machine: Machine,
  { username }: HsmFields<'mfa-challenge'>,
): HsmResults['mfa-challenge'] {
  return { token: machine.tokens.challenge(username.toLowerCase()) };
}

/** Registers a key as second factor, or takes that away: one's own, or any if an admin asks. */
export async function changeMfa(
  machine: Machine,
  session: Session,
  fields: HsmFields<'user-change-mfa'>,
): Promise<HsmResults['user-change-mfa']> {
  const user = machine.user(fields.username);
  refuse(mayChangePassword(session, user, fields.role));
  if (!user) throw new KeyspanError('HsmUserNotFound');
  const { approval, password, changeQuorum = false, proof } = fields;
  const publicKey = fields.publicKey && readUserKey(fields.publicKey);
  // asked before tokens are used up, and again when the user is changed
  refuseOtherKey(user, publicKey, changeQuorum);
  const proven = publicKey && proofOfKey(machine.tokens, session, publicKey, proof);
  if (session.role === 'admin') needApproval(machine, session, { service: 'user' }, approval);
  if (proven) machine.tokens.use(proven);
  const changed = (now: UserRecord): UserRecord => {
    refuseOtherKey(now, publicKey, changeQuorum);
    const approves = changeQuorum ? publicKey !== undefined : now.quorum === true;
    const key = publicKey ?? now.publicKey;
    return withKey(now, { publicKey: key, mfa: publicKey !== undefined, quorum: approves });
  };
  if (password !== undefined) await setPassword(machine, user, password, changed);
  else machine.putUser(changed({ ...user, revision: user.revision + 1 }));
  // whoever is logged in was let in on other terms
  machine.closeSessionsOf(user.username, session.id);
  return {};
}

/** A user has one key: another for its logins would approve too, and nobody said that it may. */
function refuseOtherKey(
  user: UserRecord,
  publicKey: Uint8Array | undefined,
  changeQuorum: boolean,
): void {
  if (!user.quorum || !user.publicKey || !publicKey || changeQuorum) return;
  if (equalConstantTime(user.publicKey, publicKey)) return;
  const told = 'The user approves with another key. Change the quorum too, or use that key';
  throw new KeyspanError('HsmFactorRefused', told);
}

/** Registers the key that one approves with oneself. */
export function changeQuorum(
  machine: Machine,
  session: Session,
  fields: HsmFields<'user-change-quorum'>,
): HsmResults['user-change-quorum'] {
  const user = machine.user(session.username);
  const { role } = user ?? {};
  if (!user || (role !== 'admin' && role !== 'crypto-user')) {
    throw new KeyspanError('HsmUserNotFound');
  }
  const publicKey = readUserKey(fields.publicKey);
  // an admin's second factor is changed with approvals, and not on this way
  if (user.mfa && user.publicKey && !equalConstantTime(user.publicKey, publicKey)) {
    const told = 'The user logs in with another key. Use that key, or change the second factor';
    throw new KeyspanError('HsmFactorRefused', told);
  }
  machine.tokens.use(proofOfKey(machine.tokens, session, publicKey, fields.proof));
  const changed = { ...user, revision: user.revision + 1 };
  machine.putUser(withKey(changed, { publicKey, mfa: user.mfa === true, quorum: true }));
  return { username: user.username, role };
}
