import { expect, test } from 'vitest';
import { denialSentence } from '../../src/iam/denial.js';
import type { DenyReason } from '../../src/iam/evaluate.js';

/** IAM user guide, "Access denied error message examples". */
test.each<[DenyReason, string]>([
  ['no identity-based policy', 'because no identity-based policy allows the kms:Decrypt action'],
  ['no resource-based policy', 'because no resource-based policy allows the kms:Decrypt action'],
  ['no permissions boundary', 'because no permissions boundary allows the kms:Decrypt action'],
  ['no session policy', 'because no session policy allows the kms:Decrypt action'],
  ['explicit deny in a resource-based policy', 'with an explicit deny in a resource-based policy'],
  [
    'explicit deny in an identity-based policy',
    'with an explicit deny in an identity-based policy',
  ],
  ['explicit deny in a permissions boundary', 'with an explicit deny in a permissions boundary'],
  ['explicit deny in a session policy', 'with an explicit deny in a session policy'],
])('%s', (reason, end) => {
  const request = { principal: { arn: 'arn:x' }, action: 'kms:Decrypt', resource: 'arn:y' };
  expect(denialSentence(request, reason)).toBe(
    `User: arn:x is not authorized to perform: kms:Decrypt on resource: arn:y ${end}`,
  );
});
