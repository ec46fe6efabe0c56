import { evaluate, type AccessRequest, type Decision, type Policies } from './evaluate.js';
import type { Identity } from './identities.js';

/** A refusal with the end of AWS's sentence about it. */
export type AccountDecision =
  { readonly allowed: true } | { readonly allowed: false; readonly because: string };

/**
 * Decides an action by what the caller's account says of the caller (and, for a role that is to be
 * assumed, by the role's trust policy): its policies, within its boundary, within its session's
 * policies.
 * @param trust the policy on the resource, with the account that owns it
 */
export function decideByAccount(
  request: AccessRequest,
  identity: Identity,
  trust?: Policies['key'],
): AccountDecision {
  const { policies, boundary, session } = identity;
  const own = evaluate(
    request,
    trust ? { key: trust, identity: policies } : { identity: policies },
  );
  if (!own.allowed) return refusal(own, request.action);
  if (request.principal.type === 'Account') return own;
  const bounds = [...(boundary ? [[boundary]] : []), ...(session ? [session] : [])];
  for (const [at, documents] of bounds.entries()) {
    if (evaluate(request, { identity: documents }).allowed) continue;
    const what = boundary && at === 0 ? 'permissions boundary' : 'session policy';
    return { allowed: false, because: `because no ${what} allows the ${request.action} action` };
  }
  return own;
}

function refusal(decision: Decision & { allowed: false }, action: string): AccountDecision {
  const { reason } = decision;
  const isExplicit = reason.startsWith('explicit deny');
  const because = isExplicit
    ? `with an ${reason}`
    : `because ${reason} allows the ${action} action`;
  return { allowed: false, because };
}

/** AWS's sentence about a refusal. */
export const deniedSentence = (
  { principal, action, resource }: AccessRequest,
  because: string,
): string =>
  `User: ${principal.arn} is not authorized to perform: ${action} ` +
  `on resource: ${resource} ${because}`;
