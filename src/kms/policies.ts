import { rootArn } from '../core/arn.js';
import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { evaluate } from '../iam/evaluate.js';
import { parsePolicy } from '../iam/policy-document.js';
import { AccessContext } from './access-context.js';
import { authorizeKey } from './authorize.js';
import { changeKey } from './key-change.js';
import { findOwnKey } from './key-lookup.js';
import { pageMembers, readMarker } from './pages.js';
import type { Answer, KmsCaller, KmsParts, KmsRequest } from './request.js';

/** The only name that a key policy can have. */
const POLICY_NAME = 'default';
const LIST_LIMIT = 100;

/** The policy of a key that was made through the API without one: all is left to IAM. */
export const defaultPolicy = (account: string): string =>
  JSON.stringify({
    Version: '2012-10-17',
    Id: 'key-default-1',
    Statement: [
      {
        Sid: 'Enable IAM User Permissions',
        Effect: 'Allow',
        Principal: { AWS: rootArn(account) },
        Action: 'kms:*',
        Resource: '*',
      },
    ],
  });

/**
 * Checks a policy before a key gets it.
 * @throws MalformedPolicyDocumentException, also when the caller could not change it again and
 * did not say that this is meant; LimitExceededException
 */
export function checkPolicy(
  kms: KmsParts,
  text: string,
  caller: KmsCaller,
  options: { readonly keyArn: string; readonly bypassLockoutCheck: boolean },
): void {
  if (Buffer.byteLength(text) > LIMITS.kms_policy_max_bytes) {
    const sentence = `A key policy has at most ${LIMITS.kms_policy_max_bytes} bytes.`;
    throw new KeyspanError('LimitExceededException', sentence);
  }
  const document = parsePolicy(text, 'key');
  if (options.bypassLockoutCheck) return;
  const action = 'kms:PutKeyPolicy';
  const decision = evaluate(
    {
      principal: caller.principal,
      action,
      resource: options.keyArn,
      context: () => new AccessContext({ kms, caller, action, key: undefined, details: {} }),
    },
    { resource: { document, account: caller.principal.account }, identity: [] },
  );
  // where the policy leaves it to IAM, the account can still let the caller in
  if (decision.allowed || decision.reason === 'no identity-based policy') return;
  throw new KeyspanError(
    'MalformedPolicyDocumentException',
    'The new key policy will not allow you to update the key policy in the future.',
  );
}

export async function getKeyPolicy(
  kms: KmsParts,
  request: KmsRequest<'GetKeyPolicy'>,
): Promise<Answer> {
  const { KeyId, PolicyName = POLICY_NAME } = request.params;
  const key = findOwnKey(kms.facts, request, KeyId);
  authorizeKey(kms, request, key);
  requireName(PolicyName);
  return { Policy: key.policy, PolicyName };
}

/** It works in every state of the key. */
export async function putKeyPolicy(
  kms: KmsParts,
  request: KmsRequest<'PutKeyPolicy'>,
): Promise<Answer> {
  const { caller, params } = request;
  const key = findOwnKey(kms.facts, request, params.KeyId);
  const bypassLockoutCheck = params.BypassPolicyLockoutSafetyCheck ?? false;
  const bypass = ['kms:BypassPolicyLockoutSafetyCheck', [String(bypassLockoutCheck)]] as const;
  authorizeKey(kms, request, key, { keys: () => [bypass] });
  requireName(params.PolicyName);
  checkPolicy(kms, params.Policy, caller, { keyArn: key.arn, bypassLockoutCheck });
  if (params.Policy !== key.policy) {
    await changeKey(kms, request, key, { policy: params.Policy });
  }
  return {};
}

/** A key has one policy. */
export async function listKeyPolicies(
  kms: KmsParts,
  request: KmsRequest<'ListKeyPolicies'>,
): Promise<Answer> {
  const { KeyId, Limit = LIST_LIMIT, Marker } = request.params;
  const key = findOwnKey(kms.facts, request, KeyId);
  authorizeKey(kms, request, key);
  const after = readMarker(Marker);
  const found = [POLICY_NAME].filter((name) => after === undefined || name > after);
  const { items, members } = pageMembers(found, Limit, (name) => name);
  return { PolicyNames: items, ...members };
}

function requireName(name = POLICY_NAME): void {
  if (name === POLICY_NAME) return;
  throw new KeyspanError('NotFoundException', 'No such policy exists');
}
