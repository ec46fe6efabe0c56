import { listed, RequestContext, tagValues } from '../iam/request-context.js';
import type { ConditionContext } from '../iam/policy-variables.js';
import type { EncryptionContext } from './ciphertext.js';
import type { GrantTerms } from './grant-records.js';
import type { KeyFact, Tag } from './records.js';
import type { KmsCaller, KmsParts } from './request.js';

/** What a request says beside its action and its key, for conditions in policies. */
export interface AccessDetails {
  /** the permission, where it is not named as the action is (ReEncryptFrom, ReEncryptTo) */
  readonly permission?: string;
  readonly encryptionContext?: EncryptionContext | undefined;
  readonly encryptionAlgorithm?: string;
  /** the alias that the request named the key by */
  readonly alias?: string | undefined;
  readonly reEncryptOnSameKey?: boolean;
  /** what a new grant shall say */
  readonly grant?: GrantTerms;
  /** tags that the request gives: aws:RequestTag and aws:TagKeys */
  readonly requestTags?: readonly Tag[] | undefined;
  /**
   * Condition keys of this action alone, such as kms:GrantOperations or kms:SigningAlgorithm, with
   * their values as texts; names in any case. What a request leaves to its default is there too.
   * Asked for once, and only when a policy has conditions; these go before all others.
   */
  readonly keys?: () => Iterable<readonly [string, readonly string[]]>;
}

/** What a request for a permission is about. */
export interface Access {
  readonly kms: KmsParts;
  readonly caller: KmsCaller;
  /** as in `kms:Encrypt` */
  readonly action: string;
  readonly key: KeyFact | undefined;
  readonly details: AccessDetails;
}

type Value = string | readonly string[] | undefined;

/** AWS KMS condition keys (KMS developer guide), in lower case, and what KMS knows of others. */
const KEYS: ReadonlyMap<string, (access: Access) => Value> = new Map([
  ['aws:resourceaccount', ({ key }) => key?.account],
  ['aws:tagkeys', ({ details }) => some(details.requestTags?.map(({ key }) => key))],
  ['kms:calleraccount', ({ caller }) => caller.principal.account],
  ['kms:viaservice', ({ caller }) => caller.origin?.viaService],
  ['kms:keyspec', ({ key }) => key?.spec],
  ['kms:customermasterkeyspec', ({ key }) => key?.spec],
  ['kms:keyusage', ({ key }) => key?.usage],
  ['kms:customermasterkeyusage', ({ key }) => key?.usage],
  ['kms:keyorigin', ({ key }) => key?.origin],
  ['kms:multiregion', ({ key }) => key?.multiRegion.toString()],
  ['kms:requestalias', ({ details }) => details.alias],
  ['kms:resourcealiases', resourceAliases],
  ['kms:encryptionalgorithm', ({ details }) => details.encryptionAlgorithm],
  [
    'kms:encryptioncontextkeys',
    ({ details }) => some([...(details.encryptionContext ?? [])].map(([name]) => name)),
  ],
  ['kms:reencryptonsamekey', ({ details }) => details.reEncryptOnSameKey?.toString()],
  ['kms:grantisforawsresource', isForAwsResource],
]);

const ENCRYPTION_CONTEXT = 'kms:encryptioncontext:';
const RESOURCE_TAG = 'aws:resourcetag/';
const REQUEST_TAG = 'aws:requesttag/';
/** KMS developer guide, kms:GrantIsForAWSResource */
const GRANT_ACTIONS = new Set(['kms:CreateGrant', 'kms:ListGrants', 'kms:RevokeGrant']);

/** What a request says about itself; each value is made when a policy asks for it. */
export class AccessContext implements ConditionContext {
  readonly #access: Access;
  #general: RequestContext | undefined;
  #special: ReadonlyMap<string, readonly string[]> | undefined;
  /** many statements ask for the same keys */
  readonly #known = new Map<string, readonly string[] | undefined>();

  constructor(access: Access) {
    this.#access = access;
  }

  get(key: string): readonly string[] | undefined {
    const known = this.#known.get(key);
    if (known || this.#known.has(key)) return known;
    const made = this.#make(key);
    this.#known.set(key, made);
    return made;
  }

  #make(key: string): readonly string[] | undefined {
    const { details, key: fact } = this.#access;
    const special = details.keys && (this.#special ??= lowerCase(details.keys())).get(key);
    if (special) return special;
    if (key.startsWith(ENCRYPTION_CONTEXT)) {
      return tagValues(details.encryptionContext ?? [], key.slice(ENCRYPTION_CONTEXT.length));
    }
    if (key.startsWith(RESOURCE_TAG)) {
      return tagValues(pairs(fact?.tags), key.slice(RESOURCE_TAG.length));
    }
    if (key.startsWith(REQUEST_TAG)) {
      return tagValues(pairs(details.requestTags), key.slice(REQUEST_TAG.length));
    }
    const known = KEYS.get(key);
    if (known) return listed(known(this.#access));
    return (this.#general ??= generalContext(this.#access)).get(key);
  }
}

function generalContext({ kms, caller }: Access): RequestContext {
  const { principal, region, origin } = caller;
  const identity = kms.identities.of(principal);
  return new RequestContext({ principal, identity, region, origin, nowMs: kms.clock.civil() });
}

function lowerCase(
  keys: Iterable<readonly [string, readonly string[]]>,
): ReadonlyMap<string, readonly string[]> {
  return new Map([...keys].map(([name, values]) => [name.toLowerCase(), values]));
}

function* pairs(tags: readonly Tag[] = []): Iterable<readonly [string, string]> {
  for (const { key, value } of tags) yield [key, value];
}

/** A key without values is none. */
const some = (values: readonly string[] | undefined): Value =>
  values && values.length > 0 ? values : undefined;

function resourceAliases({ kms, key }: Access): Value {
  return key && some(kms.facts.aliasesOf(key).map(({ name }) => name));
}

function isForAwsResource({ caller, action }: Access): Value {
  return GRANT_ACTIONS.has(action) ? String(caller.origin?.viaService !== undefined) : undefined;
}
