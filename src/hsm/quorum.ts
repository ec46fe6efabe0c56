import { KeyspanError } from '../core/errors.js';
import type { HsmRole } from '../protocol/hsm-frames.js';
import type { AdminService } from '../protocol/hsm-session.js';
import { hsmOfToken, splitTokens } from '../protocol/hsm-token.js';
import type { HsmApproval } from '../protocol/quorum-frames.js';
import { tellApproved } from './audited.js';
import type { Session } from './authority.js';
import type { Machine } from './machine.js';
import type { HeldToken } from './quorum-tokens.js';
import { quorumValues } from './quorum-values.js';
import type { UserRecord } from './records.js';
import { signed } from './user-factors.js';

/** What wants approvals: a service of admins, or a key with what it asks for. */
export type Need =
  | { readonly service: AdminService }
  | {
      readonly service: 'key-usage' | 'key-management';
      readonly key: {
        /** as `token-create` was told it */
        readonly reference: string;
        readonly owner: string;
        readonly sharedWith: readonly string[];
      };
      /** M; 0 and 1: nobody else is asked */
      readonly approvals: number;
    };

/** Sentences of CloudHSM's. */
const WRONG_PAIR = 'Invalid username-signature pair for quorum authorization';
const NO_SIGNATURES = 'No token signatures provided';
const tooFew = (count: number, needed: number): string =>
  `Too few quorum approvals: currently ${count} approvals, but ${needed} approvals required`;

const refused = (told?: string): KeyspanError => new KeyspanError('HsmQuorumRefused', told);

/**
 * Lets an operation begin that M of N have to approve. An approval is used up by it.
 * @throws KeyspanError HsmQuorumRequired, HsmQuorumRefused: then it can be used yet
 */
export function needApproval(
  machine: Machine,
  session: Session,
  need: Need,
  approval: HsmApproval | undefined,
): void {
  const needed = 'approvals' in need ? need.approvals : quorumValues(machine)[need.service];
  if (needed <= 1) return;
  // CloudHSM has another sentence for keys
  if (!approval) throw 'key' in need ? refused() : new KeyspanError('HsmQuorumRequired');
  const { data, signatures } = approval;
  if (signatures.length === 0) throw refused(NO_SIGNATURES);
  const token = ownToken(machine, session, need, data);
  const signers = new Map<string, UserRecord>();
  for (const { username, role, signature } of signatures) {
    const user = machine.user(username);
    const isRight = user?.quorum && user.publicKey && mayApprove(need, user, role);
    if (!isRight || !signed(user.publicKey, data, signature)) throw refused(WRONG_PAIR);
    signers.set(user.username, user);
  }
  if (signers.size < needed) throw refused(tooFew(signers.size, needed));
  machine.tokens.use(token);
  tellApproved(machine, session, [...signers.values()]);
}

/** The one token among them that this HSM gave for this, to this login. */
function ownToken(machine: Machine, session: Session, need: Need, data: Uint8Array): HeldToken {
  const { hsm } = machine.identity;
  const own = splitTokens(data)?.filter((token) => hsmOfToken(token) === hsm);
  // whoever signs approves of one thing on each HSM
  if (!own || own.length > 1) throw refused();
  const [token] = own;
  const held = token && machine.tokens.find(session, token);
  if (!held) throw refused(WRONG_PAIR);
  const key = 'key' in need ? need.key.reference : undefined;
  if (held.service !== need.service || held.key !== key) throw refused();
  return held;
}

function mayApprove(need: Need, user: UserRecord, role: HsmRole | undefined): boolean {
  if (role !== undefined && role !== user.role) return false;
  if (!('key' in need)) return user.role === 'admin';
  const { owner, sharedWith } = need.key;
  const isNear = owner === user.username || sharedWith.includes(user.username);
  return user.role === 'crypto-user' && isNear;
}
