import { KeyspanError } from '../core/errors.js';
import { encodeCbor } from '../protocol/frame-codec.js';
import type { HsmFields, HsmResults } from '../protocol/hsm-frames.js';
import { mayCreateUser, type Session } from './authority.js';
import type { Machine } from './machine.js';
import { openSecret, sealSecret } from './masking.js';
import { needApproval } from './quorum.js';
import { decodeUserRecord, encodeUserRecord, type UserRecord } from './records.js';
import { refuse } from './user-operations.js';

/**
 * A user on its way to a cluster of the same family, whose HSMs have the same masking keys: its
 * record is sealed under mask-seal and says for what, so that it is taken for nothing else.
 */
const nameOf = ({ identity }: Machine): string => `a user for a relative of ${identity.cluster}`;

const unknown = (): KeyspanError =>
  new KeyspanError('HsmUserNotFound', 'Specified user does not exist');

export function extractUser(
  machine: Machine,
  _session: Session,
  { username, role }: HsmFields<'user-extract'>,
): HsmResults['user-extract'] {
  const user = machine.user(username);
  if (user?.role !== role) throw unknown();
  return { sealed: sealSecret(machine.masking, encodeUserRecord(user), nameOf(machine)) };
}

/** Makes the user as it is there. The same one again is no error. */
export function insertUser(
  machine: Machine,
  session: Session,
  { sealed, approval }: HsmFields<'user-insert'>,
): HsmResults['user-insert'] {
  const user = decodeUserRecord(openSecret(machine.masking, sealed, nameOf(machine)));
  const { username, role } = user;
  if (role !== 'admin' && role !== 'crypto-user') throw unknown();
  const known = machine.user(username);
  if (known && isSame(known, user)) return { username, role };
  if (known) {
    const told = 'The user exists in the destination cluster, and is another one';
    throw new KeyspanError('HsmAlreadyExists', told);
  }
  refuse(mayCreateUser(machine.users, username));
  needApproval(machine, session, { service: 'user' }, approval);
  machine.putUser({ ...user, revision: 1 });
  return { username, role };
}

/** Who it is and what it is known by; not what became of it on an HSM. */
function isSame(one: UserRecord, other: UserRecord): boolean {
  const [a, b] = [one, other].map(
    ({ username, role, salt, hash, random = false, publicKey = null, mfa, quorum }) =>
      encodeCbor([username, role, salt, hash, random, publicKey, mfa === true, quorum === true]),
  );
  return a !== undefined && b !== undefined && a.equals(b);
}
