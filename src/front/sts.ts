import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { decideByAccount, deniedSentence } from '../iam/account-decision.js';
import { callerContext } from '../iam/caller-context.js';
import { cachedPolicy } from '../iam/policy-document.js';
import type { RoleFact } from '../iam/principal-records.js';
import { parsePrincipal, readPrincipal } from '../iam/principal.js';
import type { SessionCredentials, Sessions } from '../iam/sessions.js';
import { trustPolicy } from '../iam/trust-policy.js';
import { STS_REQUESTS, type StsParams } from '../protocol/sts.js';
import type { AwsCaller } from './aws-service.js';
import { heldPolicy, mergeTags, tagConditions, type IamParts } from './iam-facts.js';
import {
  action,
  QueryService,
  type QueryActions,
  type QueryResult,
  type QueryServiceOptions,
} from './query-service.js';

export interface StsParts extends IamParts {
  readonly sessions: Sessions;
  /** at AWS it may not, and everybody is root where any credentials are taken */
  readonly rootMayAssume: boolean;
}

const HOUR_SECONDS = 3_600;
const SESSION_TOKEN_SECONDS = 43_200;

/** AWS Security Token Service (2011-06-15). */
export const stsService = (
  parts: StsParts,
  options: Pick<QueryServiceOptions, 'events' | 'log'>,
): QueryService =>
  new QueryService({
    ...options,
    name: 'sts',
    actions: stsActions(parts),
    identities: parts.directory,
    civil: parts.civil,
  });

export const stsActions = (parts: StsParts): QueryActions => ({
  GetCallerIdentity: action(STS_REQUESTS.GetCallerIdentity, {
    resource: () => '*',
    // whatever policies say (AWS STS API, GetCallerIdentity)
    isOpen: true,
    run: (_params, { principal }) => ({
      UserId: parts.directory.of(principal).userId ?? principal.account,
      Account: principal.account,
      Arn: principal.arn,
    }),
  }),
  AssumeRole: action(STS_REQUESTS.AssumeRole, {
    resource: ({ RoleArn }) => RoleArn,
    // the role's trust policy has its say
    isOpen: true,
    run: (params, caller) => assumeRole(parts, params, caller),
  }),
  GetSessionToken: action(STS_REQUESTS.GetSessionToken, {
    resource: () => '*',
    isOpen: true,
    run: (params, caller) => getSessionToken(parts, params, caller),
  }),
  GetAccessKeyInfo: action(STS_REQUESTS.GetAccessKeyInfo, {
    resource: () => '*',
    run: ({ AccessKeyId }) => {
      const key = parts.directory.keys.held(AccessKeyId)?.value;
      if (key) return { Account: key.principal.account };
      throw new KeyspanError('ValidationException', 'Access key ID is not valid.');
    },
  }),
});

async function assumeRole(
  parts: StsParts,
  params: StsParams<'AssumeRole'>,
  caller: AwsCaller,
): Promise<QueryResult> {
  const { RoleArn, RoleSessionName, DurationSeconds = HOUR_SECONDS } = params;
  refuseDevice(params);
  const tags = mergeTags([], params.Tags ?? []);
  const role = roleAt(parts, RoleArn);
  authorize(parts, params, caller, role);
  checkDuration(DurationSeconds, role, caller);
  const arns = (params.PolicyArns ?? []).flatMap(({ arn }) => (arn === undefined ? [] : [arn]));
  if (arns.length > LIMITS.iam_attached_policies_max) {
    const max = LIMITS.iam_attached_policies_max;
    throw new KeyspanError('ValidationException', `A session has at most ${max} PolicyArns.`);
  }
  for (const arn of arns) heldPolicy(parts, role.account, arn);
  if (params.Policy !== undefined) cachedPolicy(params.Policy, 'identity');
  const arn = `arn:aws:sts::${role.account}:assumed-role/${role.name}/${RoleSessionName}`;
  const credentials = parts.sessions.begin({
    principal: parsePrincipal(arn),
    session: {
      of: role.id,
      policies: params.Policy === undefined ? [] : [params.Policy],
      policyArns: arns,
      tags: new Map(tags.map(({ key, value }) => [key, value])),
    },
    durationSeconds: DurationSeconds,
  });
  return {
    Credentials: describeCredentials(credentials),
    AssumedRoleUser: { AssumedRoleId: `${role.id}:${RoleSessionName}`, Arn: arn },
  };
}

/** There are no devices of a second factor, so no code of one is right. */
function refuseDevice({ SerialNumber, TokenCode }: StsParams<'GetSessionToken'>): void {
  if (SerialNumber === undefined && TokenCode === undefined) return;
  const sentence = 'MultiFactorAuthentication failed with invalid MFA one time pass code. ';
  throw new KeyspanError('AccessDeniedException', sentence);
}

/** The role of this ARN, with its path. @throws ValidationException for what names no role */
function roleAt({ directory }: IamParts, arn: string): RoleFact | undefined {
  const principal = readPrincipal(arn);
  if (principal?.type !== 'Role') {
    throw new KeyspanError('ValidationException', `${arn.slice(0, 256)} is invalid`);
  }
  const role = directory.role(principal.account, arn.slice(arn.lastIndexOf('/') + 1));
  return role?.arn === arn ? role : undefined;
}

/**
 * The trust policy and, of another account or where it names the account alone, the caller's own
 * policies. One role that is not there is refused as one that may not be assumed.
 * @throws AccessDeniedException
 */
function authorize(
  parts: StsParts,
  params: StsParams<'AssumeRole'>,
  caller: AwsCaller,
  role: RoleFact | undefined,
): asserts role is RoleFact {
  const { principal, region, origin } = caller;
  if (principal.type === 'Account' && !parts.rootMayAssume) {
    throw new KeyspanError('AccessDeniedException', 'Roles may not be assumed by root accounts.');
  }
  const identity = parts.directory.of(principal);
  const { Tags, ExternalId, RoleSessionName, TransitiveTagKeys } = params;
  const context = (): Map<string, readonly string[]> => {
    const all = callerContext({ principal, identity, region, origin, civilMs: parts.civil() });
    all.set('sts:rolesessionname', [RoleSessionName]);
    if (ExternalId !== undefined) all.set('sts:externalid', [ExternalId]);
    if (TransitiveTagKeys) all.set('sts:transitivetagkeys', TransitiveTagKeys);
    for (const [key, values] of tagConditions(Tags)) all.set(key, values);
    for (const { key, value } of role?.tags ?? []) {
      all.set(`aws:resourcetag/${key.toLowerCase()}`, [value]);
      all.set(`iam:resourcetag/${key.toLowerCase()}`, [value]);
    }
    return all;
  };
  const actions = Tags && Tags.length > 0 ? ['AssumeRole', 'TagSession'] : ['AssumeRole'];
  for (const name of actions) {
    const request = { principal, action: `sts:${name}`, resource: params.RoleArn, context };
    const trust = role && { document: trustPolicy(role.trust), account: role.account };
    const decision = trust && decideByAccount(request, identity, trust);
    if (decision?.allowed) continue;
    const missing = `because no resource-based policy allows the sts:${name} action`;
    const sentence = deniedSentence(request, decision?.because ?? missing);
    throw new KeyspanError('AccessDeniedException', sentence);
  }
}

/** @throws ValidationException */
function checkDuration(seconds: number, role: RoleFact, { principal }: AwsCaller): void {
  const isChained = principal.type === 'AssumedRole';
  const sentence =
    isChained && seconds > HOUR_SECONDS
      ? 'The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by ' +
        'role chaining'
      : seconds > role.maxSessionSeconds
        ? 'The requested DurationSeconds exceeds the MaxSessionDuration set for this role.'
        : undefined;
  if (sentence !== undefined) throw new KeyspanError('ValidationException', sentence);
}

function getSessionToken(
  parts: StsParts,
  params: StsParams<'GetSessionToken'>,
  { principal }: AwsCaller,
): QueryResult {
  refuseDevice(params);
  const of = parts.directory.idOf(principal);
  if (principal.session || principal.type === 'AssumedRole' || of === undefined) {
    const sentence = 'Cannot call GetSessionToken with session credentials';
    throw new KeyspanError('AccessDeniedException', sentence);
  }
  // an account's root gets an hour (AWS STS API, GetSessionToken)
  const isRoot = principal.type === 'Account';
  const { DurationSeconds = isRoot ? HOUR_SECONDS : SESSION_TOKEN_SECONDS } = params;
  const credentials = parts.sessions.begin({
    principal,
    session: { of, policies: [], policyArns: [], tags: new Map() },
    durationSeconds: isRoot ? Math.min(DurationSeconds, HOUR_SECONDS) : DurationSeconds,
  });
  return { Credentials: describeCredentials(credentials) };
}

const describeCredentials = (credentials: SessionCredentials): QueryResult => ({
  AccessKeyId: credentials.accessKeyId,
  SecretAccessKey: credentials.secretAccessKey,
  SessionToken: credentials.sessionToken,
  Expiration: new Date(credentials.expiresAtMs),
});
