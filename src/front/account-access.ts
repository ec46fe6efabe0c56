import { ownPolicies, type AccessRequest, type Policies } from '../iam/evaluate.js';
import type { Identities, Identity } from '../iam/identities.js';
import { RequestContext } from '../iam/request-context.js';
import type { AwsCaller } from './aws-json.js';

/** What decides about callers of a service whose resources have no conditions of their own. */
export interface AccessParts {
  /** absent: there are the accounts' roots alone */
  readonly identities?: Identities | undefined;
  /** civil time, in milliseconds since 1970 */
  readonly civil: () => number;
}

const UNKNOWN: Identity = { policies: [], tags: new Map() };

const identityOf = ({ identities }: AccessParts, { principal }: AwsCaller): Identity =>
  identities?.of(principal) ?? UNKNOWN;

/** What the policies are asked, with the global condition keys alone. */
export function accessRequest(
  parts: AccessParts,
  asked: { readonly action: string; readonly resource: string; readonly caller: AwsCaller },
): AccessRequest {
  const { action, resource, caller } = asked;
  const { principal, region, origin } = caller;
  const context = (): RequestContext =>
    new RequestContext({
      principal,
      identity: identityOf(parts, caller),
      region,
      origin,
      nowMs: parts.civil(),
    });
  return { principal, action, resource, context };
}

/** What the caller's account says of the caller. */
export function accountPolicies(parts: AccessParts, caller: AwsCaller): Policies {
  return ownPolicies(identityOf(parts, caller));
}
