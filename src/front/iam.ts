import { KeyspanError } from '../core/errors.js';
import { INVALID_TOKEN } from '../iam/credentials.js';
import type { AwsCaller } from './aws-service.js';
import { accessKeyActions } from './iam-access-keys.js';
import type { IamParts } from './iam-facts.js';
import { managedActions } from './iam-managed.js';
import { policyActions } from './iam-policies.js';
import { roleActions } from './iam-roles.js';
import { userActions } from './iam-users.js';
import { QueryService, type QueryActions, type QueryServiceOptions } from './query-service.js';

/** Every action of IAM that is built. */
export const iamActions = (parts: IamParts): QueryActions => ({
  ...userActions(parts),
  ...roleActions(parts),
  ...policyActions(parts),
  ...managedActions(parts),
  ...accessKeyActions(parts),
});

/** AWS Identity and Access Management (2010-05-08), of users, roles and their policies. */
export const iamService = (
  parts: IamParts,
  options: Pick<QueryServiceOptions, 'events' | 'log'>,
): QueryService =>
  new QueryService({
    ...options,
    name: 'iam',
    actions: iamActions(parts),
    identities: parts.directory,
    civil: parts.civil,
    admit: refuseSessionToken,
  });

/** What GetSessionToken gives is good for no call to IAM (AWS STS API, GetSessionToken). */
function refuseSessionToken({ principal }: AwsCaller): void {
  if (!principal.session || principal.type === 'AssumedRole') return;
  throw new KeyspanError('UnrecognizedClientException', INVALID_TOKEN);
}
