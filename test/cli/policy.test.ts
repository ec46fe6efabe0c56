import { expect, test } from 'vitest';
import { formatExplanation } from '../../src/cli/commands/policy.js';
import type { ExplainedStatement } from '../../src/protocol/policy-explanation.js';

const applying: ExplainedStatement = {
  number: 1,
  sid: 'All',
  effect: 'Allow',
  applies: true,
  delegates: false,
  parts: [{ part: 'Action', matched: true, wanted: ['kms:*'], given: ['kms:Encrypt'] }],
};
const failing: ExplainedStatement = {
  number: 2,
  sid: null,
  effect: 'Deny',
  applies: false,
  delegates: false,
  parts: [
    { part: 'NotAction', matched: false, wanted: ['a', 'b'], given: ['a'] },
    { part: 'Bool aws:SecureTransport', matched: false, wanted: ['false'], given: null },
  ],
};
const told = { principal: 'p', action: 'a', resource: 'r', allowed: true, reason: 'why' };

test('an explanation is a walk through the statements', () => {
  const policies = [{ type: 'identity-based policy', statements: [applying, failing] }];
  expect(formatExplanation({ ...told, policies })).toBe(
    [
      'identity-based policy',
      '  1 Allow "All": applies',
      '  2 Deny: does not apply',
      '      NotAction: wanted a, b; the request has a',
      '      Bool aws:SecureTransport: wanted false; the request has no such key',
      '',
      'ALLOWED: why',
    ].join('\n'),
  );
});

test('says where an account says nothing of a principal', () => {
  const statements = [{ ...applying, delegates: true }];
  const policies = [{ type: 'resource-based policy', statements }];
  expect(formatExplanation({ ...told, allowed: false, policies })).toBe(
    [
      'resource-based policy',
      '  1 Allow "All": applies, and leaves it to the account\'s own policies',
      '',
      'identity-based policy',
      '  none',
      '',
      'DENIED: why',
    ].join('\n'),
  );
});
