import { createPublicKey } from 'node:crypto';
import { KeyspanError } from '../core/errors.js';
import type { HsmId } from '../core/ids.js';
import type { HsmFields } from '../protocol/hsm-frames.js';
import type { CliUser, SignedToken, UnsignedToken } from '../protocol/hsm-session.js';
import { hsmOfToken } from '../protocol/hsm-token.js';
import { askEach, type AskedMember } from './ask-each.js';
import { isDone, judge, voidUnused, type UserSession } from './user-changes.js';

/** Second factors and keys to approve with, pushed to each HSM as users are (user-changes). */
const PUBLIC_KEY = /^\s*-----BEGIN (?:RSA )?PUBLIC KEY-----/;

/**
 * SubjectPublicKeyInfo of a public key in PEM. A private one is not looked at: it is nobody's
 * business here.
 * @throws KeyspanError HsmFactorRefused
 */
export function readPublicPem(pem: string): Uint8Array {
  if (PUBLIC_KEY.test(pem)) {
    try {
      return createPublicKey(pem).export({ format: 'der', type: 'spki' });
    } catch {
      // said below
    }
  }
  throw new KeyspanError('HsmFactorRefused', 'The file is no public key in PEM');
}

/** A challenge of each active HSM, for a user who logs in. */
export async function mfaTokens(
  members: readonly AskedMember[],
  username: string,
): Promise<readonly UnsignedToken[]> {
  const answers = await askEach(members, 'mfa-challenge', { username });
  return answers.map(({ member, result }) => ({ hsm: member.id, token: result.token }));
}

/** What was signed of the tokens of this HSM. */
function ownOf(tokens: readonly SignedToken[], hsm: HsmId): SignedToken {
  const own = tokens.find(({ token }) => hsmOfToken(token) === hsm);
  if (own) return own;
  throw new KeyspanError('HsmFactorRefused', `No token of ${hsm} was signed`);
}

type MfaChange = Omit<HsmFields<'user-change-mfa'>, 'proof'>;

/**
 * Registers a key, or takes the second factor away where there is none of. To take away what an HSM
 * does not have is no failure.
 * @throws as `createUser`
 */
export async function changeMfa(
  session: UserSession,
  change: MfaChange,
  tokens: readonly SignedToken[] = [],
): Promise<void> {
  const { username, password, publicKey } = change;
  const outcomes = await session.onEach('user-change-mfa', (hsm) =>
    publicKey ? { ...change, proof: ownOf(tokens, hsm) } : change,
  );
  const isOwn = username.toLowerCase() === session.username;
  if (isOwn && password !== undefined && outcomes.some(isDone)) session.changed(password);
  judge('User change-mfa', outcomes, 'HsmUserNotFound');
  await voidUnused(session, change.approval, outcomes);
}

/**
 * Registers the key that the user of the login approves with.
 * @returns who that is
 * @throws as `createUser`
 */
export async function changeQuorum(
  session: UserSession,
  publicKey: Uint8Array,
  tokens: readonly SignedToken[],
): Promise<CliUser> {
  const outcomes = await session.onEach('user-change-quorum', (hsm) => ({
    publicKey,
    proof: ownOf(tokens, hsm),
  }));
  judge('User change-quorum', outcomes);
  const [first] = outcomes;
  if (first?.status !== 'fulfilled') throw new KeyspanError('VaultUnavailable');
  return first.value;
}
