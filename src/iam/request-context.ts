import type { Identity } from './identities.js';
import type { ConditionContext } from './policy-variables.js';
import type { Principal } from './principal.js';
import type { RequestOrigin } from './request-origin.js';

/** Who asks for what, as far as every service knows it. */
export interface RequestFacts {
  readonly principal: Principal;
  readonly identity: Identity;
  readonly region: string;
  /** how the request came */
  readonly origin: RequestOrigin | undefined;
  /** civil time in milliseconds */
  readonly nowMs: number;
}

type Value = string | readonly string[] | undefined;

/** The global condition keys that say who asks, how and when (IAM user guide), in lower case. */
const KEYS: ReadonlyMap<string, (caller: RequestFacts) => Value> = new Map([
  ['aws:principalaccount', ({ principal }) => principal.account],
  ['aws:principalarn', ({ principal }) => principal.names.at(-1) ?? principal.arn],
  ['aws:principaltype', ({ principal }) => principal.type],
  ['aws:principalisawsservice', () => 'false'],
  ['aws:userid', userId],
  ['aws:tokenissuetime', ({ principal }) => tokenIssueTime(principal)],
  ['aws:username', ({ principal }) => userName(principal)],
  ['aws:requestedregion', ({ region }) => region],
  ['aws:currenttime', ({ nowMs }) => new Date(nowMs).toISOString()],
  ['aws:epochtime', ({ nowMs }) => String(Math.floor(nowMs / 1_000))],
  ['aws:securetransport', ({ origin }) => origin?.isSecure?.toString()],
  ['aws:useragent', ({ origin }) => origin?.userAgent],
  ['aws:sourcearn', ({ origin }) => origin?.sourceArn],
  ['aws:sourcevpc', ({ origin }) => origin?.sourceVpc],
  ['aws:sourceip', ({ origin }) => (isDirect(origin) ? origin?.sourceIp : undefined)],
  ['aws:vpcsourceip', ({ origin }) => (origin?.sourceVpc ? origin.sourceIp : undefined)],
  ['aws:calledvia', ({ origin }) => calledVia(origin)],
  ['aws:calledviafirst', ({ origin }) => calledVia(origin)],
  ['aws:calledvialast', ({ origin }) => calledVia(origin)],
  ['aws:viaawsservice', ({ origin }) => String(origin?.viaService !== undefined)],
]);

const PRINCIPAL_TAG = 'aws:principaltag/';

/** What every request says about its caller; each value is made when a policy asks for it. */
export class RequestContext implements ConditionContext {
  readonly #caller: RequestFacts;

  constructor(caller: RequestFacts) {
    this.#caller = caller;
  }

  get(key: string): readonly string[] | undefined {
    if (key.startsWith(PRINCIPAL_TAG)) {
      return tagValues(this.#caller.identity.tags, key.slice(PRINCIPAL_TAG.length));
    }
    return listed(KEYS.get(key)?.(this.#caller));
  }
}

/** What one value or several are in a context. */
export const listed = (value: Value): readonly string[] | undefined =>
  typeof value === 'string' ? [value] : value;

/**
 * The values of a tag, whose key is compared without regard to case: keys that differ in case
 * alone meet, and none may hide the other.
 * @param name in lower case
 */
export function tagValues(
  tags: Iterable<readonly [string, string]>,
  name: string,
): readonly string[] | undefined {
  let values: string[] | undefined;
  for (const [key, value] of tags) {
    if (key.toLowerCase() === name) (values ??= []).push(value);
  }
  return values;
}

/** A service that asks for its caller asks from an address of its own, as does a VPC's endpoint. */
const isDirect = (origin: RequestOrigin | undefined): boolean =>
  origin?.viaService === undefined && origin?.sourceVpc === undefined;

/** `s3.us-east-1.amazonaws.com` is the principal `s3.amazonaws.com` of that region. */
function calledVia(origin: RequestOrigin | undefined): Value {
  const service = origin?.viaService?.split('.')[0];
  return service === undefined ? undefined : [`${service}.amazonaws.com`];
}

function userId({ principal, identity }: RequestFacts): Value {
  return principal.type === 'Account' ? principal.account : identity.userId;
}

const userName = ({ type, arn }: Principal): Value =>
  type === 'User' ? arn.slice(arn.lastIndexOf('/') + 1) : undefined;

const tokenIssueTime = ({ session }: Principal): Value =>
  session && new Date(session.issuedAtMs).toISOString();

/** What an action says beside: it goes before what every request says. */
export function withConditions(
  context: ConditionContext,
  conditions: Iterable<readonly [string, readonly string[]]>,
): ConditionContext {
  const own = new Map(conditions);
  return { get: (key) => own.get(key) ?? context.get(key) };
}
