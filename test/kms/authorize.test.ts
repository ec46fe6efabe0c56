import { describe, expect, test } from 'vitest';
import {
  ALICE,
  allow,
  callerOf,
  KmsFixture,
  OTHER_ACCOUNT,
  policyOf,
  REGION,
  ROOT,
} from '../support/kms-fixture.js';

const alice = ALICE.principal.arn;
const forRoot = allow(ROOT.principal.arn);
const Plaintext = (): Buffer => Buffer.from('x');

describe('the key policy decides', () => {
  test('a principal that it names is allowed what it names', async () => {
    await using at = await KmsFixture.open();
    const Policy = policyOf(forRoot, allow(alice, ['kms:Encrypt', 'kms:Describe*']));
    const { KeyId, Arn } = await at.createKey({ Policy });
    await at.call('Encrypt', { KeyId, Plaintext: Plaintext() }, ALICE);
    await at.call('DescribeKey', { KeyId }, ALICE);
    expect(await at.refused('DisableKey', { KeyId }, ALICE)).toBe(
      `AccessDeniedException: User: ${alice} is not authorized to perform: kms:DisableKey on ` +
        `resource: ${Arn} because no identity-based policy allows the kms:DisableKey action`,
    );
  });

  test('the default policy leaves users to IAM, which allows none yet', async () => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    expect(await at.refused('Encrypt', { KeyId, Plaintext: Plaintext() }, ALICE)).toMatch(
      /because no identity-based policy allows the kms:Encrypt action$/,
    );
  });

  test('a policy without the account names nobody else', async () => {
    await using at = await KmsFixture.open();
    const { KeyId, Arn } = await at.createKey({
      Policy: policyOf(allow(alice)),
      BypassPolicyLockoutSafetyCheck: true,
    });
    const bob = callerOf(alice.replace('alice', 'bob'));
    expect(await at.refused('Encrypt', { KeyId, Plaintext: Plaintext() }, bob)).toBe(
      `AccessDeniedException: User: ${bob.principal.arn} is not authorized to perform: ` +
        `kms:Encrypt on resource: ${Arn} because no resource-based policy allows the ` +
        'kms:Encrypt action',
    );
  });

  test('an explicit deny wins', async () => {
    await using at = await KmsFixture.open();
    const denied = { ...allow(ROOT.principal.arn, 'kms:Encrypt'), Effect: 'Deny' };
    const { KeyId, Arn } = await at.createKey({ Policy: policyOf(forRoot, denied) });
    expect(await at.refused('Encrypt', { KeyId, Plaintext: Plaintext() })).toBe(
      `AccessDeniedException: User: ${ROOT.principal.arn} is not authorized to perform: ` +
        `kms:Encrypt on resource: ${Arn} with an explicit deny in a resource-based policy`,
    );
  });

  test('a session of a role that it names is allowed', async () => {
    await using at = await KmsFixture.open();
    const role = alice.replace('user/alice', 'role/Deploy');
    const { KeyId } = await at.createKey({ Policy: policyOf(forRoot, allow(role)) });
    const session = callerOf(alice.replace(/iam.*/, 'sts::111122223333:assumed-role/Deploy/1'));
    await at.call('Encrypt', { KeyId, Plaintext: Plaintext() }, session);
  });
});

/** What Alice may do, by conditions; the request either meets them or not. */
const CONDITIONS: [string, object, object, object][] = [
  [
    'the encryption context',
    { StringEquals: { 'kms:EncryptionContext:team': 'post' } },
    { EncryptionContext: { team: 'post' } },
    { EncryptionContext: { team: 'other' } },
  ],
  [
    'names of the encryption context',
    {
      'ForAllValues:StringEquals': { 'kms:EncryptionContextKeys': ['team', 'file'] },
      Null: { 'kms:EncryptionContextKeys': 'false' },
    },
    { EncryptionContext: { team: 'post' } },
    {},
  ],
  [
    'the algorithm, also where it is the default',
    { StringEquals: { 'kms:EncryptionAlgorithm': 'SYMMETRIC_DEFAULT' } },
    {},
    { EncryptionAlgorithm: 'RSAES_OAEP_SHA_1' },
  ],
  [
    'the alias of the request',
    { StringLike: { 'kms:RequestAlias': 'alias/post/*' } },
    { KeyId: 'alias/post/a' },
    {},
  ],
];

const HOLDING: [string, object][] = [
  ['kms:ResourceAliases', { 'ForAnyValue:StringEquals': { 'kms:ResourceAliases': 'alias/other' } }],
  ['kms:CallerAccount', { StringEquals: { 'kms:CallerAccount': ALICE.principal.account } }],
  ['kms:KeySpec', { StringEquals: { 'kms:KeySpec': 'SYMMETRIC_DEFAULT' } }],
  ['kms:KeyOrigin', { StringEquals: { 'kms:KeyOrigin': 'AWS_KMS' } }],
  ['kms:MultiRegion', { Bool: { 'kms:MultiRegion': 'false' } }],
  ['aws:PrincipalArn', { ArnLike: { 'aws:PrincipalArn': 'arn:aws:iam::*:user/al*' } }],
  ['aws:RequestedRegion', { StringEquals: { 'aws:RequestedRegion': REGION } }],
  ['aws:ResourceTag', { StringEquals: { 'aws:ResourceTag/Team': 'post' } }],
];

const NOT_HOLDING: [string, object][] = [
  ['kms:CallerAccount', { StringEquals: { 'kms:CallerAccount': OTHER_ACCOUNT } }],
  ['kms:ViaService', { StringEquals: { 'kms:ViaService': 's3.eu-central-1.amazonaws.com' } }],
  ['kms:ResourceAliases', { 'ForAnyValue:StringEquals': { 'kms:ResourceAliases': 'alias/no' } }],
];

describe('conditions', () => {
  async function keyWith(at: KmsFixture, Condition: object): Promise<string> {
    const { KeyId } = await at.createKey({
      Policy: policyOf(forRoot, { ...allow(alice), Condition }),
      Tags: [{ TagKey: 'Team', TagValue: 'post' }],
    });
    await at.call('CreateAlias', { AliasName: 'alias/post/a', TargetKeyId: KeyId });
    await at.call('CreateAlias', { AliasName: 'alias/other', TargetKeyId: KeyId });
    return KeyId;
  }

  test.each(CONDITIONS)('ask for %s', async (_, condition, met, unmet) => {
    await using at = await KmsFixture.open();
    const KeyId = await keyWith(at, condition);
    await at.call('Encrypt', { KeyId, Plaintext: Plaintext(), ...met }, ALICE);
    const refusal = await at.refused('Encrypt', { KeyId, Plaintext: Plaintext(), ...unmet }, ALICE);
    expect(refusal).toMatch(/^AccessDenied/);
  });

  test.each(HOLDING)('%s is known', async (_, condition) => {
    await using at = await KmsFixture.open();
    const KeyId = await keyWith(at, condition);
    await at.call('Encrypt', { KeyId, Plaintext: Plaintext() }, ALICE);
  });

  test.each(NOT_HOLDING)('%s is compared', async (_, condition) => {
    await using at = await KmsFixture.open();
    const KeyId = await keyWith(at, condition);
    const refusal = await at.refused('Encrypt', { KeyId, Plaintext: Plaintext() }, ALICE);
    expect(refusal).toMatch(/^AccessDenied/);
  });

  test('two names that differ in case do not hide each other', async () => {
    await using at = await KmsFixture.open();
    const Condition = { StringEquals: { 'kms:EncryptionContext:team': 'secret' } };
    const denied = { ...allow('*'), Effect: 'Deny', Action: 'kms:Encrypt', Condition };
    const { KeyId } = await at.createKey({ Policy: policyOf(forRoot, denied) });
    for (const EncryptionContext of [
      { team: 'secret', TEAM: 'x' },
      { TEAM: 'x', team: 'secret' },
    ]) {
      const request = { KeyId, Plaintext: Plaintext(), EncryptionContext };
      expect(await at.refused('Encrypt', request)).toMatch(/explicit deny/);
    }
  });
});
