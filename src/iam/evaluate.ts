import { LIMITS } from '../core/limits.js';
import type { Identity } from './identities.js';
import type { PolicyDocument } from './policy-document.js';
import type { ConditionContext } from './policy-variables.js';
import type { Principal } from './principal.js';
import {
  includes,
  NAMINGS,
  namingOf,
  type Naming,
  type Statement,
  type Subject,
} from './statement.js';
import { holds } from './condition.js';

export interface AccessRequest {
  readonly principal: Principal;
  /** as in `kms:Encrypt` */
  readonly action: string;
  /** the ARN of what is to be used; `*` for actions that stand on no resource */
  readonly resource: string;
  /** asked for only when a policy has conditions or variables, and then once */
  readonly context: () => ConditionContext;
}

export interface Policies {
  /**
   * The policy on what is to be used (of a key, a role, a backup), with the account that owns it.
   * Absent for actions that the policies of the caller's account alone decide.
   */
  readonly resource?: { readonly document: PolicyDocument; readonly account: string } | undefined;
  /** what the principal's own account attached to it */
  readonly identity: readonly PolicyDocument[];
  /** its permissions boundary */
  readonly boundary?: PolicyDocument | undefined;
  /** what a session was narrowed to when it began; none at all: it was not */
  readonly session?: readonly PolicyDocument[] | undefined;
}

/** What the principal's own account says of it. */
export const ownPolicies = ({ policies, boundary, session }: Identity): Policies => ({
  identity: policies,
  boundary,
  session,
});

/** The kinds of policies, as AWS's sentences have them. */
export type PolicyType =
  'resource-based policy' | 'identity-based policy' | 'permissions boundary' | 'session policy';

export const POLICY_TYPES: readonly PolicyType[] = [
  'resource-based policy',
  'identity-based policy',
  'permissions boundary',
  'session policy',
];

/** Why a request is refused, as AWS's sentence has it. */
export type DenyReason = (typeof EXPLICIT)[PolicyType] | `no ${PolicyType}`;

const EXPLICIT = {
  'resource-based policy': 'explicit deny in a resource-based policy',
  'identity-based policy': 'explicit deny in an identity-based policy',
  'permissions boundary': 'explicit deny in a permissions boundary',
  'session policy': 'explicit deny in a session policy',
} as const satisfies Record<PolicyType, string>;

export type Decision =
  { readonly allowed: true } | { readonly allowed: false; readonly reason: DenyReason };

/** What the policies say of one request: asked for in turn, as far as the decision needs it. */
export interface Findings {
  /** the first kind of policy with a Deny that applies */
  denying(): PolicyType | undefined;
  /** the nearest that an Allow of the policy on the resource comes to the caller */
  naming(): Naming;
  /** whether a policy of this kind has an Allow that applies */
  allows(type: Exclude<PolicyType, 'resource-based policy'>): boolean;
}

/**
 * Decides one request. An explicit deny wins. Else the policy on the resource allows whom it
 * names; where it names the account, that leaves the rest to the account's own policies. Those
 * must allow too what belongs to another account. Permissions boundary and session policies take
 * away from all but what is given to a user or a session by its own ARN. Pure.
 */
export function evaluate(request: AccessRequest, policies: Policies): Decision {
  return decide(request.principal, policies, new Search(request, policies));
}

/**
 * Whether permissions boundary and session policy let through what the principal was given by the
 * name of its role: by a grant, as by a policy on the resource.
 */
export const isWithinLimits = (request: AccessRequest, policies: Policies): boolean =>
  limited(policies, new Search(request, policies)).allowed;

const ALLOWED: Decision = { allowed: true };
const always = (): boolean => true;

/** IAM user guide, "Policy evaluation logic": the one order, whoever found what there is. */
export function decide(principal: Principal, policies: Policies, findings: Findings): Decision {
  const denying = findings.denying();
  if (denying) return { allowed: false, reason: EXPLICIT[denying] };
  if (policies.resource) {
    const naming = findings.naming();
    if (naming === 'none') return { allowed: false, reason: 'no resource-based policy' };
    if (policies.resource.account === principal.account) {
      if (naming === 'direct') return ALLOWED;
      if (naming === 'named') return limited(policies, findings);
    }
  }
  // the root may do in its account whatever nobody denies
  const isAllowed = principal.type === 'Account' || findings.allows('identity-based policy');
  if (!isAllowed) return { allowed: false, reason: 'no identity-based policy' };
  return limited(policies, findings);
}

function limited({ boundary, session }: Policies, findings: Findings): Decision {
  if (boundary && !findings.allows('permissions boundary')) {
    return { allowed: false, reason: 'no permissions boundary' };
  }
  if (session && session.length > 0 && !findings.allows('session policy')) {
    return { allowed: false, reason: 'no session policy' };
  }
  return ALLOWED;
}

/** The documents of one kind. */
export function documentsOf(policies: Policies, type: PolicyType): readonly PolicyDocument[] {
  switch (type) {
    case 'resource-based policy':
      return policies.resource ? [policies.resource.document] : NONE;
    case 'identity-based policy':
      return policies.identity;
    case 'permissions boundary':
      return policies.boundary ? [policies.boundary] : NONE;
    case 'session policy':
      return policies.session ?? NONE;
  }
}

const NONE: readonly PolicyDocument[] = [];

const lowerCased = new Map<string, string>();

/** Remembered: whatever is looked up by one and the same text is found faster. */
function lowerCase(action: string): string {
  const known = lowerCased.get(action);
  if (known !== undefined) return known;
  if (lowerCased.size >= LIMITS.policy_action_names_max) lowerCased.clear();
  const made = action.toLowerCase();
  lowerCased.set(action, made);
  return made;
}

/** Finds by the documents' indexes, and no more than is asked for. */
class Search implements Findings {
  readonly #request: AccessRequest;
  readonly #policies: Policies;
  readonly #subject: Subject;
  /** in lower case */
  readonly #action: string;
  /** what statements may name the caller by */
  readonly #names: readonly string[];
  #made: ConditionContext | undefined;

  constructor(request: AccessRequest, policies: Policies) {
    const { principal } = request;
    this.#request = request;
    this.#policies = policies;
    this.#subject = { principal, isBounded: policies.boundary !== undefined };
    this.#action = lowerCase(request.action);
    this.#names = [...principal.names, principal.root];
  }

  denying(): PolicyType | undefined {
    for (const type of POLICY_TYPES) if (this.#find(type, 'Deny', always)) return type;
    return undefined;
  }

  naming(): Naming {
    let nearest: Naming = 'none';
    this.#find('resource-based policy', 'Allow', (naming) => {
      if (NAMINGS.indexOf(naming) > NAMINGS.indexOf(nearest)) nearest = naming;
      return nearest === 'direct';
    });
    return nearest;
  }

  allows(type: PolicyType): boolean {
    return this.#find(type, 'Allow', always);
  }

  /** @param isEnough whether a statement that applies is all that was looked for */
  #find(
    type: PolicyType,
    effect: Statement['effect'],
    isEnough: (naming: Naming) => boolean,
  ): boolean {
    let found = false;
    const { resource } = this.#request;
    for (const { index } of documentsOf(this.#policies, type)) {
      index.of(this.#action)[effect].each(this.#names, resource, (statement) => {
        const naming = namingOf(statement, this.#subject);
        found = naming !== 'none' && this.#applies(statement) && isEnough(naming);
        return !found;
      });
      if (found) return true;
    }
    return false;
  }

  #applies({ resources, conditions }: Statement): boolean {
    if (!includes(resources, this.#request.resource, this.#context)) return false;
    for (const condition of conditions) if (!holds(condition, this.#context())) return false;
    return true;
  }

  readonly #context = (): ConditionContext => (this.#made ??= this.#request.context());
}
