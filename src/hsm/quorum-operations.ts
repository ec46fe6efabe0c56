import { KeyspanError } from '../core/errors.js';
import { isHsmKeyId } from '../core/ids.js';
import type { HsmFields, HsmResults, HsmRole } from '../protocol/hsm-frames.js';
import type { Session } from './authority.js';
import { findHeld } from './held-keys.js';
import { splitTokens } from '../protocol/hsm-token.js';
import type { Machine } from './machine.js';
import { maySeeObject, objectOf } from './object-authority.js';
import { needApproval } from './quorum.js';
import { mayNotSetValue, putQuorumValues, quorumValues } from './quorum-values.js';

/** What users do with the tokens and the values of quorum authentication. */
export const listValues = (machine: Machine): HsmResults['quorum-values'] => quorumValues(machine);

export function setValue(
  machine: Machine,
  session: Session,
  { service, value: wanted, approval }: HsmFields<'quorum-set'>,
): HsmResults['quorum-set'] {
  const values = quorumValues(machine);
  const admins = [...machine.users.values()].filter(({ role }) => role === 'admin').length;
  const told = mayNotSetValue(values, service, wanted, admins);
  if (told !== undefined) throw new KeyspanError('HsmQuorumValueRefused', told);
  needApproval(machine, session, { service: 'quorum' }, approval);
  putQuorumValues(machine, { ...values, [service]: wanted });
  return {};
}

/** Of which services a role may have tokens. */
const SERVICES_OF: Readonly<Partial<Record<HsmRole, ReadonlySet<string>>>> = {
  admin: new Set(['user', 'quorum', 'cluster', 'registration']),
  'crypto-user': new Set(['registration', 'key-usage', 'key-management']),
};

export function createToken(
  machine: Machine,
  session: Session,
  { service, key }: HsmFields<'token-create'>,
): HsmResults['token-create'] {
  if (!SERVICES_OF[session.role]?.has(service)) {
    const told = `a user of role ${session.role} gets no token of the service ${service}`;
    throw new KeyspanError('HsmRoleRefused', told);
  }
  const isOfKeys = service === 'key-usage' || service === 'key-management';
  if (isOfKeys !== (key !== undefined)) {
    throw new KeyspanError(
      'HsmBadFrame',
      'tokens of the services of keys, and no others, name one',
    );
  }
  if (key !== undefined && !seesKey(machine, session, key)) {
    throw new KeyspanError('HsmKeyNotFound');
  }
  return { token: machine.tokens.give(session, service, key) };
}

function seesKey(machine: Machine, session: Session, key: string): boolean {
  const held = isHsmKeyId(key) ? findHeld(machine, session, key) : undefined;
  return held !== undefined && maySeeObject(session, held.record);
}

export function listTokens(machine: Machine): HsmResults['token-list'] {
  const tokens = machine.tokens.list().map(({ username, service, key, expiresInMs }) => ({
    username,
    service,
    expiresInMs,
    ...(key !== undefined && { key: referenceOf(machine, key) }),
  }));
  return { tokens, values: quorumValues(machine) };
}

/** A key's reference, as users know it; its id when it is gone. */
function referenceOf(machine: Machine, key: string): string {
  const held = isHsmKeyId(key) ? findHeld(machine, undefined, key) : undefined;
  return (held && objectOf(held.record)?.reference) ?? key;
}

/** One's own; those of all users if an admin asks. */
export function deleteTokens(
  machine: Machine,
  session: Session,
  { scope, among }: HsmFields<'token-delete'>,
): HsmResults['token-delete'] {
  if (scope === 'all' && session.role !== 'admin') {
    throw new KeyspanError('HsmRoleRefused', 'only an admin may delete the tokens of others');
  }
  const some = among && (splitTokens(among) ?? []);
  machine.tokens.delete(scope === 'all' ? undefined : session.username, some);
  return {};
}
