import { LIMITS } from '../core/limits.js';
import { list, mapOf, object, optional, orElse, text, type FormOf } from './form.js';

const value = text({ min: 0, max: LIMITS.kms_context_max_bytes });

/** What the operator asks about: may this principal do that? */
export const POLICY_QUESTION = object({
  /** an ARN */
  principal: text({ max: 2_048 }),
  /** as in `kms:Decrypt` */
  action: text({ max: 128, pattern: /^kms:[A-Za-z]+$/ }),
  /** id, ARN, or alias; absent for what stands on no key */
  key: optional(text({ max: 2_048 })),
  encryptionContext: orElse(mapOf(value), {}),
  /** condition keys with their values, which go before what is known otherwise */
  conditions: orElse(mapOf(list(value, { min: 1, max: LIMITS.explained_values_max })), {}),
});
export type PolicyQuestion = FormOf<typeof POLICY_QUESTION>;

/** One element of a statement that decides whether it applies. */
export interface ExplainedPart {
  /** as it is written: Principal, NotAction, or an operator with its key */
  readonly part: string;
  readonly matched: boolean;
  readonly wanted: readonly string[];
  /** what the request has; null when it has no such condition key */
  readonly given: readonly string[] | null;
}

export interface ExplainedStatement {
  /** from 1, in the order of the document */
  readonly number: number;
  readonly sid: string | null;
  readonly effect: 'Allow' | 'Deny';
  /** all its parts match */
  readonly applies: boolean;
  /** it names the account of the principal, and leaves the rest to the account's policies */
  readonly delegates: boolean;
  readonly parts: readonly ExplainedPart[];
}

/** A decision, with every statement that was looked at. */
export interface PolicyExplanation {
  readonly principal: string;
  readonly action: string;
  /** an ARN, or `*` */
  readonly resource: string;
  readonly allowed: boolean;
  /** AWS's sentence of a denial; else what allows */
  readonly reason: string;
  readonly policies: readonly {
    /** resource-based policy, identity-based policy, permissions boundary or session policy */
    readonly type: string;
    readonly statements: readonly ExplainedStatement[];
  }[];
}
