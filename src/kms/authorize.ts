import { KeyspanError } from '../core/errors.js';
import { denialSentence } from '../iam/denial.js';
import {
  evaluate,
  isWithinLimits,
  ownPolicies,
  type AccessRequest,
  type Decision,
  type Policies,
} from '../iam/evaluate.js';
import type { KmsAction } from '../protocol/kms.js';
import { AccessContext, type Access, type AccessDetails } from './access-context.js';
import { grantAllows, readTokens, type IdentityVerdict } from './grant-access.js';
import type { KeyFact } from './records.js';
import type { KmsCaller, KmsParts, KmsRequest } from './request.js';

/**
 * Decides whether the caller may do this with the key: by the key's policy, by what the caller's
 * account says of the caller, and by grants.
 * @throws AccessDeniedException
 */
export function authorizeKey<A extends KmsAction>(
  kms: KmsParts,
  request: KmsRequest<A>,
  key: KeyFact,
  details: AccessDetails = NO_DETAILS,
): void {
  request.resource ??= key.arn;
  request.key = key.arn;
  const action = permissionOf(details.permission ?? request.action);
  const access = { kms, caller: request.caller, action, key, details };
  const tokens = readTokens(kms, request);
  const decision = evaluate(requestOf(access, key.arn), policiesOn(access));
  if (decision.allowed || isGranted(access, decision, tokens)) return;
  requireAllowed(decision, access, key.arn);
}

/**
 * Decides an action that stands on no key: for a resource that has no policy of its own (an
 * alias), or for none (`*`). What the caller's account says of the caller is all there is.
 * @throws AccessDeniedException
 */
export function authorizeAccount<A extends KmsAction>(
  kms: KmsParts,
  request: KmsRequest<A>,
  resource = '*',
  details: AccessDetails = NO_DETAILS,
): void {
  if (resource !== '*') request.resource ??= resource;
  const { caller } = request;
  const access = { kms, caller, action: permissionOf(request.action), key: undefined, details };
  const decision = evaluate(requestOf(access, resource), policiesOn(access));
  requireAllowed(decision, access, resource);
}

const NO_DETAILS: AccessDetails = {};
const PREFIX = 'kms:';
const permissions = new Map<string, string>();

/** One text for each action, of which there are so many as the code names. */
function permissionOf(action: string): string {
  const known = permissions.get(action);
  if (known !== undefined) return known;
  const made = PREFIX + action;
  permissions.set(action, made);
  return made;
}

/**
 * Whether a grant allows what the policies do not, unless they deny it.
 * @param tokens where the grants stand that the request has tokens of
 */
export function isGranted(
  access: Access & { readonly key: KeyFact },
  decision: Decision,
  tokens?: ReadonlySet<string>,
): boolean {
  if (decision.allowed || decision.reason.startsWith('explicit deny')) return false;
  const { kms, caller, key, action, details } = access;
  return grantAllows(kms, {
    caller,
    key,
    operation: action.slice(PREFIX.length),
    encryptionContext: details.encryptionContext,
    terms: details.grant,
    tokens,
    isDelegated: () => evaluate(requestOf(access, key.arn), identityOf(access)).allowed,
    isWithinLimits: () => isWithinLimits(requestOf(access, key.arn), identityOf(access)),
  });
}

/** What the policies of the caller's account alone say of a key's grants. */
export function identityVerdict(
  kms: KmsParts,
  caller: KmsCaller,
  action: string,
  resource: string,
): IdentityVerdict {
  const access: Access = { kms, caller, action, key: undefined, details: NO_DETAILS };
  const decision = evaluate(requestOf(access, resource), identityOf(access));
  if (decision.allowed) return 'allowed';
  return decision.reason.startsWith('explicit deny') ? 'denied' : 'not allowed';
}

/** What the policies are asked. */
export function requestOf(access: Access, resource: string): AccessRequest {
  const { caller, action } = access;
  return {
    principal: caller.principal,
    action,
    resource,
    context: () => new AccessContext(access),
  };
}

/** The key's policy, where there is a key, and those of the caller's account. */
export function policiesOn({ kms, caller, key }: Access): Policies {
  const { policies: identity, boundary, session } = kms.identities.of(caller.principal);
  // member by member: an object that is spread costs more than the decision
  const resource = key && { document: key.document, account: key.account };
  return { resource, identity, boundary, session };
}

const identityOf = ({ kms, caller }: Access): Policies =>
  ownPolicies(kms.identities.of(caller.principal));

function requireAllowed(decision: Decision, { caller, action }: Access, resource: string): void {
  if (decision.allowed) return;
  const sentence = denialSentence(
    { principal: caller.principal, action, resource },
    decision.reason,
  );
  throw new KeyspanError('AccessDeniedException', sentence);
}
