import { describe, expect, test } from 'vitest';
import type { Identity } from '../../src/iam/identities.js';
import { parsePolicy, type PolicyDocument } from '../../src/iam/policy-document.js';
import {
  ACCOUNT,
  ALICE,
  allow,
  callerOf,
  KmsFixture,
  newCall,
  OTHER_ACCOUNT,
  OTHER_ROOT,
  policyOf,
  REGION,
  ROOT,
} from '../support/kms-fixture.js';

const alice = ALICE.principal.arn;
const root = ROOT.principal.arn;
const BOB = callerOf(`arn:aws:iam::${OTHER_ACCOUNT}:user/bob`);
const SESSION = callerOf(`arn:aws:sts::${ACCOUNT}:assumed-role/Deploy/one`);
const ROLE = `arn:aws:iam::${ACCOUNT}:role/Deploy`;
const Plaintext = (): Buffer => Buffer.from('x');

const may = (Action: string | string[], rest: object = {}): object => ({
  Effect: 'Allow',
  Action,
  Resource: '*',
  ...rest,
});
const mayNot = (Action: string): object => ({ ...may(Action), Effect: 'Deny' });
const document = (...statements: object[]): PolicyDocument =>
  parsePolicy(policyOf(...statements), 'identity');
const identityOf = (...statements: object[]): Partial<Identity> => ({
  policies: [document(...statements)],
});

const because = (reason: string): RegExp =>
  new RegExp(`^AccessDeniedException: User: .* ${reason}$`);

describe('a key that leaves it to its account', () => {
  test('is used by whom the account lets', async () => {
    await using at = await KmsFixture.withIdentities({ [alice]: identityOf(may('kms:Encrypt')) });
    const { KeyId } = await at.createKey();
    await at.call('Encrypt', { KeyId, Plaintext: Plaintext() }, ALICE);
    expect(await at.refused('DisableKey', { KeyId }, ALICE)).toMatch(
      because('because no identity-based policy allows the kms:DisableKey action'),
    );
  });

  test('names its users by the ARN of the key in their policies', async () => {
    const known: Record<string, Partial<Identity>> = {};
    await using at = await KmsFixture.withIdentities(known);
    const one = await at.createKey();
    const other = await at.createKey();
    known[alice] = identityOf(may('kms:*', { Resource: one.Arn }));
    await at.call('DescribeKey', { KeyId: one.KeyId }, ALICE);
    expect(await at.refused('DescribeKey', { KeyId: other.KeyId }, ALICE)).toMatch(/^AccessDenied/);
  });

  test('follows tags of principal and key', async () => {
    const same = { StringEquals: { 'aws:ResourceTag/Team': '${aws:PrincipalTag/Team}' } };
    const policies = [document(may('kms:Encrypt', { Condition: same }))];
    await using at = await KmsFixture.withIdentities({
      [alice]: { policies, tags: new Map([['team', 'post']]) },
      [SESSION.principal.arn]: { policies },
    });
    const keyOf = async (TagValue: string): Promise<object> => {
      const { KeyId } = await at.createKey({ Tags: [{ TagKey: 'Team', TagValue }] });
      return { KeyId, Plaintext: Plaintext() };
    };
    await at.call('Encrypt', await keyOf('post'), ALICE);
    expect(await at.refused('Encrypt', await keyOf('mail'), ALICE)).toMatch(/^AccessDenied/);
    expect(await at.refused('Encrypt', await keyOf('post'), SESSION)).toMatch(/^AccessDenied/);
  });
});

describe('what an account says of its principal', () => {
  test('gives nothing where the key does not leave it to the account', async () => {
    await using at = await KmsFixture.withIdentities({ [alice]: identityOf(may('kms:*')) });
    const Policy = policyOf(allow(SESSION.principal.arn));
    const { KeyId } = await at.createKey({ Policy, BypassPolicyLockoutSafetyCheck: true });
    expect(await at.refused('DescribeKey', { KeyId }, ALICE)).toMatch(
      because('because no resource-based policy allows the kms:DescribeKey action'),
    );
  });

  test('denies what the key allows', async () => {
    await using at = await KmsFixture.withIdentities({ [alice]: identityOf(mayNot('kms:De*')) });
    const { KeyId } = await at.createKey({ Policy: policyOf(allow(root), allow(alice)) });
    await at.call('Encrypt', { KeyId, Plaintext: Plaintext() }, ALICE);
    expect(await at.refused('DescribeKey', { KeyId }, ALICE)).toMatch(
      because('with an explicit deny in an identity-based policy'),
    );
  });

  test('bounds a session, which may be narrowed further', async () => {
    await using at = await KmsFixture.withIdentities({
      [SESSION.principal.arn]: {
        boundary: document(may(['kms:Encrypt', 'kms:DescribeKey', 'kms:EnableKey'])),
        session: [document(may(['kms:Encrypt', 'kms:DisableKey']), mayNot('kms:EnableKey'))],
      },
    });
    const { KeyId } = await at.createKey({ Policy: policyOf(allow(root), allow(ROLE)) });
    await at.call('Encrypt', { KeyId, Plaintext: Plaintext() }, SESSION);
    expect(await at.refused('DisableKey', { KeyId }, SESSION)).toMatch(
      because('because no permissions boundary allows the kms:DisableKey action'),
    );
    expect(await at.refused('DescribeKey', { KeyId }, SESSION)).toMatch(
      because('because no session policy allows the kms:DescribeKey action'),
    );
    expect(await at.refused('EnableKey', { KeyId }, SESSION)).toMatch(
      because('with an explicit deny in a session policy'),
    );
  });

  test('is asked too where the key belongs to another account', async () => {
    const known: Record<string, Partial<Identity>> = {};
    await using at = await KmsFixture.withIdentities(known);
    const Policy = policyOf(allow(root), allow(OTHER_ROOT.principal.arn));
    const { Arn: KeyId } = await at.createKey({ Policy });
    const request = { KeyId, Plaintext: Plaintext() };
    expect(await at.refused('Encrypt', request, BOB)).toMatch(/because no identity-based policy/);
    known[BOB.principal.arn] = identityOf(may('kms:Encrypt'));
    await at.call('Encrypt', { KeyId, Plaintext: Plaintext() }, BOB);
    const { Arn } = await at.createKey();
    expect(await at.refused('Encrypt', { ...request, KeyId: Arn }, BOB)).toMatch(
      /because no resource-based policy/,
    );
  });
});

describe('what stands on no key', () => {
  test('is for whom the account lets', async () => {
    await using at = await KmsFixture.withIdentities({
      [alice]: identityOf(may(['kms:ListKeys', 'kms:GenerateRandom'])),
    });
    await at.call('ListKeys', {}, ALICE);
    await at.call('GenerateRandom', { NumberOfBytes: 1 }, ALICE);
    expect(await at.refused('ListAliases', {}, ALICE)).toBe(
      `AccessDeniedException: User: ${alice} is not authorized to perform: kms:ListAliases on ` +
        'resource: * because no identity-based policy allows the kms:ListAliases action',
    );
  });

  test.each<[string, object, object, object]>([
    [
      'a spec',
      { StringEquals: { 'kms:KeySpec': 'SYMMETRIC_DEFAULT' } },
      {},
      { KeySpec: 'RSA_2048' },
    ],
    [
      'a usage',
      { StringEquals: { 'kms:KeyUsage': 'ENCRYPT_DECRYPT' } },
      {},
      { KeyUsage: 'SIGN_VERIFY' },
    ],
    ['an origin', { StringEquals: { 'kms:KeyOrigin': 'AWS_KMS' } }, {}, { Origin: 'EXTERNAL' }],
    ['one region', { Bool: { 'kms:MultiRegion': 'false' } }, {}, { MultiRegion: true }],
    [
      'no way around the check',
      { Bool: { 'kms:BypassPolicyLockoutSafetyCheck': 'false' } },
      {},
      { BypassPolicyLockoutSafetyCheck: true },
    ],
    [
      'a tag',
      { StringEquals: { 'aws:RequestTag/team': 'post' } },
      { Tags: [{ TagKey: 'Team', TagValue: 'post' }] },
      { Tags: [{ TagKey: 'Team', TagValue: 'mail' }] },
    ],
    [
      'names of tags',
      { 'ForAllValues:StringEquals': { 'aws:TagKeys': 'Team' }, Null: { 'aws:TagKeys': 'false' } },
      { Tags: [{ TagKey: 'Team', TagValue: 'post' }] },
      {},
    ],
  ])('a new key must have %s', async (_, Condition, met, unmet) => {
    const identity = identityOf(may('kms:CreateKey', { Condition }));
    await using at = await KmsFixture.withIdentities({ [alice]: identity });
    await at.createKey(met, ALICE);
    expect(await at.refused('CreateKey', unmet, ALICE)).toMatch(/^AccessDenied/);
  });

  test('an alias takes what the account says of it and of its key', async () => {
    const known: Record<string, Partial<Identity>> = {};
    await using at = await KmsFixture.withIdentities(known);
    const { KeyId, Arn } = await at.createKey();
    const request = { AliasName: 'alias/a', TargetKeyId: KeyId };
    const alias = `arn:aws:kms:${REGION}:${ACCOUNT}:alias/*`;
    known[alice] = identityOf(may('kms:CreateAlias', { Resource: alias }));
    expect(await at.refused('CreateAlias', request, ALICE)).toContain(`on resource: ${Arn} `);
    known[alice] = identityOf(may('kms:CreateAlias', { Resource: Arn }));
    expect(await at.refused('CreateAlias', request, ALICE)).toContain(':alias/a because');
    known[alice] = identityOf(may('kms:CreateAlias', { Resource: [alias, Arn] }));
    await at.call('CreateAlias', request, ALICE);
  });
});

/** By action: the condition, what meets it, and what does not. */
const OF_ONE_ACTION: [string, object, object, object][] = [
  [
    'TagResource',
    { StringEquals: { 'aws:RequestTag/Team': 'post' } },
    { Tags: [{ TagKey: 'team', TagValue: 'post' }] },
    { Tags: [{ TagKey: 'team', TagValue: 'mail' }] },
  ],
  [
    'TagResource',
    {
      'ForAllValues:StringEquals': { 'aws:TagKeys': ['a', 'b'] },
      Null: { 'aws:TagKeys': 'false' },
    },
    { Tags: [{ TagKey: 'a', TagValue: '' }] },
    { Tags: ['a', 'c'].map((TagKey) => ({ TagKey, TagValue: '' })) },
  ],
  [
    'UntagResource',
    { 'ForAnyValue:StringEquals': { 'aws:TagKeys': 'a' } },
    { TagKeys: ['b', 'a'] },
    { TagKeys: ['b'] },
  ],
  [
    'ScheduleKeyDeletion',
    { NumericGreaterThanEquals: { 'kms:ScheduleKeyDeletionPendingWindowInDays': '30' } },
    {},
    { PendingWindowInDays: 29 },
  ],
  [
    'EnableKeyRotation',
    { NumericLessThanEquals: { 'kms:RotationPeriodInDays': '365' } },
    {},
    { RotationPeriodInDays: 366 },
  ],
  [
    'PutKeyPolicy',
    { Bool: { 'kms:BypassPolicyLockoutSafetyCheck': 'false' } },
    { Policy: policyOf(allow(root)) },
    { Policy: policyOf(allow(root)), BypassPolicyLockoutSafetyCheck: true },
  ],
  [
    'CreateGrant',
    { 'ForAllValues:StringEquals': { 'kms:GrantOperations': ['Encrypt'] } },
    { GranteePrincipal: alice, Operations: ['Encrypt'] },
    { GranteePrincipal: alice, Operations: ['Encrypt', 'Decrypt'] },
  ],
  [
    'CreateGrant',
    { StringEquals: { 'kms:GranteePrincipal': alice, 'kms:RetiringPrincipal': root } },
    { GranteePrincipal: alice, RetiringPrincipal: root, Operations: ['Encrypt'] },
    { GranteePrincipal: alice, Operations: ['Encrypt'] },
  ],
  [
    'CreateGrant',
    { StringEquals: { 'kms:GrantConstraintType': 'EncryptionContextSubset' } },
    {
      GranteePrincipal: alice,
      Operations: ['Encrypt'],
      Constraints: { EncryptionContextSubset: { a: 'b' } },
    },
    {
      GranteePrincipal: alice,
      Operations: ['Encrypt'],
      Constraints: { EncryptionContextEquals: { a: 'b' } },
    },
  ],
];

describe('what a request of one action says of itself', () => {
  test.each(OF_ONE_ACTION)('%s: %j', async (action, Condition, met, unmet) => {
    await using at = await KmsFixture.open();
    const Action = `kms:${action}`;
    const Policy = policyOf(allow(root), { ...allow(alice, Action), Condition });
    const { KeyId } = await at.createKey({ Policy });
    expect(await at.refused(action, { KeyId, ...unmet }, ALICE)).toMatch(
      because(`because no identity-based policy allows the ${Action} action`),
    );
    await at.kms.perform(action, { KeyId, ...met }, 'cbor', ALICE, newCall(), 'test');
  });
});

describe('how a request came', () => {
  test.each<[string, object, object, object]>([
    [
      'by a service',
      { StringEquals: { 'kms:ViaService': `s3.${REGION}.amazonaws.com` } },
      { viaService: `s3.${REGION}.amazonaws.com` },
      { viaService: `ec2.${REGION}.amazonaws.com` },
    ],
    [
      'from an address',
      { IpAddress: { 'aws:SourceIp': '127.0.0.0/8' } },
      { sourceIp: '::ffff:127.0.0.1' },
      { sourceIp: '203.0.113.7' },
    ],
    [
      'over TLS',
      { Bool: { 'aws:SecureTransport': 'true' } },
      { isSecure: true },
      { isSecure: false },
    ],
    [
      'from a VPC',
      { StringEquals: { 'aws:SourceVpc': 'vpc-1' } },
      { sourceVpc: 'vpc-1' },
      { sourceIp: '127.0.0.1' },
    ],
  ])('%s', async (_, Condition, met, unmet) => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey({
      Policy: policyOf(allow(root), { ...allow(alice), Condition }),
    });
    const request = { KeyId, Plaintext: Plaintext() };
    await at.call('Encrypt', { ...request, Plaintext: Plaintext() }, { ...ALICE, origin: met });
    const refusal = await at.refused('Encrypt', request, { ...ALICE, origin: unmet });
    expect(refusal).toMatch(/^AccessDenied/);
  });

  test('when, by civil time', async () => {
    await using at = await KmsFixture.open();
    const until = new Date(at.time.civil + 1_000).toISOString();
    const Condition = { DateLessThan: { 'aws:CurrentTime': until } };
    const Policy = policyOf(allow(root), { ...allow(alice), Condition });
    const { KeyId } = await at.createKey({ Policy });
    await at.call('DescribeKey', { KeyId }, ALICE);
    at.time.civil += 1_000;
    expect(await at.refused('DescribeKey', { KeyId }, ALICE)).toMatch(/^AccessDenied/);
  });
});

test('a policy that lets pass what has no encryption context is refused', async () => {
  await using at = await KmsFixture.open();
  const Condition = { 'ForAllValues:StringEquals': { 'kms:EncryptionContext:team': 'post' } };
  const Policy = policyOf(allow(root), { ...allow(alice), Condition });
  expect(await at.refused('CreateKey', { Policy })).toMatch(
    /^MalformedPolicyDocumentException: OverlyPermissiveCondition: /,
  );
});
