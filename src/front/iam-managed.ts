import { KeyspanError } from '../core/errors.js';
import { newPolicyId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import { awsManagedPolicy } from '../iam/aws-managed.js';
import {
  absent,
  defaultVersion,
  iamArn,
  putManaged,
  unchanged,
  type ManagedFact,
  type ManagedRecord,
} from '../iam/principal-records.js';
import { IAM_REQUESTS, type IamParams } from '../protocol/iam.js';
import type { AwsCaller } from './aws-service.js';
import {
  checkPolicy,
  civilSeconds,
  deleteConflict,
  encodePolicy,
  exceeded,
  mergeTags,
  noSuchEntity,
  part,
  policyLength,
  shownTags,
  tagConditions,
  toDate,
  usesOf,
  type IamParts,
} from './iam-facts.js';
import { pageOf } from './iam-pages.js';
import { action, type QueryActions, type QueryResult } from './query-service.js';

type Version = ManagedRecord['versions'][number];
interface OfPolicy {
  readonly PolicyArn: string;
}

/** Managed policies with their versions. AWS's own can be read and attached, not changed. */
export function managedActions(parts: IamParts): QueryActions {
  const resource = ({ PolicyArn }: OfPolicy): string => PolicyArn;
  return {
    CreatePolicy: action(IAM_REQUESTS.CreatePolicy, {
      resource: ({ PolicyName: name, Path: path = '/' }, { principal: { account } }) =>
        iamArn('policy', { account, path, name }),
      conditions: ({ Tags }) => tagConditions(Tags),
      run: (params, caller) => createPolicy(parts, params, caller),
    }),
    GetPolicy: action(IAM_REQUESTS.GetPolicy, {
      resource,
      run: ({ PolicyArn }, caller) => getPolicy(parts, PolicyArn, caller),
    }),
    DeletePolicy: action(IAM_REQUESTS.DeletePolicy, {
      resource,
      run: (params, caller) => deletePolicy(parts, params, caller),
    }),
    ListPolicies: action(IAM_REQUESTS.ListPolicies, {
      resource: ({ PathPrefix = '/' }, { principal }) =>
        `arn:aws:iam::${principal.account}:policy${PathPrefix}`,
      run: (params, caller) => listPolicies(parts, params, caller),
    }),
    GetPolicyVersion: action(IAM_REQUESTS.GetPolicyVersion, {
      resource,
      run: (params, caller) => getPolicyVersion(parts, params, caller),
    }),
    ListPolicyVersions: action(IAM_REQUESTS.ListPolicyVersions, {
      resource,
      run: (params, caller) => {
        const versions = managedOf(parts, params, caller).versions.toReversed();
        const { items, members } = pageOf(versions, {}, ({ id }) => id);
        return { Versions: items.map(describeVersion), ...members };
      },
    }),
    CreatePolicyVersion: action(IAM_REQUESTS.CreatePolicyVersion, {
      resource,
      run: (params, caller) => createPolicyVersion(parts, params, caller),
    }),
    DeletePolicyVersion: action(IAM_REQUESTS.DeletePolicyVersion, {
      resource,
      run: (params, caller) => deletePolicyVersion(parts, params, caller),
    }),
    SetDefaultPolicyVersion: action(IAM_REQUESTS.SetDefaultPolicyVersion, {
      resource,
      run: async (params, caller) => {
        await changeVersions(parts, params, caller, (policy) => {
          const { id } = versionOf(policy, params.VersionId);
          return withDefault(policy.versions, id);
        });
        return {};
      },
    }),
  };
}

/** A policy of the caller's account. @throws NoSuchEntity */
function managedOf(
  { directory }: IamParts,
  { PolicyArn }: OfPolicy,
  { principal }: AwsCaller,
): ManagedFact {
  const policy = directory.managed(PolicyArn);
  if (policy?.account === principal.account) return policy;
  throw noSuchEntity(`Policy ${PolicyArn} was not found.`);
}

function versionOf({ versions }: ManagedFact, id: string): Version {
  const version = versions.find((one) => one.id === id);
  if (version) return version;
  throw noSuchEntity(`Policy version ${id} was not found.`);
}

/** Members of a policy (IAM API, Policy). */
function describePolicy(parts: IamParts, policy: ManagedRecord): QueryResult {
  const arn = iamArn('policy', policy);
  const { attachedTo, bounds } = usesOf(parts, { account: policy.account, arn });
  return {
    PolicyName: policy.name,
    PolicyId: policy.id,
    Arn: arn,
    Path: policy.path,
    DefaultVersionId: defaultVersion(policy).id,
    AttachmentCount: attachedTo.length,
    PermissionsBoundaryUsageCount: bounds.length,
    IsAttachable: true,
    CreateDate: toDate(policy.createdAt),
    UpdateDate: toDate(policy.updatedAt),
  };
}

const describeVersion = ({ id, isDefault, createdAt }: Version): QueryResult => ({
  VersionId: id,
  IsDefaultVersion: isDefault,
  CreateDate: toDate(createdAt),
});

/** One of AWS's own, made up but for its name and what it says. */
const describeAws = (arn: string): QueryResult => ({
  PolicyName: arn.slice(arn.lastIndexOf('/') + 1),
  PolicyId: 'ANPAAAAAAAAAAAAAAAAAA',
  Arn: arn,
  Path: '/',
  DefaultVersionId: 'v1',
  AttachmentCount: 0,
  PermissionsBoundaryUsageCount: 0,
  IsAttachable: true,
  CreateDate: toDate(0),
  UpdateDate: toDate(0),
});

/** @throws MalformedPolicyDocumentException, LimitExceededException */
function checkManaged(text: string): void {
  checkPolicy(text);
  const max = LIMITS.iam_managed_policy_max_chars;
  if (policyLength(text) > max) throw exceeded(`Cannot exceed quota for PolicySize: ${max}`);
}

async function createPolicy(
  parts: IamParts,
  params: IamParams<'CreatePolicy'>,
  { principal: { account } }: AwsCaller,
): Promise<QueryResult> {
  const { directory } = parts;
  const {
    PolicyName: name,
    Path: path = '/',
    PolicyDocument: text,
    Description,
    Tags = [],
  } = params;
  checkManaged(text);
  const createdAt = civilSeconds(parts);
  const record: ManagedRecord = {
    id: newPolicyId(),
    account,
    name,
    path,
    createdAt,
    updatedAt: createdAt,
    tags: mergeTags([], Tags),
    versions: [{ id: 'v1', text, createdAt, isDefault: true }],
    nextVersion: 2,
    ...(Description !== undefined && { description: Description }),
  };
  await directory.change(() => {
    if (directory.managedNamed(account, name)) {
      const sentence = `A policy called ${name} already exists. Duplicate names are not allowed.`;
      throw new KeyspanError('EntityAlreadyExists', sentence);
    }
    if (directory.policies(account).length >= LIMITS.iam_policies_max) {
      throw exceeded(`Cannot exceed quota for PoliciesPerAccount: ${LIMITS.iam_policies_max}`);
    }
    const put = putManaged(record);
    return part([absent(put)], put);
  });
  const tags = Tags.length > 0 ? { Tags: shownTags(record.tags) } : {};
  return { Policy: { ...describePolicy(parts, record), ...tags } };
}

function getPolicy(parts: IamParts, arn: string, caller: AwsCaller): QueryResult {
  if (awsManagedPolicy(arn) !== undefined) return { Policy: describeAws(arn) };
  const policy = managedOf(parts, { PolicyArn: arn }, caller);
  const { description: Description, tags } = policy;
  return {
    Policy: {
      ...describePolicy(parts, policy),
      Description,
      ...(tags.length > 0 && { Tags: shownTags(tags) }),
    },
  };
}

function getPolicyVersion(
  parts: IamParts,
  params: IamParams<'GetPolicyVersion'>,
  caller: AwsCaller,
): QueryResult {
  const { PolicyArn, VersionId } = params;
  const text = VersionId === 'v1' ? awsManagedPolicy(PolicyArn) : undefined;
  const version: Version =
    text === undefined
      ? versionOf(managedOf(parts, params, caller), VersionId)
      : { id: VersionId, text, createdAt: 0, isDefault: true };
  return { PolicyVersion: { ...describeVersion(version), Document: encodePolicy(version.text) } };
}

function listPolicies(
  parts: IamParts,
  params: IamParams<'ListPolicies'>,
  { principal }: AwsCaller,
): QueryResult {
  const { PathPrefix = '/', Scope = 'All', OnlyAttached = false } = params;
  // AWS's own are hundreds, and these few are found by their ARNs
  const own = Scope === 'AWS' ? [] : parts.directory.policies(principal.account);
  const wanted = own
    .filter(({ path }) => path.startsWith(PathPrefix))
    .filter((policy) => !OnlyAttached || usesOf(parts, policy).attachedTo.length > 0);
  const { items, members } = pageOf(wanted, params, ({ name }) => name);
  return { Policies: items.map((policy) => describePolicy(parts, policy)), ...members };
}

async function deletePolicy(
  parts: IamParts,
  params: IamParams<'DeletePolicy'>,
  caller: AwsCaller,
): Promise<QueryResult> {
  await parts.directory.change(() => {
    const policy = managedOf(parts, params, caller);
    const { attachedTo, bounds } = usesOf(parts, policy);
    if (attachedTo.length > 0 || bounds.length > 0) {
      throw deleteConflict('Cannot delete a policy attached to entities.');
    }
    if (policy.versions.length > 1) {
      const sentence =
        'This policy has more than one version. ' +
        "Before you delete a policy, you must delete the policy's versions. " +
        'The default version is deleted with the policy.';
      throw deleteConflict(sentence);
    }
    return part([unchanged(policy)], { op: 'delete', key: policy.key });
  });
  return {};
}

async function createPolicyVersion(
  parts: IamParts,
  params: IamParams<'CreatePolicyVersion'>,
  caller: AwsCaller,
): Promise<QueryResult> {
  const { PolicyDocument: text, SetAsDefault: isDefault = false } = params;
  checkManaged(text);
  const createdAt = civilSeconds(parts);
  let made: Version | undefined;
  await changeVersions(parts, params, caller, (policy) => {
    const max = LIMITS.iam_policy_versions_max;
    if (policy.versions.length >= max) {
      throw exceeded(
        `A managed policy can have up to ${max} versions. ` +
          'Before you create a new version, you must delete an existing version.',
      );
    }
    made = { id: `v${policy.nextVersion}`, text, createdAt, isDefault };
    const versions = [...policy.versions, made];
    return isDefault ? withDefault(versions, made.id) : versions;
  });
  return { PolicyVersion: made && describeVersion(made) };
}

async function deletePolicyVersion(
  parts: IamParts,
  params: IamParams<'DeletePolicyVersion'>,
  caller: AwsCaller,
): Promise<QueryResult> {
  await changeVersions(parts, params, caller, (policy) => {
    const { id, isDefault } = versionOf(policy, params.VersionId);
    if (isDefault) throw deleteConflict('Cannot delete the default version of a policy.');
    return policy.versions.filter((one) => one.id !== id);
  });
  return {};
}

const withDefault = (versions: readonly Version[], id: string): Version[] =>
  versions.map((one) => ({ ...one, isDefault: one.id === id }));

async function changeVersions(
  parts: IamParts,
  params: OfPolicy,
  caller: AwsCaller,
  to: (policy: ManagedFact) => readonly Version[],
): Promise<void> {
  await parts.directory.change(() => {
    const policy = managedOf(parts, params, caller);
    const versions = to(policy);
    const isMore = versions.length > policy.versions.length;
    const nextVersion = policy.nextVersion + (isMore ? 1 : 0);
    const updatedAt = civilSeconds(parts);
    const put = putManaged({ ...policy, versions, nextVersion, updatedAt });
    return part([unchanged(policy)], put);
  });
}
