import { isAccount } from '../core/arn.js';
import type { Compare, Put } from '../core/commit.js';
import { LIMITS } from '../core/limits.js';
import {
  flag,
  id,
  int,
  list,
  number,
  object,
  oneOf,
  optional,
  text,
  type FormOf,
} from '../protocol/form.js';
import { KEYSPACE } from '../store/keyspace.js';
import type { Entry } from '../store/store.js';
import { decodeValue, encodeValue } from '../store/value.js';
import { parsePolicy, type PolicyDocument } from './policy-document.js';

/**
 * What accounts say of their users, roles and managed policies, as it stands in the store: one
 * value for each, and what a snapshot holds of it.
 */
const VERSION = 1;

const account = id<string>((value): value is string => isAccount(value));
const word = text({ max: 1_024 });
const content = text({ min: 0, max: LIMITS.iam_document_max_chars });
const arn = text({ max: 2_048 });
const tags = list(object({ key: word, value: text({ min: 0, max: 1_024 }) }), {
  max: LIMITS.iam_tags_max,
});

const common = {
  v: oneOf(VERSION),
  /** AIDA…, AROA…, ANPA…: another one when it is made again under the same name */
  id: word,
  account,
  name: word,
  /** begins and ends with a slash */
  path: word,
  /** civil time in seconds since 1970 */
  createdAt: number,
  tags,
};
const withPolicies = {
  ...common,
  /** inline ones, in the order of their names */
  policies: list(object({ name: word, text: content }), { max: LIMITS.iam_inline_policies_max }),
  /** ARNs of managed ones, in the order in which they were attached */
  attached: list(arn, { max: LIMITS.iam_inline_policies_max }),
  /** the ARN of the managed policy that bounds its permissions */
  boundary: optional(arn),
};
const userForm = object({
  ...withPolicies,
  /** ids, the oldest first; the keys themselves stand sealed */
  accessKeys: list(word, { max: 1_000 }),
});
const roleForm = object({
  ...withPolicies,
  /** who may assume it */
  trust: content,
  description: optional(content),
  maxSessionSeconds: int({ min: 1 }),
});
const managedForm = object({
  ...common,
  updatedAt: number,
  description: optional(content),
  /** the oldest first */
  versions: list(object({ id: word, text: content, createdAt: number, isDefault: flag }), {
    min: 1,
    max: LIMITS.iam_policy_versions_max,
  }),
  nextVersion: int({ min: 1 }),
});

export type UserRecord = Omit<FormOf<typeof userForm>, 'v'>;
export type RoleRecord = Omit<FormOf<typeof roleForm>, 'v'>;
export type ManagedRecord = Omit<FormOf<typeof managedForm>, 'v'>;

/** Where a fact stands, and what else is known of it by reading. */
interface Standing {
  readonly key: string;
  readonly modRevision: number;
  readonly arn: string;
  /** what its own policies say, in their order; compiled when first asked for */
  readonly documents: () => readonly PolicyDocument[];
}
export type UserFact = UserRecord & Standing & { readonly kind: 'user' };
export type RoleFact = RoleRecord & Standing & { readonly kind: 'role' };
export type ManagedFact = ManagedRecord & Standing & { readonly kind: 'policy' };
export type PrincipalFact = UserFact | RoleFact;
export type IamFact = PrincipalFact | ManagedFact;

export const iamArn = (
  kind: IamFact['kind'],
  { account: owner, path, name }: { account: string; path: string; name: string },
): string => `arn:aws:iam::${owner}:${kind}${path}${name}`;

/** @throws StoreCorrupt */
export function decodeIamFact(entry: Entry): IamFact {
  const [, kind] = entry.key.split('/');
  if (kind === 'user') {
    const record = decodeValue(entry.value, userForm);
    return { ...record, kind, ...standing(entry, iamArn(kind, record), inlineTexts(record)) };
  }
  if (kind === 'role') {
    const record = decodeValue(entry.value, roleForm);
    return { ...record, kind, ...standing(entry, iamArn(kind, record), inlineTexts(record)) };
  }
  const record = decodeValue(entry.value, managedForm);
  const current = [defaultVersion(record).text];
  return { ...record, kind: 'policy', ...standing(entry, iamArn('policy', record), current) };
}

function standing(entry: Entry, name: string, texts: readonly string[]): Standing {
  let documents: readonly PolicyDocument[] | undefined;
  const compile = (): readonly PolicyDocument[] =>
    (documents ??= texts.map((one) => parsePolicy(one, 'identity')));
  return { key: entry.key, modRevision: entry.modRevision, arn: name, documents: compile };
}

const inlineTexts = ({ policies }: UserRecord | RoleRecord): string[] =>
  policies.map((policy) => policy.text);

/** The version that counts. */
export function defaultVersion({ versions }: ManagedRecord): ManagedRecord['versions'][number] {
  const found = versions.find(({ isDefault }) => isDefault) ?? versions[0];
  if (!found) throw new Error('a managed policy has a version');
  return found;
}

/** What a commit compares so that a fact is still the one that was read. */
export const unchanged = ({ key, modRevision }: IamFact): Compare => ({ key, modRevision });

/** What a commit compares so that nothing of the name is there. */
export const absent = ({ key }: Put): Compare => ({ key, modRevision: null });

export const putUser = (record: UserRecord): Put => ({
  op: 'put',
  key: KEYSPACE.iamUser(record.account, record.name),
  value: encodeValue(VERSION, membersOf(record, USER_MEMBERS)),
});
export const putRole = (record: RoleRecord): Put => ({
  op: 'put',
  key: KEYSPACE.iamRole(record.account, record.name),
  value: encodeValue(VERSION, membersOf(record, ROLE_MEMBERS)),
});
export const putManaged = (record: ManagedRecord): Put => ({
  op: 'put',
  key: KEYSPACE.iamPolicy(record.account, record.name),
  value: encodeValue(VERSION, membersOf(record, MANAGED_MEMBERS)),
});

/** A user or role with other members. */
export type PrincipalChange = Partial<
  Pick<UserRecord, 'policies' | 'attached' | 'boundary' | 'tags'>
>;
export const putPrincipal = (fact: PrincipalFact, change: PrincipalChange): Put =>
  fact.kind === 'user' ? putUser({ ...fact, ...change }) : putRole({ ...fact, ...change });

const COMMON = ['id', 'account', 'name', 'path', 'createdAt', 'tags'] as const;
const WITH_POLICIES = [...COMMON, 'policies', 'attached', 'boundary'] as const;
const USER_MEMBERS = [...WITH_POLICIES, 'accessKeys'] as const;
const ROLE_MEMBERS = [...WITH_POLICIES, 'trust', 'description', 'maxSessionSeconds'] as const;
const MANAGED_MEMBERS = [...COMMON, 'updatedAt', 'description', 'versions', 'nextVersion'] as const;

/** A fact is a record with more about it: that does not go into the store. */
function membersOf<T extends object>(record: T, names: readonly (keyof T)[]): Partial<T> {
  const members: Partial<T> = {};
  for (const name of names) if (record[name] !== undefined) members[name] = record[name];
  return members;
}
