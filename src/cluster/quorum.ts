import { isKeyspanError } from '../core/errors.js';
import type { HsmFields, HsmResults } from '../protocol/hsm-frames.js';
import {
  ADMIN_SERVICES,
  type AdminService,
  type ListedToken,
  type QuorumService,
  type QuorumValues,
  type UnsignedToken,
} from '../protocol/hsm-session.js';
import { hsmOfToken } from '../protocol/hsm-token.js';
import type { HsmToken } from '../protocol/quorum-frames.js';
import { askEach, oneFor, type AskedMember } from './ask-each.js';
import { judge, type UserSession } from './user-changes.js';

/** Quorum authentication over the HSMs of a cluster: each has its own tokens and values. */
type QuorumSession = Pick<UserSession, 'onEach'>;

/**
 * A token of each HSM that the login is on, or of none: what the others gave already is deleted
 * before the next try.
 */
export async function newTokens(
  session: QuorumSession,
  fields: { readonly service: QuorumService; readonly key?: string },
): Promise<readonly UnsignedToken[]> {
  const outcomes = await session.onEach('token-create', fields);
  for (const outcome of outcomes) {
    // the one failure that says what is to be done
    const isThere =
      outcome.status === 'rejected' && isKeyspanError(outcome.reason, 'HsmAlreadyExists');
    if (isThere) throw outcome.reason;
  }
  judge('Quorum token generate', outcomes);
  return outcomes.flatMap((outcome) => {
    if (outcome.status === 'rejected') return [];
    const { token } = outcome.value;
    return { hsm: hsmOfToken(token) ?? '', token };
  });
}

export async function deleteTokens(session: QuorumSession, scope: 'user' | 'all'): Promise<void> {
  judge('Quorum token delete', await session.onEach('token-delete', { scope }));
}

export async function setQuorumValue(
  session: QuorumSession,
  fields: HsmFields<'quorum-set'>,
): Promise<void> {
  judge('Quorum set-quorum-value', await session.onEach('quorum-set', fields));
}

export async function quorumValues(members: readonly AskedMember[]): Promise<QuorumValues> {
  const answers = await askEach(members, 'quorum-values', {});
  return mergeValues(answers.map(({ result }) => result));
}

/** Pure. */
export function mergeValues(all: readonly HsmResults['quorum-values'][]): QuorumValues {
  const of = (service: AdminService): number | 'inconsistent' =>
    oneFor(all.map((values) => values[service]));
  return { user: of('user'), quorum: of('quorum'), cluster: of('cluster') };
}

export async function listTokens(members: readonly AskedMember[]): Promise<readonly ListedToken[]> {
  const answers = await askEach(members, 'token-list', {});
  return mergeTokens(answers.map(({ result }) => result));
}

const isAdminService = (service: QuorumService): service is AdminService =>
  (ADMIN_SERVICES as readonly string[]).includes(service);

/**
 * One line for the tokens of one user, service and key, in the order of the first HSM. Tokens of
 * registrations are for nobody else to sign and not among them. Pure.
 */
export function mergeTokens(lists: readonly HsmResults['token-list'][]): readonly ListedToken[] {
  const values = mergeValues(lists.map((list) => list.values));
  const groups = new Map<string, HsmToken>();
  for (const token of lists.flatMap(({ tokens }) => tokens)) {
    const name = nameOf(token);
    if (!groups.has(name)) groups.set(name, token);
  }
  return [...groups].flatMap(([name, { username, service, key }]): ListedToken[] => {
    const same = lists.map(({ tokens }) => tokens.filter((token) => nameOf(token) === name));
    const fewest = Math.min(...same.map((tokens) => tokens.length));
    if (isAdminService(service)) {
      const left = Math.min(...same.flat().map(({ expiresInMs }) => expiresInMs));
      return [
        {
          username,
          service,
          'approvals-required': values[service],
          // signatures are in the file, and no HSM sees them before they are used
          'number-of-approvals': 0,
          'token-timeout-seconds': Math.floor(left / 1_000),
          'cluster-coverage': fewest > 0 ? 'full' : 'inconsistent',
        },
      ];
    }
    if (service === 'registration' || key === undefined || fewest === 0) return [];
    return [{ username, service, 'key-reference': key, 'minimum-token-count': fewest }];
  });
}

const nameOf = ({ username, service, key = '' }: HsmToken): string =>
  `${username} ${service} ${key}`;
