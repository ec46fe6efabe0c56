import type { Call } from '../core/call.js';
import { joinParts, type CommitPart } from '../core/commit.js';
import { KeyspanError } from '../core/errors.js';
import { newGrantId, type GrantId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import { KEYSPACE } from '../store/keyspace.js';
import { authorizeKey, identityVerdict } from './authorize.js';
import { dryRun } from './encrypt.js';
import { isOver, requireRetirable } from './grant-access.js';
import {
  addGrant,
  digestOf,
  endGrant,
  removeGrant,
  type GrantFact,
  type GrantTerms,
} from './grant-records.js';
import { conditionKeys, contextOfTerms, readTerms, requireGrantable } from './grant-terms.js';
import { requireState } from './key.js';
import { findKeyById } from './key-lookup.js';
import { invalid } from './key-spec.js';
import { civilSeconds, type KeyFact } from './records.js';
import type { Answer, KmsParts, KmsRequest } from './request.js';

/** A request of this name with these terms finds the grant that it made before. */
export async function createGrant(
  kms: KmsParts,
  request: KmsRequest<'CreateGrant'>,
): Promise<Answer> {
  const { caller, params, call } = request;
  const terms = readTerms(params);
  const key = findKeyById(kms.facts, caller, params.KeyId);
  const encryptionContext = contextOfTerms(terms);
  const keys = (): ReturnType<typeof conditionKeys> => conditionKeys(terms);
  authorizeKey(kms, request, key, { encryptionContext, keys, grant: terms });
  requireState(key, 'grant');
  requireGrantable(key, terms);
  const known = findNamed(kms, key, terms);
  if (!known) requireRoom(kms, key);
  if (params.DryRun) throw dryRun();
  if (known) return { GrantId: known.id, GrantToken: kms.grantTokens.issue(known.path) };
  const id = newGrantId();
  const createdAt = civilSeconds(kms.clock);
  const grant = { ...terms, id, key: key.id, issuer: caller.principal.root, createdAt };
  const revision = await kms.facts.commit(
    joinParts(addGrant(key, grant), ...overParts(kms, key), {
      // the key's state was read: it must still be what it was
      compares: [{ key: key.path, modRevision: key.modRevision }],
      writes: [],
    }),
  );
  await kms.facts.shown(revision, call.deadline);
  const path = KEYSPACE.kmsGrant(key.account, key.region, key.id, id);
  return { GrantId: id, GrantToken: kms.grantTokens.issue(path) };
}

function findNamed(kms: KmsParts, key: KeyFact, terms: GrantTerms): GrantFact | undefined {
  const digest = digestOf(terms);
  return digest === undefined ? undefined : kms.facts.grants.ofDigest(key, digest);
}

/** Two requests at once may each find the last place; the bound is a quota, not an invariant. */
function requireRoom(kms: KmsParts, key: KeyFact): void {
  if (kms.facts.grants.count(key) < LIMITS.kms_grants_per_key_max) return;
  const sentence = `A KMS key has at most ${LIMITS.kms_grants_per_key_max} grants: ${key.arn}`;
  throw new KeyspanError('LimitExceededException', sentence);
}

/** Takes away grants whose end has shown, a few with each change of the key's grants. */
function overParts(kms: KmsParts, key: KeyFact, except?: GrantFact): CommitPart[] {
  const parts: CommitPart[] = [];
  for (const grant of kms.facts.grants.ended(key)) {
    if (parts.length === LIMITS.kms_ended_grants_max) break;
    if (grant !== except && isOver(kms, grant)) parts.push(removeGrant(grant));
  }
  return parts;
}

export async function revokeGrant(
  kms: KmsParts,
  request: KmsRequest<'RevokeGrant'>,
): Promise<Answer> {
  const { KeyId, GrantId, DryRun } = request.params;
  const key = findKeyById(kms.facts, request.caller, KeyId);
  authorizeKey(kms, request, key);
  const grant = findGrant(kms, key, GrantId);
  if (!grant) throw grantNotFound(GrantId);
  if (DryRun) throw dryRun();
  return end(kms, request, key, grant);
}

export async function retireGrant(
  kms: KmsParts,
  request: KmsRequest<'RetireGrant'>,
): Promise<Answer> {
  const { caller, params } = request;
  const grant = findRetirable(kms, request);
  request.resource = grant.keyArn;
  requireRetirable(caller, grant, identityVerdict(kms, caller, 'kms:RetireGrant', grant.keyArn));
  const key = kms.facts.key(grant.account, grant.region, grant.key);
  if (!key) throw grantNotFound(grant.id);
  if (params.DryRun) throw dryRun();
  return end(kms, request, key, grant);
}

/** By its token, or by its key and its id. */
function findRetirable(kms: KmsParts, { caller, params }: KmsRequest<'RetireGrant'>): GrantFact {
  const { GrantToken, KeyId, GrantId } = params;
  if (GrantToken !== undefined) {
    if (KeyId !== undefined || GrantId !== undefined) {
      throw invalid('You must specify either a grant token or a key ID and a grant ID.');
    }
    const path = kms.grantTokens.read(GrantToken);
    const grant = kms.facts.grants.at(path);
    if (grant && grant.endedAt === undefined && grant.region === caller.region) return grant;
    throw grantNotFound(path.slice(path.lastIndexOf('/') + 1));
  }
  if (KeyId === undefined || GrantId === undefined) {
    throw invalid('You must specify either a grant token or a key ID and a grant ID.');
  }
  const key = findKeyById(kms.facts, caller, KeyId);
  const grant = findGrant(kms, key, GrantId);
  if (!grant) throw grantNotFound(GrantId);
  return grant;
}

/** One that has not ended. */
export function findGrant(kms: KmsParts, key: KeyFact, id: string): GrantFact | undefined {
  const path = KEYSPACE.kmsGrant(key.account, key.region, key.id, id as GrantId);
  const grant = kms.facts.grants.at(path);
  return grant?.endedAt === undefined ? grant : undefined;
}

const grantNotFound = (id: string): KeyspanError =>
  new KeyspanError('NotFoundException', `Grant ID ${id} not found`);

async function end(
  kms: KmsParts,
  { call }: { readonly call: Call },
  key: KeyFact,
  grant: GrantFact,
): Promise<Answer> {
  const part =
    kms.grantDelayMs === 0 ? removeGrant(grant) : endGrant(grant, civilSeconds(kms.clock));
  const revision = await kms.facts.commit(joinParts(part, ...overParts(kms, key, grant)));
  await kms.facts.shown(revision, call.deadline);
  return {};
}

/**
 * What goes with a key that is removed: for each of its grants the part of a commit that takes it
 * away, of one compare and at most two writes.
 */
export function* grantPieces(kms: KmsParts, key: KeyFact): Iterable<CommitPart> {
  const limit = LIMITS.store_commit_writes_max;
  for (let after: string | undefined; ;) {
    const page = kms.facts.grants.page(key, { after, limit });
    for (const grant of page) yield removeGrant(grant);
    if (page.length < limit) return;
    after = page.at(-1)?.id;
  }
}
