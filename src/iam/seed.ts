import { rootArn } from '../core/arn.js';
import type { CommitPart, Compare, Write } from '../core/commit.js';
import { KeyspanError } from '../core/errors.js';
import { newPolicyId, newRoleId, newUserId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import { isAccessKeyId, isSecretAccessKey } from './credentials.js';
import type { Directory } from './directory.js';
import { parsePolicy } from './policy-document.js';
import { parsePrincipal } from './principal.js';
import {
  iamArn,
  putManaged,
  putRole,
  putUser,
  type ManagedRecord,
  type RoleRecord,
  type UserRecord,
} from './principal-records.js';
import { trustPolicy } from './trust-policy.js';

interface SeededPolicy {
  readonly name: string;
  readonly text: string;
}

interface Seeded {
  readonly account: string;
  readonly name: string;
  /** begins and ends with a slash; `/` unless given */
  readonly path?: string | undefined;
  readonly tags?: readonly { readonly key: string; readonly value: string }[] | undefined;
}

interface SeededPrincipal extends Seeded {
  /** inline ones */
  readonly policies?: readonly SeededPolicy[] | undefined;
  /** ARNs of managed ones */
  readonly attached?: readonly string[] | undefined;
  /** the ARN of a managed one */
  readonly boundary?: string | undefined;
}

interface SeededKey {
  readonly id: string;
  readonly secret: string;
}

export interface SeededUser extends SeededPrincipal {
  readonly accessKeys?: readonly SeededKey[] | undefined;
}

/** Access keys of an account's root. */
export interface SeededRoot {
  readonly account: string;
  readonly accessKeys: readonly SeededKey[];
}

export interface SeededRole extends SeededPrincipal {
  readonly trust: string;
  readonly description?: string | undefined;
  readonly maxSessionSeconds?: number | undefined;
}

export interface SeededManaged extends Seeded {
  readonly text: string;
}

/** What an installation is to begin with. */
export interface PrincipalSeed {
  readonly roots?: readonly SeededRoot[] | undefined;
  readonly policies?: readonly SeededManaged[] | undefined;
  readonly users?: readonly SeededUser[] | undefined;
  readonly roles?: readonly SeededRole[] | undefined;
}

/** What one item of a seed comes to: nothing when it stands already as it is wanted. */
interface Step {
  readonly compares: readonly Compare[];
  readonly writes: readonly Write[];
}

const NONE: Step = { compares: [], writes: [] };
const SESSION_SECONDS = 3_600;

/**
 * Makes accounts' managed policies, users and roles, and the access keys of users, in few commits.
 * What is there already becomes what the seed says and keeps its id; what the seed does not name
 * stays. A second time it changes nothing.
 * @param createdAt civil time in seconds since 1970
 * @throws MalformedPolicyDocumentException, ValidationException, EntityAlreadyExists for an access
 * key that is another's
 */
export async function seedPrincipals(
  directory: Directory,
  seed: PrincipalSeed,
  createdAt: number,
): Promise<void> {
  const { roots = [], policies = [], users = [], roles = [] } = seed;
  const steps = [
    ...roots.flatMap(({ account, accessKeys }) =>
      accessKeys.map((key) => () => keyStep(directory, rootArn(account), { ...key, createdAt })),
    ),
    ...policies.map((one) => () => managedStep(directory, one, createdAt)),
    ...users.map((one) => () => userStep(directory, one, createdAt)),
    ...roles.map((one) => () => roleStep(directory, one, createdAt)),
  ];
  let at = 0;
  while (at < steps.length) {
    let taken = 0;
    await directory.change(() => {
      const { part, count } = gather(steps.slice(at));
      taken = count;
      return part;
    });
    at += taken;
  }
}

/** As many steps as one commit takes. */
function gather(steps: readonly (() => Step)[]): { part: CommitPart; count: number } {
  const compares: Compare[] = [];
  const writes: Write[] = [];
  let count = 0;
  for (const step of steps) {
    const { compares: more, writes: those } = step();
    const size = Math.max(compares.length + more.length, writes.length + those.length);
    if (count > 0 && size > LIMITS.store_commit_writes_max) break;
    compares.push(...more);
    writes.push(...those);
    count += 1;
  }
  return { part: { compares, writes }, count };
}

const sameAs = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);
const identified = ({ account, name, path = '/' }: Seeded) => ({ account, name, path });

function managedStep(directory: Directory, given: SeededManaged, createdAt: number): Step {
  parsePolicy(given.text, 'identity');
  const present = directory.managedNamed(given.account, given.name);
  const { text, tags = [] } = given;
  if (present) {
    const { versions, path } = present;
    const isCurrent = versions.some((one) => one.isDefault && one.text === text);
    if (isCurrent && sameAs([path, present.tags], [given.path ?? '/', tags])) return NONE;
  }
  const record: ManagedRecord = {
    ...identified(given),
    id: present?.id ?? newPolicyId(),
    createdAt: present?.createdAt ?? createdAt,
    updatedAt: createdAt,
    tags,
    versions: [{ id: 'v1', text, createdAt, isDefault: true }],
    nextVersion: 2,
  };
  return stepOf(putManaged(record), present?.modRevision);
}

function userStep(directory: Directory, given: SeededUser, createdAt: number): Step {
  const { accessKeys = [] } = given;
  const present = directory.user(given.account, given.name);
  const record: UserRecord = {
    ...principalRecord(given),
    id: present?.id ?? newUserId(),
    createdAt: present?.createdAt ?? createdAt,
    accessKeys: [...new Set([...(present?.accessKeys ?? []), ...accessKeys.map(({ id }) => id)])],
  };
  const arn = iamArn('user', record);
  const keys = accessKeys.map((key) => keyStep(directory, arn, { ...key, createdAt }));
  const put = putUser(record);
  const isThere = present !== undefined && sameBytes(putUser(present), put);
  const own = isThere ? NONE : stepOf(put, present?.modRevision);
  return {
    compares: [...own.compares, ...keys.flatMap((one) => one.compares)],
    writes: [...own.writes, ...keys.flatMap((one) => one.writes)],
  };
}

function keyStep(
  { keys }: Directory,
  arn: string,
  { id, secret, createdAt }: SeededKey & { readonly createdAt: number },
): Step {
  if (!isAccessKeyId(id) || !isSecretAccessKey(secret)) {
    const sentence = `The access key ${id} has an id or a secret of a wrong form.`;
    throw new KeyspanError('ValidationException', sentence);
  }
  const principal = parsePrincipal(arn);
  const present = keys.held(id);
  if (present && present.value.principal.arn !== principal.arn) {
    throw new KeyspanError('EntityAlreadyExists', `The access key ${id} is another principal's.`);
  }
  const bytes = Buffer.from(secret, 'utf8');
  if (present && bytes.equals(present.value.secret)) return NONE;
  const put = keys.put({ id, secret: bytes, principal, active: true, createdAt });
  return stepOf(put, present?.modRevision);
}

function roleStep(directory: Directory, given: SeededRole, createdAt: number): Step {
  const { trust, description, maxSessionSeconds = SESSION_SECONDS } = given;
  trustPolicy(trust);
  const present = directory.role(given.account, given.name);
  const record: RoleRecord = {
    ...principalRecord(given),
    id: present?.id ?? newRoleId(),
    createdAt: present?.createdAt ?? createdAt,
    trust,
    maxSessionSeconds,
    ...(description !== undefined && { description }),
  };
  const put = putRole(record);
  if (present && sameBytes(putRole(present), put)) return NONE;
  return stepOf(put, present?.modRevision);
}

function principalRecord(given: SeededPrincipal) {
  const { policies = [], attached = [], boundary, tags = [] } = given;
  for (const { text } of policies) parsePolicy(text, 'identity');
  return {
    ...identified(given),
    tags,
    policies: policies.map(({ name, text }) => ({ name, text })),
    attached,
    ...(boundary !== undefined && { boundary }),
  };
}

const stepOf = (put: Write & { op: 'put' }, modRevision: number | undefined): Step => ({
  compares: [{ key: put.key, modRevision: modRevision ?? null }],
  writes: [put],
});

const sameBytes = (a: { value: Uint8Array }, b: { value: Uint8Array }): boolean =>
  Buffer.compare(a.value, b.value) === 0;
