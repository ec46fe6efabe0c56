import { describe, expect, test } from 'vitest';
import { LIMITS } from '../../src/core/limits.js';
import {
  ACCOUNT,
  ALICE,
  allow,
  callerOf,
  KmsFixture,
  OTHER_ROOT,
  policyOf,
  REGION,
  ROOT,
} from '../support/kms-fixture.js';

const ABSENT = '00000000-0000-4000-8000-000000000000';
const ABSENT_ARN = `arn:aws:kms:${REGION}:${ACCOUNT}:key/${ABSENT}`;

describe('CreateKey', () => {
  test("answers with all of AWS's metadata", async () => {
    await using at = await KmsFixture.open();
    const made = await at.createKey({
      Description: 'for letters',
      Tags: [{ TagKey: 'team', TagValue: 'post' }],
    });
    expect(made).toEqual({
      AWSAccountId: ACCOUNT,
      KeyId: expect.stringMatching(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/),
      Arn: `arn:aws:kms:${REGION}:${ACCOUNT}:key/${made.KeyId}`,
      CreationDate: 1_800_000_000.123,
      Enabled: true,
      Description: 'for letters',
      KeyUsage: 'ENCRYPT_DECRYPT',
      KeyState: 'Enabled',
      Origin: 'AWS_KMS',
      KeyManager: 'CUSTOMER',
      CustomerMasterKeySpec: 'SYMMETRIC_DEFAULT',
      KeySpec: 'SYMMETRIC_DEFAULT',
      EncryptionAlgorithms: ['SYMMETRIC_DEFAULT'],
      MultiRegion: false,
      CurrentKeyMaterialId: expect.stringMatching(/^[0-9a-f]{64}$/),
    });
    const { KeyMetadata } = await at.call('DescribeKey', { KeyId: made.Arn });
    expect(KeyMetadata).toEqual(made);
    expect(at.vault.states()).toEqual(['live']);
  });

  test.each<[string, object, string]>([
    [
      'both spec members',
      { KeySpec: 'SYMMETRIC_DEFAULT', CustomerMasterKeySpec: 'SYMMETRIC_DEFAULT' },
      'ValidationException: You cannot specify KeySpec and CustomerMasterKeySpec in the same ' +
        'request. CustomerMasterKeySpec is deprecated.',
    ],
    [
      'an asymmetric spec without a usage',
      { KeySpec: 'RSA_2048' },
      'ValidationException: You must specify a KeyUsage value for all KMS keys except for ' +
        'symmetric encryption keys.',
    ],
    [
      'a usage that the spec does not have',
      { KeySpec: 'RSA_2048', KeyUsage: 'KEY_AGREEMENT' },
      'ValidationException: KeyUsage KEY_AGREEMENT is not compatible with KeySpec RSA_2048',
    ],
    [
      'a spec that is not built',
      { KeySpec: 'RSA_2048', KeyUsage: 'SIGN_VERIFY' },
      'UnsupportedOperationException: KeySpec RSA_2048 is not supported by Keyspan.',
    ],
    [
      'an origin that is not built',
      { Origin: 'EXTERNAL' },
      'UnsupportedOperationException: Origin EXTERNAL is not supported by Keyspan.',
    ],
    [
      'a multi-Region key',
      { MultiRegion: true },
      'UnsupportedOperationException: MultiRegion is not supported by Keyspan.',
    ],
    [
      'a custom key store',
      { CustomKeyStoreId: 'cks-1' },
      'UnsupportedOperationException: CustomKeyStoreId is not supported by Keyspan.',
    ],
    [
      'too many tags',
      { Tags: Array.from({ length: 51 }, (_, n) => ({ TagKey: `t${n}`, TagValue: '' })) },
      'TagException: Too many tags',
    ],
    [
      'a tag twice',
      { Tags: Array.from({ length: 2 }, () => ({ TagKey: 't', TagValue: '' })) },
      'TagException: Duplicate tag keys',
    ],
    [
      'a reserved tag',
      { Tags: [{ TagKey: 'aws:x', TagValue: '' }] },
      'TagException: Tags beginning with aws: are reserved',
    ],
    [
      'a policy that is no JSON',
      { Policy: '{' },
      'MalformedPolicyDocumentException: Syntax errors in policy.',
    ],
    [
      'a policy over its bound',
      { Policy: ' '.repeat(LIMITS.kms_policy_max_bytes + 1) },
      'LimitExceededException: A key policy has at most 32768 bytes.',
    ],
    [
      'a policy that locks the caller out',
      { Policy: policyOf(allow(ALICE.principal.arn)) },
      'MalformedPolicyDocumentException: The new key policy will not allow you to update the ' +
        'key policy in the future.',
    ],
    [
      'an invalid principal',
      { Policy: policyOf(allow('alice')) },
      'MalformedPolicyDocumentException: Policy contains a statement with one or more invalid ' +
        'principals.',
    ],
  ])('refuses %s', async (_, params, refusal) => {
    await using at = await KmsFixture.open();
    expect(await at.refused('CreateKey', params)).toBe(refusal);
    expect(at.vault.asked).toEqual([]);
  });

  test('lets a caller lock itself out who says so', async () => {
    await using at = await KmsFixture.open();
    const made = await at.createKey({
      Policy: policyOf(allow(ALICE.principal.arn)),
      BypassPolicyLockoutSafetyCheck: true,
    });
    expect(await at.refused('DescribeKey', { KeyId: made.KeyId })).toMatch(/^AccessDenied/);
    const seen = await at.call('DescribeKey', { KeyId: made.KeyId }, ALICE);
    expect(seen.KeyMetadata.KeyId).toBe(made.KeyId);
  });

  test('takes a policy that leaves the key to IAM', async () => {
    await using at = await KmsFixture.open();
    await at.createKey({ Policy: policyOf(allow(ROOT.principal.arn)) });
  });

  test('is for those whom IAM lets', async () => {
    await using at = await KmsFixture.open();
    expect(await at.refused('CreateKey', {}, ALICE)).toBe(
      `AccessDeniedException: User: ${ALICE.principal.arn} is not authorized to perform: ` +
        'kms:CreateKey on resource: * because no identity-based policy allows the ' +
        'kms:CreateKey action',
    );
  });

  test('gives the HSM key up when the commit fails', async () => {
    await using at = await KmsFixture.open();
    // a fact that is never there
    at.vault.extraPart = { compares: [{ key: 'ledger/x', modRevision: 7 }], writes: [] };
    expect(await at.refused('CreateKey')).toMatch(/^KMSInternalException/);
    const attempts = LIMITS.kms_change_attempts_max;
    expect(at.vault.states()).toEqual(Array.from({ length: attempts }, () => 'abandoned'));
    expect((await at.call('ListKeys')).Keys).toEqual([]);
  });

  test('tries again when its facts changed meanwhile', async () => {
    await using at = await KmsFixture.open();
    const put = { op: 'put', key: 'ledger/x', value: Buffer.of(1) } as const;
    at.vault.extraPart = { compares: [{ key: 'ledger/x', modRevision: null }], writes: [] };
    await at.store.commit({ compares: [], writes: [put] });
    at.vault.whileCreating = async () => {
      if (at.vault.keys.size === 1) at.vault.extraPart = { compares: [], writes: [] };
    };
    const made = await at.createKey();
    expect(at.vault.states()).toEqual(['abandoned', 'live']);
    expect((await at.call('ListKeys')).Keys).toEqual([{ KeyId: made.KeyId, KeyArn: made.Arn }]);
  });
});

describe('a key is named', () => {
  test.each<[string, string]>([
    ['no-such-form', "NotFoundException: Invalid keyId 'no-such-form'"],
    [ABSENT, `NotFoundException: Key '${ABSENT_ARN}' does not exist`],
    [ABSENT_ARN, `NotFoundException: Key '${ABSENT_ARN}' does not exist`],
    [`arn:aws:kms:us-east-1:${ACCOUNT}:key/${ABSENT}`, 'NotFoundException: Invalid arn us-east-1'],
    [`arn:aws:kms:us-east-1:${ACCOUNT}:alias/x`, 'NotFoundException: Invalid arn us-east-1'],
    [`arn:aws:kms:${REGION}:${ACCOUNT}:key/x`, "NotFoundException: Invalid keyId 'x'"],
    [
      `arn:aws:s3:${REGION}:${ACCOUNT}:key/${ABSENT}`,
      `NotFoundException: Invalid keyId 'arn:aws:s3:${REGION}:${ACCOUNT}:key/${ABSENT}'`,
    ],
    [
      'alias/absent',
      `NotFoundException: Alias arn:aws:kms:${REGION}:${ACCOUNT}:alias/absent is not found.`,
    ],
  ])('%s: %s', async (KeyId, refusal) => {
    await using at = await KmsFixture.open();
    expect(await at.refused('DescribeKey', { KeyId })).toBe(refusal);
  });

  test('by its region and account: others do not see it', async () => {
    await using at = await KmsFixture.open();
    const { KeyId, Arn } = await at.createKey();
    const elsewhere = callerOf(ROOT.principal.arn, 'us-east-1');
    expect(await at.refused('DescribeKey', { KeyId }, elsewhere)).toMatch(/does not exist$/);
    expect(await at.refused('DescribeKey', { KeyId: Arn }, elsewhere)).toMatch(/Invalid arn/);
    expect(await at.refused('DescribeKey', { KeyId }, OTHER_ROOT)).toMatch(/does not exist$/);
    expect(await at.refused('DescribeKey', { KeyId: Arn }, OTHER_ROOT)).toBe(
      `AccessDeniedException: User: ${OTHER_ROOT.principal.arn} is not authorized to perform: ` +
        `kms:DescribeKey on resource: ${Arn} because no resource-based policy allows the ` +
        'kms:DescribeKey action',
    );
    expect((await at.call('ListKeys', {}, OTHER_ROOT)).Keys).toEqual([]);
  });
});

describe('EnableKey and DisableKey', () => {
  test('switch the key, and the next request is bound by it', async () => {
    await using at = await KmsFixture.open();
    const { KeyId, Arn } = await at.createKey();
    await at.call('DisableKey', { KeyId });
    const { KeyMetadata } = await at.call('DescribeKey', { KeyId });
    expect(KeyMetadata).toMatchObject({ Enabled: false, KeyState: 'Disabled' });
    const Plaintext = Buffer.from('x');
    expect(await at.refused('Encrypt', { KeyId, Plaintext })).toBe(
      `DisabledException: ${Arn} is disabled.`,
    );
    await at.call('EnableKey', { KeyId: Arn });
    await at.call('Encrypt', { KeyId, Plaintext });
  });

  test('take no alias', async () => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    await at.call('CreateAlias', { AliasName: 'alias/a', TargetKeyId: KeyId });
    expect(await at.refused('DisableKey', { KeyId: 'alias/a' })).toBe(
      "NotFoundException: Invalid keyId 'alias/a'",
    );
  });

  test('may race: each finds the state that it asked for, or the later one', async () => {
    await using at = await KmsFixture.open();
    await using another = await at.another();
    const { KeyId, CurrentKeyMaterialId } = await at.createKey();
    await at.call('DescribeKey', { KeyId }, ROOT, another);
    // both read the same revision: one of the commits meets a conflict and decides anew
    await Promise.all([
      at.call('DisableKey', { KeyId }),
      at.call('RotateKeyOnDemand', { KeyId }, ROOT, another).catch((error: Error) => {
        expect(error.message).toMatch(/is disabled/);
      }),
    ]);
    const { KeyMetadata } = await at.call('DescribeKey', { KeyId });
    expect(KeyMetadata.KeyState).toBe('Disabled');
    const rotated = KeyMetadata.CurrentKeyMaterialId !== CurrentKeyMaterialId;
    expect(at.vault.states().filter((state) => state === 'live')).toHaveLength(rotated ? 2 : 1);
    expect(at.vault.states()).not.toContain('prepared');
  });
});

test('UpdateKeyDescription works on a disabled key, and within the account', async () => {
  await using at = await KmsFixture.open();
  const { KeyId, Arn } = await at.createKey({ Description: 'old' });
  await at.call('DisableKey', { KeyId });
  for (const Description of ['new', 'new', '']) {
    await at.call('UpdateKeyDescription', { KeyId: Arn, Description });
    const { KeyMetadata } = await at.call('DescribeKey', { KeyId });
    expect(KeyMetadata).toMatchObject({ Description, KeyState: 'Disabled' });
  }
  const foreign = { KeyId: Arn, Description: 'theirs' };
  expect(await at.refused('UpdateKeyDescription', foreign, OTHER_ROOT)).toMatch(/^AccessDenied/);
});

describe('ListKeys', () => {
  test('goes through all keys in pages', async () => {
    await using at = await KmsFixture.open();
    const made = new Set<string>();
    for (let n = 0; n < 7; n += 1) made.add((await at.createKey()).KeyId);
    const seen: string[] = [];
    let Marker: string | undefined;
    const sizes: number[] = [];
    do {
      const page = await at.call('ListKeys', { Limit: 3, Marker });
      seen.push(...page.Keys.map((key) => key.KeyId));
      sizes.push(page.Keys.length);
      expect(page.Truncated).toBe(page.NextMarker !== undefined);
      Marker = page.NextMarker;
    } while (Marker !== undefined);
    expect(sizes).toEqual([3, 3, 1]);
    expect(new Set(seen)).toEqual(made);
    expect(seen).toHaveLength(7);
  });

  test('refuses a marker that it did not give', async () => {
    await using at = await KmsFixture.open();
    for (const Marker of ['x', '????', Buffer.from('2:x').toString('base64url')]) {
      expect(await at.refused('ListKeys', { Marker })).toMatch(/^InvalidMarkerException/);
    }
  });
});

test('GetKeyPolicy answers with the default policy, or the one that was given', async () => {
  await using at = await KmsFixture.open();
  const { KeyId } = await at.createKey();
  const first = await at.call('GetKeyPolicy', { KeyId });
  expect(first.PolicyName).toBe('default');
  expect(JSON.parse(first.Policy)).toEqual({
    Version: '2012-10-17',
    Id: 'key-default-1',
    Statement: [
      {
        Sid: 'Enable IAM User Permissions',
        Effect: 'Allow',
        Principal: { AWS: `arn:aws:iam::${ACCOUNT}:root` },
        Action: 'kms:*',
        Resource: '*',
      },
    ],
  });
  const Policy = policyOf(allow(ROOT.principal.arn));
  const second = await at.createKey({ Policy });
  expect((await at.call('GetKeyPolicy', { KeyId: second.KeyId })).Policy).toBe(Policy);
  expect(await at.refused('GetKeyPolicy', { KeyId, PolicyName: 'other' })).toBe(
    'NotFoundException: No such policy exists',
  );
});
