import { describe, expect, test } from 'vitest';
import {
  ACCOUNT,
  ALICE,
  callerOf,
  KmsFixture,
  OTHER_ROOT,
  policyOf,
  REGION,
  ROOT,
} from '../support/kms-fixture.js';
import { parsePolicy } from '../../src/iam/policy-document.js';
import type { KmsCaller } from '../../src/kms/kms.js';

const via = (caller: KmsCaller, service: string, region = REGION): KmsCaller => ({
  ...caller,
  origin: { viaService: `${service}.${region}.amazonaws.com` },
});
const BOB = callerOf(`arn:aws:iam::${ACCOUNT}:user/bob`);
const S3 = 'alias/aws/s3';
const s3Arn = `arn:aws:kms:${REGION}:${ACCOUNT}:${S3}`;
const Plaintext = Buffer.from('x');
const notFound = `NotFoundException: Alias ${s3Arn} is not found.`;

test('who may not describe the key does not make it by asking', async () => {
  const policies = [{ Effect: 'Allow', Action: 'kms:DescribeKey', Resource: '*' }].map((one) =>
    parsePolicy(policyOf(one), 'identity'),
  );
  await using at = await KmsFixture.withIdentities({
    [BOB.principal.arn]: { policies },
  });
  expect(await at.refused('DescribeKey', { KeyId: S3 }, ALICE)).toBe(notFound);
  expect((await at.call('ListKeys')).Keys).toEqual([]);
  const { KeyMetadata } = await at.call('DescribeKey', { KeyId: S3 }, BOB);
  expect((await at.call('ListKeys')).Keys).toEqual([
    { KeyId: KeyMetadata.KeyId, KeyArn: KeyMetadata.Arn },
  ]);
  expect(await at.refused('DescribeKey', { KeyId: S3 }, ALICE)).toMatch(/^AccessDenied/);
});

describe('an alias of a service', () => {
  test('is listed without a key, in its place, until the key is made', async () => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    for (const AliasName of ['alias/a', 'alias/b']) {
      await at.call('CreateAlias', { AliasName, TargetKeyId: KeyId });
    }
    const listed = async (): Promise<Record<string, unknown>[]> => {
      const found: Record<string, unknown>[] = [];
      let Marker: string | undefined;
      do {
        const page = await at.call('ListAliases', { Limit: 3, Marker });
        found.push(...(page.Aliases as unknown as Record<string, unknown>[]));
        expect(page.Aliases.length).toBeLessThanOrEqual(3);
        Marker = page.NextMarker;
      } while (Marker !== undefined);
      return found;
    };
    const before = await listed();
    const names = before.map((alias) => String(alias['AliasName']));
    expect(names).toEqual(names.toSorted());
    expect(new Set(names).size).toBe(names.length);
    expect(names).toEqual(
      expect.arrayContaining([
        'alias/a',
        'alias/aws/ebs',
        'alias/aws/rds',
        S3,
        'alias/aws/secretsmanager',
        'alias/b',
      ]),
    );
    expect(before.find((alias) => alias['AliasName'] === S3)).toEqual({
      AliasName: S3,
      AliasArn: s3Arn,
    });
    const made = await at.call(
      'GenerateDataKey',
      { KeyId: S3, KeySpec: 'AES_256' },
      via(ROOT, 's3'),
    );
    const after = await listed();
    expect(after.map((alias) => alias['AliasName'])).toEqual(names);
    const target = made.KeyId.split('/').at(-1);
    expect(after.find((alias) => alias['AliasName'] === S3)).toMatchObject({ TargetKeyId: target });
  });

  test('gets its key through its service alone', async () => {
    await using at = await KmsFixture.open();
    const request = { KeyId: S3, Plaintext };
    expect(await at.refused('Encrypt', request)).toBe(notFound);
    for (const other of [via(ROOT, 'rds'), via(ROOT, 's3', 'us-east-1')]) {
      expect(await at.refused('Encrypt', request, other)).toBe(notFound);
    }
    expect((await at.call('ListKeys')).Keys).toEqual([]);
    // any principal of the account, without an identity policy: the service let it in
    const made = await at.call('Encrypt', { KeyId: s3Arn, Plaintext }, via(ALICE, 's3'));
    const { KeyMetadata } = await at.call('DescribeKey', { KeyId: S3 });
    expect(KeyMetadata).toMatchObject({
      Arn: made.KeyId,
      KeyManager: 'AWS',
      Enabled: true,
      Description: 'Default key that protects my S3 data when no other key is defined',
    });
    const { CiphertextBlob } = made;
    expect(await at.refused('Decrypt', { CiphertextBlob })).toMatch(/^AccessDeniedException/);
    expect(await at.refused('Decrypt', { CiphertextBlob }, via(ROOT, 'rds'))).toMatch(/^AccessD/);
    await at.call('Decrypt', { CiphertextBlob }, via(ROOT, 's3'));
  });

  test('gets its key also when it is described', async () => {
    await using at = await KmsFixture.open();
    const { KeyMetadata } = await at.call('DescribeKey', { KeyId: 'alias/aws/ebs' });
    expect(KeyMetadata.KeyManager).toBe('AWS');
    expect(await at.refused('DescribeKey', { KeyId: 'alias/aws/none' })).toMatch(/is not found/);
    const policy = await at.call('GetKeyPolicy', { KeyId: KeyMetadata.KeyId });
    expect(policy.Policy).toContain(`ec2.${REGION}.amazonaws.com`);
  });

  test('gets one key, however many ask at once, of each account', async () => {
    await using at = await KmsFixture.open();
    await using another = await at.another();
    const ask = (kms = at.kms): Promise<{ KeyId: string }> =>
      at.call('Encrypt', { KeyId: S3, Plaintext: Buffer.from('x') }, via(ROOT, 's3'), kms);
    const made = await Promise.all([ask(), ask(), ask(another), ask(another)]);
    expect(new Set(made.map((one) => one.KeyId)).size).toBe(1);
    expect((await at.call('ListKeys')).Keys).toHaveLength(1);
    expect(at.vault.states().filter((state) => state === 'live')).toHaveLength(1);
    const theirs = { KeyId: S3, Plaintext: Buffer.from('x') };
    const other = await at.call('Encrypt', theirs, via(OTHER_ROOT, 's3'));
    expect(other.KeyId).not.toBe(made[0]?.KeyId);
    const foreign = { KeyId: made[0]?.KeyId, Plaintext: Buffer.from('x') };
    expect(await at.refused('Encrypt', foreign, via(OTHER_ROOT, 's3'))).toMatch(/^AccessDenied/);
  });
});

describe('what nobody may do', () => {
  const Policy = policyOf();
  test.each<[Parameters<KmsFixture['refused']>[0], object]>([
    ['PutKeyPolicy', { Policy, BypassPolicyLockoutSafetyCheck: true }],
    ['DisableKey', {}],
    ['EnableKey', {}],
    ['UpdateKeyDescription', { Description: 'mine' }],
    ['TagResource', { Tags: [] }],
    ['UntagResource', { TagKeys: [] }],
    ['RotateKeyOnDemand', {}],
  ])('%s', async (action, more) => {
    await using at = await KmsFixture.open();
    const { KeyMetadata } = await at.call('DescribeKey', { KeyId: S3 });
    const { KeyId } = KeyMetadata;
    for (const caller of [ROOT, via(ROOT, 's3')]) {
      expect(await at.refused(action, { KeyId, ...more }, caller)).toMatch(
        new RegExp(`^AccessDeniedException: .*kms:${action} on resource: ${KeyMetadata.Arn}`),
      );
    }
  });

  test('move or end the alias, or give the key another', async () => {
    await using at = await KmsFixture.open();
    const { KeyMetadata } = await at.call('DescribeKey', { KeyId: S3 });
    const { KeyId: TargetKeyId } = await at.createKey();
    for (const [action, params] of [
      ['UpdateAlias', { AliasName: S3, TargetKeyId }],
      ['CreateAlias', { AliasName: S3, TargetKeyId }],
      ['DeleteAlias', { AliasName: S3 }],
    ] as const) {
      expect(await at.refused(action, params)).toMatch(/^NotAuthorizedException/);
    }
    const named = { AliasName: 'alias/mine', TargetKeyId: KeyMetadata.KeyId };
    expect(await at.refused('CreateAlias', named)).toMatch(/^AccessDeniedException/);
  });
});

test('such a key rotates every 365 days', async () => {
  await using at = await KmsFixture.open();
  const { KeyMetadata } = await at.call('DescribeKey', { KeyId: S3 });
  const status = await at.call('GetKeyRotationStatus', { KeyId: KeyMetadata.KeyId });
  expect(status).toMatchObject({
    KeyRotationEnabled: true,
    RotationPeriodInDays: 365,
    NextRotationDate: 1_800_000_000.123 + 365 * 86_400,
  });
  const { KeyId } = KeyMetadata;
  for (const action of [
    'DisableKeyRotation',
    'EnableKeyRotation',
    'ScheduleKeyDeletion',
  ] as const) {
    expect(await at.refused(action, { KeyId })).toMatch(/^AccessDeniedException/);
  }
});
