import { KeyspanError } from '../core/errors.js';
import { denialSentence } from '../iam/denial.js';
import { evaluate, type AccessRequest, type Decision, type Policies } from '../iam/evaluate.js';
import type { KmsAction } from '../protocol/kms.js';
import { AccessContext, type Access, type AccessDetails } from './access-context.js';
import type { KeyFact } from './records.js';
import type { KmsParts, KmsRequest } from './request.js';

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
  requireAllowed(decideKey(access), access, key.arn);
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
const permissions = new Map<string, string>();

/** One text for each action, of which there are so many as the code names. */
function permissionOf(action: string): string {
  const known = permissions.get(action);
  if (known !== undefined) return known;
  const made = `kms:${action}`;
  permissions.set(action, made);
  return made;
}

/** The policies' word on a key, and after it the grants'. */
export function decideKey(access: Access & { readonly key: KeyFact }): Decision {
  const decision = evaluate(requestOf(access, access.key.arn), policiesOn(access));
  // a grant may still allow what is refused without an explicit deny: here grants are asked
  return decision;
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
  if (!key) return { identity, boundary, session };
  const resource = { document: key.document, account: key.account };
  return { resource, identity, boundary, session };
}

function requireAllowed(decision: Decision, { caller, action }: Access, resource: string): void {
  if (decision.allowed) return;
  const sentence = denialSentence(
    { principal: caller.principal, action, resource },
    decision.reason,
  );
  throw new KeyspanError('AccessDeniedException', sentence);
}
