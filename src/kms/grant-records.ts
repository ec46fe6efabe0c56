import { createHash } from 'node:crypto';
import { isAccount, isRegion, keyArn } from '../core/arn.js';
import { assert } from '../core/assert.js';
import type { CommitPart } from '../core/commit.js';
import { isGrantId, isKmsKeyId, type GrantId, type KmsKeyId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import {
  id,
  list,
  number,
  object,
  oneOf,
  optional,
  text,
  tuple,
  type FormOf,
} from '../protocol/form.js';
import { GRANT_OPERATIONS } from '../protocol/kms-members.js';
import { KEYSPACE } from '../store/keyspace.js';
import type { Entry } from '../store/store.js';
import { decodeValue, encodeValue } from '../store/value.js';

/** Grants as they stand in the store, and what a snapshot holds of them. */
const GRANT_VERSION = 1;
const NAME_VERSION = 1;

const principal = text({ max: 256 });
const content = text({ min: 0, max: LIMITS.kms_grant_pair_max_chars });
/** names of a context have no bound but that of the request */
const pairs = list(tuple(text({ min: 0, max: LIMITS.request_size_max_bytes }), content), {
  max: LIMITS.kms_grant_pairs_max,
});
const constraints = object({
  equals: optional(pairs),
  subset: optional(pairs),
  sourceArn: optional(text({ max: 512 })),
});
/** civil time in seconds since 1970 */
const time = number;

const grantMembers = {
  v: oneOf(GRANT_VERSION),
  id: id<GrantId>(isGrantId),
  key: id<KmsKeyId>(isKmsKeyId),
  name: optional(text({ max: 256 })),
  /** the ARN of an account's root, a user, a role or a session; one of the two is there */
  grantee: optional(principal),
  granteeService: optional(principal),
  retiring: optional(principal),
  retiringService: optional(principal),
  /** in AWS's order, each once */
  operations: list(oneOf(...GRANT_OPERATIONS), { min: 1, max: GRANT_OPERATIONS.length }),
  constraints,
  /** the root of the account that made it */
  issuer: principal,
  createdAt: time,
  /** it was retired or revoked, where that takes its time to show */
  endedAt: optional(time),
};
const grantRecord = object(grantMembers);
const GRANT_MEMBERS = Object.keys(grantMembers).filter((member) => member !== 'v');
export type GrantRecord = Omit<FormOf<typeof grantRecord>, 'v'>;

/** What a grant says: all but who made it, and when. */
export type GrantTerms = Omit<GrantRecord, 'id' | 'key' | 'issuer' | 'createdAt' | 'endedAt'>;

export interface GrantFact extends GrantRecord {
  readonly kind: 'grant';
  readonly account: string;
  readonly region: string;
  /** where it stands in the store, and the revision that a change compares with */
  readonly path: string;
  readonly modRevision: number;
  readonly keyArn: string;
}

/** It leaves out what a fact has beyond its record. */
export function encodeGrant(grant: GrantRecord): Uint8Array {
  const members = GRANT_MEMBERS.map((name) => [name, grant[name as keyof GrantRecord]] as const);
  const record = Object.fromEntries(members.filter(([, value]) => value !== undefined));
  grantRecord({ v: GRANT_VERSION, ...record });
  return encodeValue(GRANT_VERSION, record);
}

/** @throws StoreCorrupt */
export function decodeGrant(entry: Entry): GrantFact {
  const { v: _, ...grant } = decodeValue(entry.value, grantRecord);
  const [, , account = '', region = ''] = entry.key.split('/');
  assert(isAccount(account) && isRegion(region), 'a grant stands in an account and a region');
  const path = KEYSPACE.kmsGrant(account, region, grant.key, grant.id);
  assert(path === entry.key, 'a grant stands where its record says');
  const { modRevision } = entry;
  return {
    ...grant,
    kind: 'grant',
    account,
    region,
    path,
    modRevision,
    keyArn: keyArn(region, account, grant.key),
  };
}

/** What is the same in two requests that shall make one grant. A grant without a name has none. */
export function digestOf(terms: GrantTerms): string | undefined {
  if (terms.name === undefined) return undefined;
  const { equals, subset, sourceArn } = terms.constraints;
  const sorted = (given: typeof equals): typeof equals =>
    given?.toSorted(([a], [b]) => (a < b ? -1 : 1));
  const same = [
    terms.name,
    terms.grantee ?? null,
    terms.granteeService ?? null,
    terms.retiring ?? null,
    terms.retiringService ?? null,
    terms.operations,
    sorted(equals) ?? null,
    sorted(subset) ?? null,
    sourceArn ?? null,
  ];
  return createHash('sha256').update(JSON.stringify(same)).digest('hex');
}

/** Where a key of a grant is. */
interface KeyOfGrant {
  readonly account: string;
  readonly region: string;
}

/**
 * The part of a commit that makes a grant. Its name is written down beside it, so that of two
 * that make the same one at once, on whichever daemons, one wins.
 */
export function addGrant(at: KeyOfGrant, grant: GrantRecord): CommitPart {
  const path = KEYSPACE.kmsGrant(at.account, at.region, grant.key, grant.id);
  const part: CommitPart = {
    compares: [{ key: path, modRevision: null }],
    writes: [{ op: 'put', key: path, value: encodeGrant(grant) }],
  };
  const name = namePath(at, grant);
  if (name === undefined) return part;
  const value = encodeValue(NAME_VERSION, { grant: grant.id });
  return {
    compares: [...part.compares, { key: name, modRevision: null }],
    writes: [...part.writes, { op: 'put', key: name, value }],
  };
}

/** The part of a commit that takes a grant away at once: one compare, at most two writes. */
export function removeGrant(grant: GrantFact): CommitPart {
  return {
    compares: [{ key: grant.path, modRevision: grant.modRevision }],
    writes: [{ op: 'delete', key: grant.path }, ...freeName(grant)],
  };
}

/** The part of a commit that ends a grant, whose end takes its time to show. */
export function endGrant(grant: GrantFact, endedAt: number): CommitPart {
  return {
    compares: [{ key: grant.path, modRevision: grant.modRevision }],
    writes: [
      { op: 'put', key: grant.path, value: encodeGrant({ ...grant, endedAt }) },
      ...freeName(grant),
    ],
  };
}

/** One that ended gave its name up then: another grant may have it now. */
function freeName(grant: GrantFact): CommitPart['writes'] {
  const name = grant.endedAt === undefined ? namePath(grant, grant) : undefined;
  return name === undefined ? [] : [{ op: 'delete', key: name }];
}

function namePath(at: KeyOfGrant, grant: GrantRecord): string | undefined {
  const digest = digestOf(grant);
  if (digest === undefined) return undefined;
  return KEYSPACE.kmsGrantName(at.account, at.region, grant.key, digest);
}
