import {
  BOOLEAN,
  integer,
  list,
  oneOf,
  pattern,
  required,
  string,
  structure,
  type Members,
  type ParamsOf,
} from './aws-shapes.js';

/** The members of IAM's requests (IAM API, 2010-05-08), of the actions that are built. */

const NAME = pattern('[\\w+=,.@-]+');
const NEW_USER = string({ min: 1, max: 64, pattern: NAME });
const USER = string({ min: 1, max: 128, pattern: NAME });
const ROLE = string({ min: 1, max: 64, pattern: NAME });
const POLICY = string({ min: 1, max: 128, pattern: NAME });
const PATH = string({
  min: 1,
  max: 512,
  pattern: pattern('(\\u002F)|(\\u002F[\\u0021-\\u007F]+\\u002F)'),
});
const PREFIX = string({ min: 1, max: 512, pattern: pattern('\\u002F[\\u0021-\\u007F]*') });
const POLICY_PATH = string({
  min: 1,
  max: 512,
  pattern: pattern('((/[A-Za-z0-9\\.,\\+@=_-]+)*)/'),
});
const ARN = string({ min: 20, max: 2_048 });
const DOCUMENT = string({
  min: 1,
  max: 131_072,
  pattern: pattern('[\\u0009\\u000A\\u000D\\u0020-\\u00FF]+'),
});
const ACCESS_KEY = string({ min: 16, max: 128, pattern: pattern('[\\w]+') });
const ROLE_DESCRIPTION = string({
  max: 1_000,
  pattern: pattern('[\\p{L}\\p{M}\\p{Z}\\p{S}\\p{N}\\p{P}]*'),
});
const SESSION_SECONDS = integer({ min: 3_600, max: 43_200 });
const VERSION_ID = string({ pattern: pattern('v[1-9][0-9]*(\\.[A-Za-z0-9-]*)?') });

/** The same in STS. */
const TAG_KEY = string({
  min: 1,
  max: 128,
  pattern: pattern('[\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]+'),
});
export const TAG_KEYS = list(TAG_KEY, { max: 50 });
export const TAGS = list(
  structure({
    Key: required(TAG_KEY),
    Value: required(
      string({ min: 0, max: 256, pattern: pattern('[\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*') }),
    ),
  }),
  { max: 50 },
);
export type GivenTags = ParamsOf<{ Tags: typeof TAGS }>['Tags'];

const page = {
  Marker: string({ min: 1, max: 320, pattern: pattern('[\\u0020-\\u00FF]+') }),
  MaxItems: integer({ min: 1, max: 1_000 }),
};
const user = { UserName: required(USER) };
const ofUser = { UserName: required(NEW_USER) };
const role = { RoleName: required(ROLE) };
const inline = { PolicyName: required(POLICY) };
const document = { PolicyDocument: required(DOCUMENT) };
const managed = { PolicyArn: required(ARN) };
const boundary = { PermissionsBoundary: required(ARN) };
const version = { ...managed, VersionId: required(VERSION_ID) };

export const IAM_REQUESTS = {
  AttachRolePolicy: { ...role, ...managed },
  AttachUserPolicy: { ...ofUser, ...managed },
  CreateAccessKey: { UserName: USER },
  CreatePolicy: {
    ...inline,
    Path: POLICY_PATH,
    ...document,
    Description: string({ max: 1_000 }),
    Tags: TAGS,
  },
  CreatePolicyVersion: { ...managed, ...document, SetAsDefault: BOOLEAN },
  CreateRole: {
    Path: PATH,
    ...role,
    AssumeRolePolicyDocument: required(DOCUMENT),
    Description: ROLE_DESCRIPTION,
    MaxSessionDuration: SESSION_SECONDS,
    PermissionsBoundary: ARN,
    Tags: TAGS,
  },
  CreateUser: { Path: PATH, ...ofUser, PermissionsBoundary: ARN, Tags: TAGS },
  DeleteAccessKey: { UserName: USER, AccessKeyId: required(ACCESS_KEY) },
  DeletePolicy: managed,
  DeletePolicyVersion: version,
  DeleteRole: role,
  DeleteRolePermissionsBoundary: role,
  DeleteRolePolicy: { ...role, ...inline },
  DeleteUser: user,
  DeleteUserPermissionsBoundary: ofUser,
  DeleteUserPolicy: { ...user, ...inline },
  DetachRolePolicy: { ...role, ...managed },
  DetachUserPolicy: { ...ofUser, ...managed },
  GetLoginProfile: ofUser,
  GetPolicy: managed,
  GetPolicyVersion: version,
  GetRole: role,
  GetRolePolicy: { ...role, ...inline },
  GetUser: { UserName: USER },
  GetUserPolicy: { ...user, ...inline },
  ListAccessKeys: { UserName: USER, ...page },
  ListAttachedRolePolicies: { ...role, PathPrefix: POLICY_PATH, ...page },
  ListAttachedUserPolicies: { ...ofUser, PathPrefix: POLICY_PATH, ...page },
  ListGroupsForUser: { ...user, ...page },
  ListInstanceProfilesForRole: { ...role, ...page },
  ListMFADevices: { UserName: USER, ...page },
  ListPolicies: {
    Scope: oneOf('All', 'AWS', 'Local'),
    OnlyAttached: BOOLEAN,
    PathPrefix: POLICY_PATH,
    ...page,
  },
  ListPolicyVersions: { ...managed, ...page },
  ListRolePolicies: { ...role, ...page },
  ListRoleTags: { ...role, ...page },
  ListRoles: { PathPrefix: PREFIX, ...page },
  ListServiceSpecificCredentials: { UserName: NEW_USER },
  ListSigningCertificates: { UserName: USER, ...page },
  ListSSHPublicKeys: { UserName: NEW_USER, ...page },
  ListUserPolicies: { ...user, ...page },
  ListUserTags: { ...user, ...page },
  ListUsers: { PathPrefix: PREFIX, ...page },
  PutRolePermissionsBoundary: { ...role, ...boundary },
  PutRolePolicy: { ...role, ...inline, ...document },
  PutUserPermissionsBoundary: { ...ofUser, ...boundary },
  PutUserPolicy: { ...user, ...inline, ...document },
  SetDefaultPolicyVersion: version,
  TagRole: { ...role, Tags: required(TAGS) },
  TagUser: { ...user, Tags: required(TAGS) },
  UntagRole: { ...role, TagKeys: required(TAG_KEYS) },
  UntagUser: { ...user, TagKeys: required(TAG_KEYS) },
  UpdateAccessKey: {
    UserName: USER,
    AccessKeyId: required(ACCESS_KEY),
    Status: required(oneOf('Active', 'Inactive')),
  },
  UpdateAssumeRolePolicy: { ...role, ...document },
  UpdateRole: { ...role, Description: ROLE_DESCRIPTION, MaxSessionDuration: SESSION_SECONDS },
} as const satisfies Record<string, Members>;

export type IamAction = keyof typeof IAM_REQUESTS;
export type IamParams<A extends IamAction> = ParamsOf<(typeof IAM_REQUESTS)[A]>;
