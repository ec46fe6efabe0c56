import type { ConditionContext } from './condition.js';
import { holds } from './condition.js';
import type { PatternMatch, PolicyDocument, PrincipalMatch, Statement } from './policy-document.js';
import type { Principal } from './principal.js';
import { matchesWildcard } from './wildcard.js';

export interface AccessRequest {
  readonly principal: Principal;
  /** as in `kms:Encrypt` */
  readonly action: string;
  /** the ARN of what is to be used; `*` for actions that stand on no resource */
  readonly resource: string;
  /** asked for only when a policy has conditions */
  readonly context: () => ConditionContext;
}

export interface Policies {
  /**
   * The policy on the resource, with the account that owns it. Absent for actions that identity
   * policies alone decide.
   */
  readonly key?: { readonly document: PolicyDocument; readonly account: string };
  /** what the principal's own account attached to it */
  readonly identity: readonly PolicyDocument[];
}

/** Why a request is refused, as AWS's sentence has it. */
export type DenyReason =
  | 'explicit deny in a resource-based policy'
  | 'explicit deny in an identity-based policy'
  | 'no identity-based policy'
  | 'no resource-based policy';

export type Decision =
  { readonly allowed: true } | { readonly allowed: false; readonly reason: DenyReason };

const ALLOWED: Decision = { allowed: true };
const deny = (reason: DenyReason): Decision => ({ allowed: false, reason });

/** How a statement's principals meet the caller: by name, through its account, or not. */
type Naming = 'principal' | 'account' | 'none';

/**
 * Decides one request. An explicit deny wins. Else a key policy that names the principal allows;
 * one that names its account allows the account's root, and lets identity policies allow the
 * rest. A principal of another account needs both sides. Pure.
 */
export function evaluate(request: AccessRequest, policies: Policies): Decision {
  const context = lazily(request.context);
  const action = request.action.toLowerCase();
  const applies = (statement: Statement): boolean =>
    matches(statement.actions, action) &&
    matches(statement.resources, request.resource) &&
    statement.conditions.every((condition) => holds(condition, context()));

  let named: Naming = 'none';
  for (const statement of policies.key?.document.statements ?? []) {
    const naming = namingOf(statement, request.principal);
    if (naming === 'none' || !applies(statement)) continue;
    if (statement.effect === 'Deny') return deny('explicit deny in a resource-based policy');
    if (named !== 'principal') named = naming;
  }
  let allowedByIdentity = request.principal.type === 'Account';
  for (const document of policies.identity) {
    for (const statement of document.statements) {
      if (!applies(statement)) continue;
      if (statement.effect === 'Deny') return deny('explicit deny in an identity-based policy');
      allowedByIdentity = true;
    }
  }
  if (policies.key) {
    if (named === 'none') return deny('no resource-based policy');
    const own = policies.key.account === request.principal.account;
    if (own && named === 'principal') return ALLOWED;
  }
  return allowedByIdentity ? ALLOWED : deny('no identity-based policy');
}

/** Whether a policy lets the principal in by name or as its account's root, without IAM's help. */
function namingOf(statement: Statement, principal: Principal): Naming {
  const { principals } = statement;
  if (!principals) return 'none';
  const naming = listed(principals, principal);
  if (!principals.negated) return naming;
  // a Deny for all but those listed: the account alone does not except its principals
  return naming === 'principal' ? 'none' : 'principal';
}

function listed(principals: PrincipalMatch, principal: Principal): Naming {
  if (principals.everyone) return 'principal';
  for (const name of principal.names) {
    if (principals.arns.has(name)) return 'principal';
  }
  if (!principals.roots.has(principal.root)) return 'none';
  return principal.type === 'Account' ? 'principal' : 'account';
}

function matches(match: PatternMatch, text: string): boolean {
  for (const pattern of match.patterns) {
    if (matchesWildcard(pattern, text)) return !match.negated;
  }
  return match.negated;
}

function lazily<T extends object>(make: () => T): () => T {
  let made: T | undefined;
  return () => (made ??= make());
}
