import { parseArn } from '../core/arn.js';
import { isKmsKeyId } from '../core/ids.js';
import { denialSentence } from '../iam/denial.js';
import { explain, type Explanation } from '../iam/explain.js';
import { parsePrincipal } from '../iam/principal.js';
import type { PolicyExplanation, PolicyQuestion } from '../protocol/policy-explanation.js';
import type { Access, AccessDetails } from './access-context.js';
import { policiesOn, requestOf } from './authorize.js';
import { findKey, type FoundKey } from './key-lookup.js';
import type { KmsCaller, KmsParts } from './request.js';

/**
 * Decides as for a request that asks for this, and tells how. Nothing is done.
 * @param region where the key is, unless it is named by its ARN
 * @throws ValidationException, NotFoundException
 */
export function explainAccess(
  kms: KmsParts,
  question: PolicyQuestion,
  region: string,
): PolicyExplanation {
  const { action, key: given } = question;
  const principal = parsePrincipal(question.principal);
  const caller = { principal, region: parseArn(given ?? '')?.region ?? region };
  const found = given === undefined ? undefined : findAnyKey(kms, caller, given);
  const details = detailsOf(question, found?.alias);
  const access: Access = { kms, caller, action, key: found?.key, details };
  const resource = found?.key.arn ?? '*';
  const request = requestOf(access, resource);
  // what grants add to the policies' word is to be told here
  const explanation = explain(request, policiesOn(access));
  const { decision, policies } = explanation;
  return {
    principal: principal.arn,
    action,
    resource,
    allowed: decision.allowed,
    reason: decision.allowed
      ? permissionSentence(access, resource, explanation)
      : denialSentence(request, decision.reason),
    policies,
  };
}

/** As a caller names it, or by its id whosever it is. */
function findAnyKey(kms: KmsParts, caller: KmsCaller, given: string): FoundKey {
  if (!isKmsKeyId(given)) return findKey(kms.facts, caller, given);
  const account = kms.facts.accountOfKey(given);
  const key = account && kms.facts.key(account, caller.region, given);
  return key ? { key } : findKey(kms.facts, caller, given);
}

/** Actions that have an algorithm, also where the request leaves it to its default. */
const WITH_ALGORITHM = /^kms:(Encrypt|Decrypt|ReEncrypt|GenerateDataKey)/;

function detailsOf(question: PolicyQuestion, alias: string | undefined): AccessDetails {
  const { action, encryptionContext, conditions } = question;
  const encryptionAlgorithm = WITH_ALGORITHM.test(action) ? 'SYMMETRIC_DEFAULT' : undefined;
  return {
    alias,
    encryptionContext: new Map(Object.entries(encryptionContext)),
    ...(encryptionAlgorithm && { encryptionAlgorithm }),
    keys: () => Object.entries(conditions),
  };
}

function permissionSentence(
  { caller, action, key }: Access,
  resource: string,
  { policies }: Explanation,
): string {
  const { principal } = caller;
  const who = `User: ${principal.arn} is authorized to perform: ${action}`;
  const isRoot = principal.type === 'Account';
  const own = isRoot ? "as its account's root" : 'by an identity-based policy';
  const isNamed = policies.some(
    ({ type, statements }) =>
      type === 'resource-based policy' &&
      statements.some(({ effect, applies, delegates }) => {
        return effect === 'Allow' && applies && !delegates;
      }),
  );
  const isDirect = key?.account === principal.account && isNamed;
  const by = !key ? own : isDirect ? RESOURCE_BASED : `${RESOURCE_BASED} and ${own}`;
  return `${who} on resource: ${resource} ${by}`;
}

const RESOURCE_BASED = 'by a resource-based policy';
