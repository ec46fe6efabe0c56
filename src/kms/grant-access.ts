import { KeyspanError } from '../core/errors.js';
import type { Principal } from '../iam/principal.js';
import { compareWith, isWithin, meets, type ConstrainedRequest } from './grant-constraints.js';
import type { GrantFact, GrantTerms } from './grant-records.js';
import { comparablePrincipal } from './grant-terms.js';
import type { KeyFact } from './records.js';
import type { KmsCaller, KmsParts, KmsRequest } from './request.js';

/** What is asked of the grants of a key. */
export interface GrantQuestion {
  readonly caller: KmsCaller;
  readonly key: KeyFact;
  /** as a grant names it */
  readonly operation: string;
  readonly encryptionContext?: ConstrainedRequest['encryptionContext'];
  /** of CreateGrant: what the new grant shall say */
  readonly terms?: GrantTerms | undefined;
  /** where the grants stand that the request has tokens of */
  readonly tokens?: ReadonlySet<string> | undefined;
  /**
   * Whether identity policies of the caller's account allow it: so it shares in what was granted
   * to the account as a whole.
   */
  readonly isDelegated: () => boolean;
  /** Whether the caller's permissions boundary and session policy let it through. */
  readonly isWithinLimits: () => boolean;
}

/** Whether a grant allows what no policy did. An explicit deny was looked for before. */
export function grantAllows(kms: KmsParts, question: GrantQuestion): boolean {
  const { caller, key, operation, encryptionContext, tokens } = question;
  const { grants } = kms.facts;
  if (!grants.any(key)) return false;
  const { principal } = caller;
  const sourceArn = caller.origin?.sourceArn;
  const request = compareWith({ operation, encryptionContext, sourceArn });
  const allows = (grant: GrantFact): boolean =>
    meets(grant.constraints, request) &&
    isShown(kms, grant, tokens) &&
    (operation !== 'CreateGrant' ||
      (question.terms !== undefined && isWithin(question.terms, grant)));
  const isGranted = (grantee: string): boolean => {
    for (const grant of grants.forUse(key, grantee, request)) if (allows(grant)) return true;
    return false;
  };
  for (const name of principal.names) {
    if (!isGranted(comparablePrincipal(name))) continue;
    // as in a key's policy: what a role was given bounds and session policies take away from
    const isDirect = name === principal.arn && principal.type !== 'Role';
    if (isDirect || question.isWithinLimits()) return true;
  }
  return principal.type !== 'Account' && isGranted(principal.root) && question.isDelegated();
}

/** Whether a grant is good for use, by civil time: it may show late, and its end too. */
function isShown(
  { clock, grantDelayMs }: KmsParts,
  { path, createdAt, endedAt }: GrantFact,
  tokens: ReadonlySet<string> | undefined,
): boolean {
  if (grantDelayMs === 0) return endedAt === undefined;
  const now = clock.civil();
  if (endedAt !== undefined && now >= endedAt * 1_000 + grantDelayMs) return false;
  return tokens?.has(path) === true || now >= createdAt * 1_000 + grantDelayMs;
}

/** Whether the end of a grant shows: nobody can use it any more. */
export const isOver = ({ clock, grantDelayMs }: KmsParts, { endedAt }: GrantFact): boolean =>
  endedAt !== undefined && clock.civil() >= endedAt * 1_000 + grantDelayMs;

/**
 * Where the grants stand that a request has tokens of; they need not exist any more.
 * @throws InvalidGrantTokenException
 */
export function readTokens(kms: KmsParts, request: KmsRequest): ReadonlySet<string> | undefined {
  const { GrantTokens: given } = request.params as { readonly GrantTokens?: readonly string[] };
  if (given === undefined || given.length === 0) return undefined;
  return new Set(given.map((token) => kms.grantTokens.read(token)));
}

/** Whether a grant names this principal so: itself, or the role whose session it is. */
export function isNamed(principal: Principal, arn: string | undefined): boolean {
  if (arn === undefined) return false;
  const wanted = comparablePrincipal(arn);
  return principal.names.some((name) => comparablePrincipal(name) === wanted);
}

/** What the identity policies of the caller's account say of retiring a grant. */
export type IdentityVerdict = 'allowed' | 'not allowed' | 'denied';

/**
 * Whether the caller may retire a grant. The key's policy has no say in it.
 * @throws AccessDeniedException
 */
export function requireRetirable(
  caller: KmsCaller,
  grant: GrantFact,
  verdict: IdentityVerdict,
): void {
  const { principal } = caller;
  if (verdict !== 'denied') {
    if (isNamed(principal, grant.retiring)) return;
    if (grant.operations.includes('RetireGrant') && isNamed(principal, grant.grantee)) return;
    if (verdict === 'allowed' && isOfAccount(principal, grant)) return;
  }
  const who = `User: ${principal.arn} is not authorized to perform: kms:RetireGrant`;
  const why =
    verdict === 'denied'
      ? 'with an explicit deny in an identity-based policy'
      : 'because no grant allows the kms:RetireGrant action';
  const sentence = `${who} on resource: ${grant.keyArn} ${why}`;
  throw new KeyspanError('AccessDeniedException', sentence);
}

/** Of the account that the key is of, in which the grant was made, or that may retire it. */
function isOfAccount({ account, root }: Principal, grant: GrantFact): boolean {
  return account === grant.account || root === grant.issuer || root === grant.retiring;
}
