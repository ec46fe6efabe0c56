import { KeyspanError } from '../core/errors.js';
import type { ConditionContext } from '../iam/condition.js';
import { evaluate, type AccessRequest, type Decision, type DenyReason } from '../iam/evaluate.js';
import type { KmsAction } from '../protocol/kms.js';
import type { EncryptionContext } from './ciphertext.js';
import type { Facts } from './facts.js';
import { grantAllows, readTokens, type IdentityVerdict } from './grant-access.js';
import type { GrantTerms } from './grant-records.js';
import type { KeyFact } from './records.js';
import type { KmsCaller, KmsParts, KmsRequest } from './request.js';

/** What a request says beside its action and its key, for conditions in policies. */
export interface AccessDetails {
  /** the permission, where it is not named as the action is (ReEncryptFrom, ReEncryptTo) */
  readonly permission?: string;
  readonly encryptionContext?: EncryptionContext | undefined;
  readonly encryptionAlgorithm?: string;
  /** the alias that the request named the key by */
  readonly alias?: string | undefined;
  readonly reEncryptOnSameKey?: boolean;
  /** condition keys of this action alone, with their values; asked for only for conditions */
  readonly keys?: () => Iterable<readonly [string, readonly string[]]>;
  /** what a new grant shall say */
  readonly grant?: GrantTerms;
}

/**
 * Decides whether the caller may do this with the key, by the key's own policy. Identity
 * policies do not exist yet: who is not named by a key policy is refused.
 * @throws AccessDeniedException
 */
export function authorizeKey<A extends KmsAction>(
  kms: KmsParts,
  request: KmsRequest<A>,
  key: KeyFact,
  details: AccessDetails = {},
): void {
  request.resource ??= key.arn;
  request.key = key.arn;
  const action = `kms:${details.permission ?? request.action}`;
  const { caller } = request;
  const tokens = readTokens(kms, request);
  const access: AccessRequest = {
    principal: caller.principal,
    action,
    resource: key.arn,
    context: () => contextOf(kms.facts, caller, { action, key, details }),
  };
  const { policies } = kms.identities.of(caller.principal);
  const decision = evaluate(access, {
    key: { document: key.document, account: key.account },
    identity: policies,
  });
  if (!decision.allowed && !decision.reason.startsWith('explicit deny')) {
    const isGranted = grantAllows(kms, {
      caller,
      key,
      operation: details.permission ?? request.action,
      encryptionContext: details.encryptionContext,
      terms: details.grant,
      tokens,
      isDelegated: () => evaluate(access, { identity: policies }).allowed,
    });
    if (isGranted) return;
  }
  requireAllowed(decision, caller, action, key.arn);
}

/** What identity policies alone say of a key. */
export function identityVerdict(
  kms: KmsParts,
  caller: KmsCaller,
  action: string,
  resource: string,
): IdentityVerdict {
  const { principal } = caller;
  const decision = evaluate(
    { principal, action, resource, context: () => callerContext(caller) },
    { identity: kms.identities.of(principal).policies },
  );
  if (decision.allowed) return 'allowed';
  return decision.reason.startsWith('explicit deny') ? 'denied' : 'not allowed';
}

/**
 * Decides an action that identity policies alone allow: for a resource that has no policy of its
 * own (an alias), or for none (`*`).
 * @throws AccessDeniedException
 */
export function authorizeAccount<A extends KmsAction>(
  request: KmsRequest<A>,
  resource = '*',
): void {
  if (resource !== '*') request.resource ??= resource;
  const action = `kms:${request.action}`;
  const { caller } = request;
  const decision = evaluate(
    { principal: caller.principal, action, resource, context: () => callerContext(caller) },
    { identity: [] },
  );
  requireAllowed(decision, caller, action, resource);
}

/** What every request says about its caller. */
export function callerContext(caller: KmsCaller): Map<string, readonly string[]> {
  const { principal, region } = caller;
  return new Map([
    ['aws:principalaccount', [principal.account]],
    ['aws:principalarn', [principal.names.at(-1) ?? principal.arn]],
    ['aws:principaltype', [principal.type]],
    ['aws:requestedregion', [region]],
    ['kms:calleraccount', [principal.account]],
  ]);
}

function contextOf(
  facts: Facts,
  caller: KmsCaller,
  access: { readonly action: string; readonly key: KeyFact; readonly details: AccessDetails },
): ConditionContext {
  const { action, key, details } = access;
  const context = callerContext(caller);
  const set = (name: string, value: string | undefined): void => {
    if (value !== undefined) context.set(name, [value]);
  };
  set('aws:resourceaccount', key.account);
  set('kms:keyspec', key.spec);
  set('kms:customermasterkeyspec', key.spec);
  set('kms:keyusage', key.usage);
  set('kms:customermasterkeyusage', key.usage);
  set('kms:keyorigin', key.origin);
  set('kms:multiregion', String(key.multiRegion));
  set('kms:requestalias', details.alias);
  set('kms:encryptionalgorithm', details.encryptionAlgorithm);
  set('kms:reencryptonsamekey', details.reEncryptOnSameKey?.toString());
  for (const [name, values] of details.keys?.() ?? []) context.set(name.toLowerCase(), values);
  if (GRANT_ACTIONS.has(action)) {
    context.set('kms:grantisforawsresource', [String(caller.origin?.viaService !== undefined)]);
  }
  for (const { key: tag, value } of key.tags) set(`aws:resourcetag/${tag.toLowerCase()}`, value);
  const pairs = details.encryptionContext;
  if (pairs && pairs.size > 0) {
    context.set('kms:encryptioncontextkeys', [...pairs.keys()]);
    for (const [pair, value] of pairs) {
      // names that differ in case alone meet in one condition key: none may hide the other
      const name = `kms:encryptioncontext:${pair.toLowerCase()}`;
      context.set(name, [...(context.get(name) ?? []), value]);
    }
  }
  if (key.document.conditionKeys.has('kms:resourcealiases')) {
    const names = facts.aliasesOf(key).map((alias) => alias.name);
    if (names.length > 0) context.set('kms:resourcealiases', names);
  }
  return context;
}

/** KMS developer guide, kms:GrantIsForAWSResource */
const GRANT_ACTIONS = new Set(['kms:CreateGrant', 'kms:ListGrants', 'kms:RevokeGrant']);

const BECAUSE: Readonly<Record<DenyReason, (action: string) => string>> = {
  'explicit deny in a resource-based policy': () =>
    'with an explicit deny in a resource-based policy',
  'explicit deny in an identity-based policy': () =>
    'with an explicit deny in an identity-based policy',
  'no identity-based policy': (action) =>
    `because no identity-based policy allows the ${action} action`,
  'no resource-based policy': (action) =>
    `because no resource-based policy allows the ${action} action`,
};

function requireAllowed(
  decision: Decision,
  caller: KmsCaller,
  action: string,
  resource: string,
): void {
  if (decision.allowed) return;
  const who = `User: ${caller.principal.arn} is not authorized to perform: ${action}`;
  const sentence = `${who} on resource: ${resource} ${BECAUSE[decision.reason](action)}`;
  throw new KeyspanError('AccessDeniedException', sentence);
}
