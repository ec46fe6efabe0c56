import type { Compare, CommitPart, Write } from '../core/commit.js';
import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { awsManagedDocument } from '../iam/aws-managed.js';
import type { Directory } from '../iam/directory.js';
import { parsePolicy } from '../iam/policy-document.js';
import {
  putManaged,
  unchanged,
  type ManagedFact,
  type PrincipalFact,
  type RoleFact,
  type UserFact,
} from '../iam/principal-records.js';
import type { GivenTags } from '../protocol/iam.js';

/** What IAM's actions work with. */
export interface IamParts {
  readonly directory: Directory;
  /** civil time in milliseconds since 1970 */
  readonly civil: () => number;
}

/** Users and roles: what is the same for both is written once. */
export type PrincipalKind = 'user' | 'role';

/** A request that names a user or a role. */
export type Named = { readonly UserName: string } | { readonly RoleName: string };
export const nameIn = (params: Named): string =>
  'UserName' in params ? params.UserName : params.RoleName;

export const civilSeconds = ({ civil }: IamParts): number => Math.floor(civil() / 1_000);
export const toDate = (seconds: number): Date => new Date(seconds * 1_000);

/** Policies stand in answers as in a URL (RFC 3986). */
export const encodePolicy = (text: string): string =>
  encodeURIComponent(text).replaceAll(
    /[!'()*]/g,
    (one) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`,
  );

export const noSuchEntity = (sentence: string): KeyspanError =>
  new KeyspanError('NoSuchEntity', sentence);
export const deleteConflict = (sentence: string): KeyspanError =>
  new KeyspanError('DeleteConflict', sentence);
export const exceeded = (sentence: string): KeyspanError =>
  new KeyspanError('LimitExceededException', sentence);

/** @throws NoSuchEntity */
export function userOf({ directory }: IamParts, account: string, name: string): UserFact {
  const user = directory.user(account, name);
  if (user) return user;
  throw noSuchEntity(`The user with name ${name} cannot be found.`);
}

/** @throws NoSuchEntity */
export function roleOf({ directory }: IamParts, account: string, name: string): RoleFact {
  const role = directory.role(account, name);
  if (role) return role;
  throw noSuchEntity(`The role with name ${name} cannot be found.`);
}

/** @throws NoSuchEntity */
export function principalOf(
  parts: IamParts,
  kind: PrincipalKind,
  account: string,
  name: string,
): PrincipalFact {
  return kind === 'user' ? userOf(parts, account, name) : roleOf(parts, account, name);
}

/** The ARN that a request is decided about: that of what is there, or of what would be. */
export function arnOf(
  { directory }: IamParts,
  kind: PrincipalKind,
  { account, name, path = '/' }: { account: string; name: string; path?: string | undefined },
): string {
  const fact = kind === 'user' ? directory.user(account, name) : directory.role(account, name);
  return fact?.arn ?? `arn:aws:iam::${account}:${kind}${path}${name}`;
}

/**
 * What a commit adds so that a managed policy that is being attached cannot be deleted meanwhile:
 * it is written again as it is.
 * @throws NoSuchEntity when the account has no such policy
 */
export function heldPolicy({ directory }: IamParts, account: string, arn: string): CommitPart {
  if (awsManagedDocument(arn)) return { compares: [], writes: [] };
  const policy = directory.managed(arn);
  if (policy?.account !== account) {
    throw noSuchEntity(`Policy ${arn} does not exist or is not attachable.`);
  }
  return { compares: [unchanged(policy)], writes: [putManaged(policy)] };
}

/** Those that a managed policy is attached to, and those that it bounds. */
export function usesOf(
  { directory }: IamParts,
  { account, arn }: Pick<ManagedFact, 'account' | 'arn'>,
): { readonly attachedTo: PrincipalFact[]; readonly bounds: PrincipalFact[] } {
  const all = [...directory.users(account), ...directory.roles(account)];
  return {
    attachedTo: all.filter(({ attached }) => attached.includes(arn)),
    bounds: all.filter(({ boundary }) => boundary === arn),
  };
}

export const part = (compares: Compare[], ...writes: Write[]): CommitPart => ({ compares, writes });

/** Quotas count a policy's characters without white space. */
export const policyLength = (text: string): number => text.replaceAll(/\s/g, '').length;

/** Checks a policy of users and roles. @throws MalformedPolicyDocumentException */
export function checkPolicy(text: string): void {
  parsePolicy(text, 'identity');
}

interface Tag {
  readonly key: string;
  readonly value: string;
}

/**
 * Tags with others added: those of the same key are overwritten. Keys differ in more than case.
 * @throws InvalidInput, LimitExceededException
 */
export function mergeTags(present: readonly Tag[], given: NonNullable<GivenTags>): Tag[] {
  const added = new Map(given.map(({ Key, Value }) => [Key.toLowerCase(), { Key, Value }]));
  if (added.size !== given.length) {
    const sentence = 'Duplicate tag keys found. Please note that Tag keys are case insensitive.';
    throw new KeyspanError('InvalidInput', sentence);
  }
  const kept = present.filter(({ key }) => !added.has(key.toLowerCase()));
  const merged = [...kept, ...given.map(({ Key, Value }) => ({ key: Key, value: Value }))];
  if (merged.length > LIMITS.iam_tags_max) {
    throw exceeded(`Cannot exceed quota for TagsPerResource: ${LIMITS.iam_tags_max}`);
  }
  return merged;
}

export const shownTags = (tags: readonly Tag[]): { Key: string; Value: string }[] =>
  tags.map(({ key, value }) => ({ Key: key, Value: value }));

/** Condition keys of the tags that a request brings. */
export function tagConditions(given: GivenTags = []): [string, readonly string[]][] {
  if (given.length === 0) return [];
  return [
    ['aws:tagkeys', given.map(({ Key }) => Key)],
    ...given.map(({ Key, Value }): [string, readonly string[]] => [
      `aws:requesttag/${Key.toLowerCase()}`,
      [Value],
    ]),
  ];
}

/** Condition keys of the tags that a user or role has. */
export const resourceConditions = (fact: PrincipalFact | undefined): [string, string[]][] =>
  (fact?.tags ?? []).flatMap(({ key, value }) => [
    [`aws:resourcetag/${key.toLowerCase()}`, [value]],
    [`iam:resourcetag/${key.toLowerCase()}`, [value]],
  ]);
