import { parseArn } from '../core/arn.js';
import { KeyspanError } from '../core/errors.js';
import { authorizeAccount, authorizeKey } from './authorize.js';
import type { GrantFact } from './grant-records.js';
import { readGrantPrincipal } from './grant-terms.js';
import { findGrant } from './grants.js';
import { findKeyById } from './key-lookup.js';
import { invalid } from './key-spec.js';
import { pageMembers, readMarker } from './pages.js';
import type { KeyFact } from './records.js';
import type { Answer, KmsParts, KmsRequest } from './request.js';

const LIST_LIMIT = 50;

export async function listGrants(
  kms: KmsParts,
  request: KmsRequest<'ListGrants'>,
): Promise<Answer> {
  const { KeyId, GrantId, Limit = LIST_LIMIT, Marker } = request.params;
  const { GranteePrincipal, GranteeServicePrincipal } = request.params;
  const key = findKeyById(kms.facts, request.caller, KeyId);
  authorizeKey(kms, request, key);
  if (GranteePrincipal !== undefined && GranteeServicePrincipal !== undefined) {
    throw invalid('You can specify either GranteePrincipal or GranteeServicePrincipal.');
  }
  if (GranteeServicePrincipal !== undefined) throw forServices('GranteeServicePrincipal');
  const grantee = GranteePrincipal && readGrantPrincipal(GranteePrincipal);
  const after = readMarker(Marker);
  const found =
    GrantId === undefined
      ? grantsOf(kms, key, { grantee, after, limit: Limit + 1 })
      : one(kms, key, GrantId).filter((grant) => isGrantee(kms, grant, grantee));
  const { items, members } = pageMembers(found, Limit, (grant) => grant.id);
  return { Grants: items.map(entryOf), ...members };
}

/** @throws InvalidGrantIdException */
function one(kms: KmsParts, key: KeyFact, id: string): GrantFact[] {
  const grant = findGrant(kms, key, id);
  if (grant) return [grant];
  throw new KeyspanError('InvalidGrantIdException', `Invalid grant ID '${id}'`);
}

function isGrantee(kms: KmsParts, grant: GrantFact, grantee: string | undefined): boolean {
  if (grantee === undefined) return true;
  const key = { account: grant.account, region: grant.region, id: grant.key };
  return kms.facts.grants.pathsOfGrantee(key, grantee).includes(grant.path);
}

interface Wanted {
  readonly grantee: string | undefined;
  readonly after: string | undefined;
  readonly limit: number;
}

/** Those that have not ended, in the order of their ids. */
function grantsOf(kms: KmsParts, key: KeyFact, { grantee, after, limit }: Wanted): GrantFact[] {
  const { grants } = kms.facts;
  if (grantee !== undefined) {
    return take(
      kms,
      grants.pathsOfGrantee(key, grantee),
      limit,
      (grant) => after === undefined || grant.id > after,
    );
  }
  const found: GrantFact[] = [];
  for (let from = after; found.length < limit;) {
    const page = grants.page(key, { after: from, limit });
    found.push(...page.filter((grant) => grant.endedAt === undefined));
    if (page.length < limit) break;
    from = page.at(-1)?.id;
  }
  return found.slice(0, limit);
}

/** The first that are there, have not ended, and fit. */
function take(
  kms: KmsParts,
  paths: readonly string[],
  limit: number,
  fits: (grant: GrantFact) => boolean,
): GrantFact[] {
  const found: GrantFact[] = [];
  for (const path of paths) {
    if (found.length === limit) break;
    const grant = kms.facts.grants.at(path);
    if (grant && grant.endedAt === undefined && fits(grant)) found.push(grant);
  }
  return found;
}

/** Of keys of all accounts, in the region of the request. */
export async function listRetirableGrants(
  kms: KmsParts,
  request: KmsRequest<'ListRetirableGrants'>,
): Promise<Answer> {
  const { caller, params } = request;
  const { RetiringPrincipal, RetiringServicePrincipal, Limit = LIST_LIMIT, Marker } = params;
  if ((RetiringPrincipal === undefined) === (RetiringServicePrincipal === undefined)) {
    throw invalid('You must specify either RetiringPrincipal or RetiringServicePrincipal.');
  }
  if (RetiringPrincipal === undefined) throw forServices('RetiringServicePrincipal');
  const principal = readGrantPrincipal(RetiringPrincipal);
  authorizeAccount(request, principal);
  if (parseArn(principal)?.account !== caller.principal.account) {
    const sentence = `The retiring principal is not in your account: ${principal}`;
    throw new KeyspanError('InvalidArnException', sentence);
  }
  const after = readMarker(Marker);
  const paths = kms.facts.grants
    .pathsOfRetiring(principal)
    .filter((path) => after === undefined || path > after);
  const here = (grant: GrantFact): boolean => grant.region === caller.region;
  const found = take(kms, paths, Limit + 1, here);
  const { items, members } = pageMembers(found, Limit, (grant) => grant.path);
  return { Grants: items.map(entryOf), ...members };
}

const forServices = (member: string): KeyspanError =>
  new KeyspanError(
    'AccessDeniedException',
    `The ${member} filter is only usable by callers in a service principal.`,
  );

/** KMS API, GrantListEntry */
function entryOf(grant: GrantFact): Answer {
  const { equals, subset, sourceArn } = grant.constraints;
  const isConstrained = (equals ?? subset ?? sourceArn) !== undefined;
  const grantee = grant.grantee ?? grant.granteeService;
  const retiring = grant.retiring ?? grant.retiringService;
  return {
    KeyId: grant.keyArn,
    GrantId: grant.id,
    Name: grant.name ?? '',
    CreationDate: grant.createdAt,
    GranteePrincipal: grantee,
    ...(retiring !== undefined && { RetiringPrincipal: retiring }),
    IssuingAccount: grant.issuer,
    Operations: grant.operations,
    ...(isConstrained && {
      Constraints: {
        ...(equals && { EncryptionContextEquals: Object.fromEntries(equals) }),
        ...(subset && { EncryptionContextSubset: Object.fromEntries(subset) }),
        ...(sourceArn !== undefined && { SourceArn: sourceArn }),
      },
    }),
    ...(grant.granteeService !== undefined && { GranteeServicePrincipal: grant.granteeService }),
    ...(grant.retiringService !== undefined && { RetiringServicePrincipal: grant.retiringService }),
  };
}
