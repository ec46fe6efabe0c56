import type { Condition } from './condition.js';
import { resolve, type ConditionContext, type Template } from './policy-variables.js';
import type { Principal } from './principal.js';
import { fits } from './wildcard.js';

/** One statement of a policy, read and made ready to be asked. */
export interface Statement {
  readonly sid: string | undefined;
  readonly effect: 'Allow' | 'Deny';
  /** absent in identity policies */
  readonly principals: PrincipalMatch | undefined;
  /** patterns in lower case: actions are compared without regard to case */
  readonly actions: PatternMatch;
  readonly resources: PatternMatch;
  readonly conditions: readonly Condition[];
}

/** What an element such as Action lists. */
export interface PatternMatch {
  /** as they are written */
  readonly texts: readonly string[];
  /** NotAction, NotResource */
  readonly negated: boolean;
  /** `*` is one of them */
  readonly everything: boolean;
  /** those that stand for one text alone */
  readonly exact: ReadonlySet<string>;
  /** the others */
  readonly patterns: readonly Template[];
  /** what some of them stand for the request says */
  readonly hasVariables: boolean;
}

export interface PrincipalMatch {
  /** as they are written, with their type */
  readonly texts: readonly string[];
  /** `*` */
  readonly everyone: boolean;
  /** users, roles and sessions by ARN */
  readonly arns: ReadonlySet<string>;
  /** accounts, by the ARN of their root */
  readonly roots: ReadonlySet<string>;
  /** NotPrincipal */
  readonly negated: boolean;
}

/** Who asks: a principal, and whether it has a permissions boundary. */
export interface Subject {
  readonly principal: Principal;
  readonly isBounded: boolean;
}

/**
 * How a statement's principals meet the caller: not at all; through its account, which leaves the
 * rest to the account's own policies; by the name of its role or as one of everyone; or by the ARN
 * of the user, the session or the root that it is.
 */
export type Naming = 'none' | 'account' | 'named' | 'direct';

export const NAMINGS: readonly Naming[] = ['none', 'account', 'named', 'direct'];

/** What a statement without principals says of everybody. */
export function namingOf(statement: Statement, subject: Subject): Naming {
  const { principals } = statement;
  if (!principals) return 'direct';
  const { principal } = subject;
  if (principals.negated) return isExcepted(principals, subject) ? 'none' : 'named';
  if (principals.roots.has(principal.root) && principal.type === 'Account') return 'direct';
  if (principals.arns.has(principal.arn)) return principal.type === 'Role' ? 'named' : 'direct';
  if (principals.everyone) return 'named';
  for (const name of principal.names) if (principals.arns.has(name)) return 'named';
  return principals.roots.has(principal.root) ? 'account' : 'none';
}

/**
 * Whether NotPrincipal leaves the caller out. AWS looks at the account first, then at the role,
 * then at the session: each must be listed. It never leaves out who has a permissions boundary.
 */
function isExcepted(principals: PrincipalMatch, { principal, isBounded }: Subject): boolean {
  if (principals.everyone) return true;
  if (isBounded || !principals.roots.has(principal.root)) return false;
  if (principal.type === 'Account') return true;
  return principal.names.every((name) => principals.arns.has(name));
}

/** Whether the text is one of those that are listed, or of those that are not. */
export function includes(
  match: PatternMatch,
  text: string,
  context: () => ConditionContext,
): boolean {
  if (match.everything || match.exact.has(text)) return !match.negated;
  for (const template of match.patterns) {
    const pattern = template.fixed ?? resolve(template, context());
    if (pattern && fits(pattern, text)) return !match.negated;
  }
  return match.negated;
}
