import { newAccessKeyId, newSecretAccessKey } from '../core/ids.js';
import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { parsePrincipal } from '../iam/principal.js';
import { absent, putUser, unchanged, type UserFact } from '../iam/principal-records.js';
import { IAM_REQUESTS, type IamParams } from '../protocol/iam.js';
import type { AwsCaller } from './aws-service.js';
import {
  arnOf,
  civilSeconds,
  exceeded,
  noSuchEntity,
  part,
  toDate,
  userOf,
  type IamParts,
} from './iam-facts.js';
import { pageOf } from './iam-pages.js';
import { action, type QueryActions, type QueryResult } from './query-service.js';

/** The access keys of users. Where a request names no user, it is the caller. */
export function accessKeyActions(parts: IamParts): QueryActions {
  const resource = ({ UserName }: { UserName?: string }, caller: AwsCaller): string =>
    UserName === undefined
      ? caller.principal.arn
      : arnOf(parts, 'user', { account: caller.principal.account, name: UserName });
  return {
    CreateAccessKey: action(IAM_REQUESTS.CreateAccessKey, {
      resource,
      run: (params, caller) => createAccessKey(parts, params, caller),
    }),
    ListAccessKeys: action(IAM_REQUESTS.ListAccessKeys, {
      resource,
      run: (params, caller) => listAccessKeys(parts, params, caller),
    }),
    UpdateAccessKey: action(IAM_REQUESTS.UpdateAccessKey, {
      resource,
      run: (params, caller) => updateAccessKey(parts, params, caller),
    }),
    DeleteAccessKey: action(IAM_REQUESTS.DeleteAccessKey, {
      resource,
      run: (params, caller) => deleteAccessKey(parts, params, caller),
    }),
  };
}

/** @throws NoSuchEntity; ValidationException where none is named and the caller is no user */
function ownerOf(
  parts: IamParts,
  { UserName }: { UserName?: string },
  { principal }: AwsCaller,
): UserFact {
  if (UserName !== undefined) return userOf(parts, principal.account, UserName);
  if (principal.type === 'User') {
    return userOf(
      parts,
      principal.account,
      principal.arn.slice(principal.arn.lastIndexOf('/') + 1),
    );
  }
  const sentence = 'Must specify userName when calling with non-User credentials';
  throw new KeyspanError('ValidationException', sentence);
}

async function createAccessKey(
  parts: IamParts,
  params: IamParams<'CreateAccessKey'>,
  caller: AwsCaller,
): Promise<QueryResult> {
  const { directory } = parts;
  const id = newAccessKeyId();
  const secret = newSecretAccessKey();
  const createdAt = civilSeconds(parts);
  const owner = ownerOf(parts, params, caller);
  await directory.change(() => {
    const user = ownerOf(parts, params, caller);
    const max = LIMITS.iam_access_keys_per_user_max;
    if (user.accessKeys.length >= max) {
      throw exceeded(`Cannot exceed quota for AccessKeysPerUser: ${max}`);
    }
    const principal = parsePrincipal(user.arn);
    const bytes = Buffer.from(secret, 'utf8');
    const put = directory.keys.put({ id, secret: bytes, principal, active: true, createdAt });
    const changed = putUser({ ...user, accessKeys: [...user.accessKeys, id] });
    return part([unchanged(user), absent(put)], put, changed);
  });
  return {
    AccessKey: {
      UserName: owner.name,
      AccessKeyId: id,
      Status: 'Active',
      SecretAccessKey: secret,
      CreateDate: toDate(createdAt),
    },
  };
}

function listAccessKeys(
  parts: IamParts,
  params: IamParams<'ListAccessKeys'>,
  caller: AwsCaller,
): QueryResult {
  const user = ownerOf(parts, params, caller);
  const sorted = user.accessKeys.toSorted();
  const { items, members } = pageOf(sorted, params, (id) => id);
  const AccessKeyMetadata = items.flatMap((id) => {
    const key = parts.directory.keys.held(id)?.value;
    if (!key) return [];
    return [
      {
        UserName: user.name,
        AccessKeyId: id,
        Status: key.active ? 'Active' : 'Inactive',
        CreateDate: toDate(key.createdAt),
      },
    ];
  });
  return { AccessKeyMetadata, ...members };
}

async function updateAccessKey(
  parts: IamParts,
  params: IamParams<'UpdateAccessKey'>,
  caller: AwsCaller,
): Promise<QueryResult> {
  const { AccessKeyId: id, Status } = params;
  await parts.directory.change(() => {
    const { key } = heldKey(parts, ownerOf(parts, params, caller), id);
    const put = parts.directory.keys.put({ ...key.value, active: Status === 'Active' });
    return part([{ key: put.key, modRevision: key.modRevision }], put);
  });
  return {};
}

async function deleteAccessKey(
  parts: IamParts,
  params: IamParams<'DeleteAccessKey'>,
  caller: AwsCaller,
): Promise<QueryResult> {
  const { AccessKeyId: id } = params;
  await parts.directory.change(() => {
    const user = ownerOf(parts, params, caller);
    const { path } = heldKey(parts, user, id);
    const accessKeys = user.accessKeys.filter((one) => one !== id);
    return part([unchanged(user)], { op: 'delete', key: path }, putUser({ ...user, accessKeys }));
  });
  return {};
}

/** @throws NoSuchEntity for a key that is not the user's */
function heldKey({ directory }: IamParts, user: UserFact, id: string) {
  const key = user.accessKeys.includes(id) ? directory.keys.held(id) : undefined;
  if (!key) throw noSuchEntity(`The Access Key with id ${id} cannot be found.`);
  return { key, path: directory.keys.path(id) };
}
