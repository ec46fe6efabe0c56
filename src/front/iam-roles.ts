import type { CommitPart } from '../core/commit.js';
import { KeyspanError } from '../core/errors.js';
import { newRoleId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import {
  absent,
  iamArn,
  putRole,
  unchanged,
  type RoleFact,
  type RoleRecord,
} from '../iam/principal-records.js';
import { trustPolicy } from '../iam/trust-policy.js';
import { IAM_REQUESTS, type IamParams } from '../protocol/iam.js';
import type { AwsCaller } from './aws-service.js';
import {
  arnOf,
  civilSeconds,
  deleteConflict,
  encodePolicy,
  exceeded,
  heldPolicy,
  mergeTags,
  part,
  policyLength,
  resourceConditions,
  roleOf,
  shownTags,
  tagConditions,
  toDate,
  type IamParts,
} from './iam-facts.js';
import { pageOf } from './iam-pages.js';
import { boundaryCondition, describeBoundary } from './iam-users.js';
import { action, type Conditions, type QueryActions, type QueryResult } from './query-service.js';

const SESSION_SECONDS = 3_600;

/** Members of a role (IAM API, Role). */
const describeRole = (role: RoleRecord): QueryResult => ({
  Path: role.path,
  RoleName: role.name,
  RoleId: role.id,
  Arn: iamArn('role', role),
  CreateDate: toDate(role.createdAt),
  AssumeRolePolicyDocument: encodePolicy(role.trust),
  Description: role.description,
  MaxSessionDuration: role.maxSessionSeconds,
  PermissionsBoundary: describeBoundary(role.boundary),
});

/** As GetRole shows it. */
const describeWhole = (role: RoleRecord): QueryResult => ({
  ...describeRole(role),
  RoleLastUsed: {},
  ...(role.tags.length > 0 && { Tags: shownTags(role.tags) }),
});

interface OfRole {
  readonly RoleName: string;
}

export function roleActions(parts: IamParts): QueryActions {
  const own = ({ RoleName: name }: OfRole, { principal }: AwsCaller): string =>
    arnOf(parts, 'role', { account: principal.account, name });
  const conditions = ({ RoleName }: OfRole, { principal }: AwsCaller): Conditions =>
    resourceConditions(parts.directory.role(principal.account, RoleName));
  const stands = { resource: own, conditions };
  return {
    CreateRole: action(IAM_REQUESTS.CreateRole, {
      resource: ({ RoleName: name, Path: path }, { principal: { account } }) =>
        arnOf(parts, 'role', { account, name, path }),
      conditions: ({ Tags, PermissionsBoundary }) => [
        ...tagConditions(Tags),
        ...boundaryCondition(PermissionsBoundary),
      ],
      run: (params, caller) => createRole(parts, params, caller),
    }),
    GetRole: action(IAM_REQUESTS.GetRole, {
      ...stands,
      run: ({ RoleName }, { principal }) => ({
        Role: describeWhole(roleOf(parts, principal.account, RoleName)),
      }),
    }),
    DeleteRole: action(IAM_REQUESTS.DeleteRole, {
      ...stands,
      run: (params, caller) => deleteRole(parts, params, caller),
    }),
    ListRoles: action(IAM_REQUESTS.ListRoles, {
      resource: ({ PathPrefix = '/' }, { principal }) =>
        `arn:aws:iam::${principal.account}:role${PathPrefix}`,
      run: (params, { principal }) => {
        const { PathPrefix = '/' } = params;
        const all = parts.directory.roles(principal.account);
        const wanted = all.filter(({ path }) => path.startsWith(PathPrefix));
        const { items, members } = pageOf(wanted, params, ({ name }) => name);
        return { Roles: items.map(describeRole), ...members };
      },
    }),
    ListInstanceProfilesForRole: action(IAM_REQUESTS.ListInstanceProfilesForRole, {
      ...stands,
      run: ({ RoleName }, { principal }) => {
        roleOf(parts, principal.account, RoleName);
        return { InstanceProfiles: [], IsTruncated: false };
      },
    }),
    UpdateAssumeRolePolicy: action(IAM_REQUESTS.UpdateAssumeRolePolicy, {
      ...stands,
      run: async ({ RoleName, PolicyDocument: trust }, { principal }) => {
        checkTrust(trust);
        await changeRole(parts, principal.account, RoleName, { trust });
        return {};
      },
    }),
    UpdateRole: action(IAM_REQUESTS.UpdateRole, {
      ...stands,
      run: async ({ RoleName, Description, MaxSessionDuration }, { principal }) => {
        await changeRole(parts, principal.account, RoleName, {
          ...(Description !== undefined && { description: Description }),
          ...(MaxSessionDuration !== undefined && { maxSessionSeconds: MaxSessionDuration }),
        });
        // the one change whose answer has an element without members
        return { UpdateRoleResult: {} };
      },
    }),
  };
}

/** @throws MalformedPolicyDocumentException, LimitExceededException */
function checkTrust(text: string): void {
  trustPolicy(text);
  const max = LIMITS.iam_trust_policy_max_chars;
  if (policyLength(text) > max) throw exceeded(`Cannot exceed quota for ACLSizePerRole: ${max}`);
}

async function changeRole(
  parts: IamParts,
  account: string,
  name: string,
  change: Partial<RoleRecord>,
): Promise<void> {
  await parts.directory.change(() => {
    const role = roleOf(parts, account, name);
    return part([unchanged(role)], putRole({ ...role, ...change }));
  });
}

async function createRole(
  parts: IamParts,
  params: IamParams<'CreateRole'>,
  { principal: { account } }: AwsCaller,
): Promise<QueryResult> {
  const { directory } = parts;
  const { RoleName: name, Description, PermissionsBoundary: boundary } = params;
  checkTrust(params.AssumeRolePolicyDocument);
  const record: RoleRecord = {
    id: newRoleId(),
    account,
    name,
    path: params.Path ?? '/',
    createdAt: civilSeconds(parts),
    tags: mergeTags([], params.Tags ?? []),
    policies: [],
    attached: [],
    trust: params.AssumeRolePolicyDocument,
    maxSessionSeconds: params.MaxSessionDuration ?? SESSION_SECONDS,
    ...(Description !== undefined && { description: Description }),
    ...(boundary !== undefined && { boundary }),
  };
  await directory.change((): CommitPart => {
    if (directory.role(account, name)) {
      throw new KeyspanError('EntityAlreadyExists', `Role with name ${name} already exists.`);
    }
    if (directory.roles(account).length >= LIMITS.iam_roles_max) {
      throw exceeded(`Cannot exceed quota for RolesPerAccount: ${LIMITS.iam_roles_max}`);
    }
    const held = boundary === undefined ? part([]) : heldPolicy(parts, account, boundary);
    const put = putRole(record);
    return part([...held.compares, absent(put)], ...held.writes, put);
  });
  const tags = record.tags.length > 0 ? { Tags: shownTags(record.tags) } : {};
  return { Role: { ...describeRole(record), ...tags } };
}

async function deleteRole(
  parts: IamParts,
  { RoleName }: OfRole,
  { principal }: AwsCaller,
): Promise<QueryResult> {
  await parts.directory.change(() => {
    const role: RoleFact = roleOf(parts, principal.account, RoleName);
    const must = 'Cannot delete entity, must';
    if (role.policies.length > 0) throw deleteConflict(`${must} delete policies first.`);
    if (role.attached.length > 0) throw deleteConflict(`${must} detach all policies first.`);
    return part([unchanged(role)], { op: 'delete', key: role.key });
  });
  return {};
}
