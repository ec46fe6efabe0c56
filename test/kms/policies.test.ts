import { describe, expect, test } from 'vitest';
import { LIMITS } from '../../src/core/limits.js';
import { ALICE, allow, KmsFixture, OTHER_ROOT, policyOf, ROOT } from '../support/kms-fixture.js';

const OWN = policyOf(allow(ROOT.principal.arn));
const FOR_ALICE = policyOf(
  allow(ROOT.principal.arn),
  allow(ALICE.principal.arn, 'kms:DescribeKey'),
);

describe('PutKeyPolicy', () => {
  test('binds the next request, also of another daemon', async () => {
    await using at = await KmsFixture.open();
    await using another = await at.another();
    const { KeyId, Arn } = await at.createKey();
    expect(await at.refused('DescribeKey', { KeyId }, ALICE)).toMatch(/^AccessDenied/);
    await at.call('PutKeyPolicy', { KeyId: Arn, PolicyName: 'default', Policy: FOR_ALICE });
    await at.call('DescribeKey', { KeyId }, ALICE);
    await expect.poll(() => at.call('DescribeKey', { KeyId }, ALICE, another)).toBeDefined();
    expect((await at.call('GetKeyPolicy', { KeyId })).Policy).toBe(FOR_ALICE);
    await at.call('PutKeyPolicy', { KeyId, Policy: OWN });
    expect(await at.refused('DescribeKey', { KeyId }, ALICE)).toMatch(/^AccessDenied/);
  });

  test('lets nobody lock itself out who does not say so', async () => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    const Policy = policyOf(allow(ALICE.principal.arn));
    expect(await at.refused('PutKeyPolicy', { KeyId, Policy })).toBe(
      'MalformedPolicyDocumentException: The new key policy will not allow you to update the ' +
        'key policy in the future.',
    );
    const BypassPolicyLockoutSafetyCheck = true;
    await at.call('PutKeyPolicy', { KeyId, Policy, BypassPolicyLockoutSafetyCheck });
    expect(await at.refused('GetKeyPolicy', { KeyId })).toMatch(/^AccessDenied/);
    await at.call('PutKeyPolicy', { KeyId, Policy: OWN, BypassPolicyLockoutSafetyCheck }, ALICE);
    await at.call('GetKeyPolicy', { KeyId });
  });

  test.each<[string, string, string]>([
    [
      'over its quota',
      ' '.repeat(LIMITS.kms_policy_max_bytes + 1),
      'LimitExceededException: A key policy has at most 32768 bytes.',
    ],
    ['that is no JSON', '{', 'MalformedPolicyDocumentException: Syntax errors in policy.'],
    [
      'with a principal that is none',
      policyOf(allow(ROOT.principal.arn), allow('alice')),
      'MalformedPolicyDocumentException: Policy contains a statement with one or more invalid ' +
        'principals.',
    ],
  ])('refuses a policy %s', async (_, Policy, refusal) => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    const before = await at.call('GetKeyPolicy', { KeyId });
    expect(await at.refused('PutKeyPolicy', { KeyId, Policy })).toBe(refusal);
    expect(await at.call('GetKeyPolicy', { KeyId })).toEqual(before);
  });

  test('knows one name, works on a disabled key, and stays within the account', async () => {
    await using at = await KmsFixture.open();
    const { KeyId, Arn } = await at.createKey();
    const named = { KeyId, PolicyName: 'other', Policy: OWN };
    expect(await at.refused('PutKeyPolicy', named)).toBe(
      'NotFoundException: No such policy exists',
    );
    await at.call('DisableKey', { KeyId });
    const Everyone = policyOf(allow(ROOT.principal.arn), allow(OTHER_ROOT.principal.arn));
    await at.call('PutKeyPolicy', { KeyId, Policy: Everyone });
    for (const action of ['PutKeyPolicy', 'GetKeyPolicy', 'ListKeyPolicies'] as const) {
      const params = { KeyId: Arn, ...(action === 'PutKeyPolicy' && { Policy: OWN }) };
      expect(await at.refused(action, params, OTHER_ROOT)).toMatch(
        new RegExp(`^AccessDeniedException: .*kms:${action} on resource: ${Arn}`),
      );
    }
  });

  test('of two at once, on two daemons, both happen', async () => {
    await using at = await KmsFixture.open();
    await using another = await at.another();
    const { KeyId } = await at.createKey();
    await Promise.all([
      at.call('PutKeyPolicy', { KeyId, Policy: FOR_ALICE }),
      at.call('UpdateKeyDescription', { KeyId, Description: 'new' }, ROOT, another),
    ]);
    expect((await at.call('GetKeyPolicy', { KeyId })).Policy).toBe(FOR_ALICE);
    const { KeyMetadata } = await at.call('DescribeKey', { KeyId });
    expect(KeyMetadata.Description).toBe('new');
  });
});

test('ListKeyPolicies knows the one name', async () => {
  await using at = await KmsFixture.open();
  const { KeyId } = await at.createKey();
  const all = { PolicyNames: ['default'], Truncated: false };
  expect(await at.call('ListKeyPolicies', { KeyId })).toEqual(all);
  const wrong = { KeyId, Marker: '?' };
  expect(await at.refused('ListKeyPolicies', wrong)).toMatch(/^InvalidMarkerException/);
});
