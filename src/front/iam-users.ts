import { KeyspanError } from '../core/errors.js';
import { newUserId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import { absent, iamArn, putUser, unchanged, type UserFact } from '../iam/principal-records.js';
import { IAM_REQUESTS, type IamParams } from '../protocol/iam.js';
import type { AwsCaller } from './aws-service.js';
import {
  arnOf,
  civilSeconds,
  deleteConflict,
  exceeded,
  heldPolicy,
  mergeTags,
  noSuchEntity,
  part,
  resourceConditions,
  shownTags,
  tagConditions,
  toDate,
  userOf,
  type IamParts,
} from './iam-facts.js';
import { pageOf } from './iam-pages.js';
import { action, type Conditions, type QueryActions, type QueryResult } from './query-service.js';

/** Members of a user (IAM API, User). */
export const describeUser = (user: UserFact): QueryResult => ({
  Path: user.path,
  UserName: user.name,
  UserId: user.id,
  Arn: user.arn,
  CreateDate: toDate(user.createdAt),
  PermissionsBoundary: describeBoundary(user.boundary),
});

export const describeBoundary = (arn: string | undefined): QueryResult | undefined =>
  arn === undefined
    ? undefined
    : { PermissionsBoundaryType: 'PermissionsBoundaryPolicy', PermissionsBoundaryArn: arn };

export function userActions(parts: IamParts): QueryActions {
  const own = ({ UserName: name }: { UserName: string }, { principal }: AwsCaller): string =>
    arnOf(parts, 'user', { account: principal.account, name });
  const conditions = ({ UserName }: { UserName: string }, { principal }: AwsCaller): Conditions =>
    resourceConditions(parts.directory.user(principal.account, UserName));
  const nothing = (members: QueryResult) => {
    return ({ UserName }: { UserName: string }, { principal }: AwsCaller): QueryResult => {
      userOf(parts, principal.account, UserName);
      return members;
    };
  };
  return {
    CreateUser: action(IAM_REQUESTS.CreateUser, {
      resource: ({ UserName: name, Path: path }, { principal: { account } }) =>
        arnOf(parts, 'user', { account, name, path }),
      conditions: ({ Tags, PermissionsBoundary }) => [
        ...tagConditions(Tags),
        ...boundaryCondition(PermissionsBoundary),
      ],
      run: (params, caller) => createUser(parts, params, caller),
    }),
    GetUser: action(IAM_REQUESTS.GetUser, {
      resource: ({ UserName }, caller) =>
        UserName === undefined ? caller.principal.arn : own({ UserName }, caller),
      run: (params, caller) => getUser(parts, params, caller),
    }),
    DeleteUser: action(IAM_REQUESTS.DeleteUser, {
      resource: own,
      conditions,
      run: (params, caller) => deleteUser(parts, params, caller),
    }),
    ListUsers: action(IAM_REQUESTS.ListUsers, {
      resource: ({ PathPrefix = '/' }, { principal }) =>
        `arn:aws:iam::${principal.account}:user${PathPrefix}`,
      run: (params, { principal }) => {
        const { PathPrefix = '/' } = params;
        const all = parts.directory.users(principal.account);
        const wanted = all.filter(({ path }) => path.startsWith(PathPrefix));
        const { items, members } = pageOf(wanted, params, ({ name }) => name);
        return { Users: items.map(describeUser), ...members };
      },
    }),
    ListGroupsForUser: action(IAM_REQUESTS.ListGroupsForUser, {
      resource: own,
      run: nothing({ Groups: [], IsTruncated: false }),
    }),
    GetLoginProfile: action(IAM_REQUESTS.GetLoginProfile, {
      resource: own,
      run: (params, caller) => {
        userOf(parts, caller.principal.account, params.UserName);
        throw noSuchEntity(`Login Profile for User ${params.UserName} cannot be found.`);
      },
    }),
    ...credentialLists(parts),
  };
}

/** What a user could log in with at AWS, and nobody has here: what deletes users asks for it. */
function credentialLists(parts: IamParts): QueryActions {
  const empty = (
    members:
      | typeof IAM_REQUESTS.ListMFADevices
      | typeof IAM_REQUESTS.ListSSHPublicKeys
      | typeof IAM_REQUESTS.ListServiceSpecificCredentials,
    result: QueryResult,
  ) =>
    action(members, {
      resource: ({ UserName: name }, { principal: { account, arn } }) =>
        name === undefined ? arn : arnOf(parts, 'user', { account, name }),
      run: ({ UserName }, { principal }) => {
        if (UserName !== undefined) userOf(parts, principal.account, UserName);
        return result;
      },
    });
  return {
    ListMFADevices: empty(IAM_REQUESTS.ListMFADevices, { MFADevices: [], IsTruncated: false }),
    ListSSHPublicKeys: empty(IAM_REQUESTS.ListSSHPublicKeys, {
      SSHPublicKeys: [],
      IsTruncated: false,
    }),
    ListServiceSpecificCredentials: empty(IAM_REQUESTS.ListServiceSpecificCredentials, {
      ServiceSpecificCredentials: [],
    }),
    ListSigningCertificates: empty(IAM_REQUESTS.ListSigningCertificates, {
      Certificates: [],
      IsTruncated: false,
    }),
  };
}

export const boundaryCondition = (arn: string | undefined): [string, string[]][] =>
  arn === undefined ? [] : [['iam:permissionsboundary', [arn]]];

async function createUser(
  parts: IamParts,
  { UserName: name, Path: path = '/', Tags = [], PermissionsBoundary }: IamParams<'CreateUser'>,
  { principal: { account } }: AwsCaller,
): Promise<QueryResult> {
  const { directory } = parts;
  const record = {
    id: newUserId(),
    account,
    name,
    path,
    createdAt: civilSeconds(parts),
    tags: mergeTags([], Tags),
    policies: [],
    attached: [],
    accessKeys: [],
    ...(PermissionsBoundary !== undefined && { boundary: PermissionsBoundary }),
  };
  await directory.change(() => {
    if (directory.user(account, name)) {
      throw new KeyspanError('EntityAlreadyExists', `User with name ${name} already exists.`);
    }
    if (directory.users(account).length >= LIMITS.iam_users_max) {
      throw exceeded(`Cannot exceed quota for UsersPerAccount: ${LIMITS.iam_users_max}`);
    }
    const held =
      PermissionsBoundary === undefined
        ? part([])
        : heldPolicy(parts, account, PermissionsBoundary);
    const put = putUser(record);
    return part([...held.compares, absent(put)], ...held.writes, put);
  });
  const User = {
    Path: path,
    UserName: name,
    UserId: record.id,
    Arn: iamArn('user', record),
    CreateDate: toDate(record.createdAt),
    PermissionsBoundary: describeBoundary(PermissionsBoundary),
    ...(Tags.length > 0 && { Tags: shownTags(record.tags) }),
  };
  return { User };
}

/** The caller itself where none is named, as at AWS; its root has no name. */
function getUser(
  parts: IamParts,
  { UserName }: IamParams<'GetUser'>,
  { principal }: AwsCaller,
): QueryResult {
  const { account, arn, type } = principal;
  if (UserName === undefined && type === 'Account') {
    return { User: { Path: '/', UserId: account, Arn: arn, CreateDate: toDate(0) } };
  }
  if (UserName === undefined && type !== 'User') {
    const sentence = 'Must specify userName when calling with non-User credentials';
    throw new KeyspanError('ValidationException', sentence);
  }
  const user = userOf(parts, account, UserName ?? arn.slice(arn.lastIndexOf('/') + 1));
  const tags = user.tags.length > 0 ? { Tags: shownTags(user.tags) } : {};
  return { User: { ...describeUser(user), ...tags } };
}

async function deleteUser(
  parts: IamParts,
  { UserName }: IamParams<'DeleteUser'>,
  { principal }: AwsCaller,
): Promise<QueryResult> {
  await parts.directory.change(() => {
    const user = userOf(parts, principal.account, UserName);
    const must = 'Cannot delete entity, must';
    if (user.accessKeys.length > 0) throw deleteConflict(`${must} delete access keys first.`);
    if (user.policies.length > 0) throw deleteConflict(`${must} delete policies first.`);
    if (user.attached.length > 0) throw deleteConflict(`${must} detach all policies first.`);
    return part([unchanged(user)], { op: 'delete', key: user.key });
  });
  return {};
}
