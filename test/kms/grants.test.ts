import { describe, expect, test, vi } from 'vitest';
import { systemClock } from '../../src/core/clock.js';
import { LIMITS } from '../../src/core/limits.js';
import { Facts } from '../../src/kms/facts.js';
import { GrantFacts } from '../../src/kms/grant-index.js';
import { grantPieces } from '../../src/kms/grants.js';
import type { KmsParts } from '../../src/kms/request.js';
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

const iam = (name: string): string => `arn:aws:iam::${ACCOUNT}:${name}`;
const BOB = callerOf(iam('user/bob'));
const CAROL = callerOf(iam('user/carol'));
const alice = ALICE.principal.arn;
const base = { GranteePrincipal: alice, Operations: ['Decrypt', 'Encrypt'] };
const Plaintext = (): Uint8Array => Buffer.from('secret');

describe('CreateGrant', () => {
  test('lets its grantee use the key, and nobody else', async () => {
    await using at = await KmsFixture.open();
    const { KeyId, Arn } = await at.createKey();
    const { GrantId, GrantToken } = await at.call('CreateGrant', { KeyId, ...base });
    expect(GrantId).toMatch(/^[0-9a-f]{64}$/);
    expect(GrantToken).toMatch(/^[A-Za-z0-9+/=]{100,}$/);
    const { CiphertextBlob } = await at.call('Encrypt', { KeyId, Plaintext: Plaintext() }, ALICE);
    await at.call('Decrypt', { CiphertextBlob }, ALICE);
    expect(await at.refused('Encrypt', { KeyId, Plaintext: Plaintext() }, BOB)).toMatch(
      /^AccessDeniedException: .* because no identity-based policy allows the kms:Encrypt action$/,
    );
    expect(await at.refused('DescribeKey', { KeyId }, ALICE)).toBe(
      `AccessDeniedException: User: ${alice} is not authorized to perform: kms:DescribeKey on ` +
        `resource: ${Arn} because no identity-based policy allows the kms:DescribeKey action`,
    );
  });

  test('without a name makes another one each time', async () => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    const first = await at.call('CreateGrant', { KeyId, ...base });
    const second = await at.call('CreateGrant', { KeyId, ...base });
    expect(second.GrantId).not.toBe(first.GrantId);
  });

  test('with a name makes one, of each key, for the same terms', async () => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    const { KeyId: other } = await at.createKey();
    const named = { ...base, Name: 'a/b' };
    const first = await at.call('CreateGrant', { KeyId, ...named });
    const again = await at.call('CreateGrant', { KeyId, ...named, Operations: named.Operations });
    expect(again.GrantId).toBe(first.GrantId);
    expect(again.GrantToken).not.toBe(first.GrantToken);
    const turned = { ...named, Operations: ['Encrypt', 'Decrypt'] };
    expect((await at.call('CreateGrant', { KeyId, ...turned })).GrantId).toBe(first.GrantId);
    const others = [
      await at.call('CreateGrant', { KeyId: other, ...named }),
      await at.call('CreateGrant', { KeyId, ...named, Operations: ['Decrypt'] }),
      await at.call('CreateGrant', { KeyId, ...named, Name: 'a/c' }),
      await at.call('CreateGrant', { KeyId, ...named, GranteePrincipal: BOB.principal.arn }),
    ];
    const ids = new Set([first, ...others].map(({ GrantId }) => GrantId));
    expect(ids.size).toBe(5);
    await at.call('RevokeGrant', { KeyId, GrantId: first.GrantId });
    expect((await at.call('CreateGrant', { KeyId, ...named })).GrantId).not.toBe(first.GrantId);
  });

  test('of two with one name at once, on two daemons, one is made', async () => {
    await using at = await KmsFixture.open();
    await using another = await at.another();
    const { KeyId } = await at.createKey();
    const named = { KeyId, ...base, Name: 'a' };
    const made = await Promise.all([
      at.call('CreateGrant', named),
      at.call('CreateGrant', named, ROOT, another),
      at.call('CreateGrant', named),
      at.call('CreateGrant', named, ROOT, another),
    ]);
    expect(new Set(made.map(({ GrantId }) => GrantId)).size).toBe(1);
    expect((await at.call('ListGrants', { KeyId })).Grants).toHaveLength(1);
  });

  test('is refused where the state of the key does not allow it', async () => {
    await using at = await KmsFixture.open();
    const { KeyId, Arn } = await at.createKey();
    await at.call('DisableKey', { KeyId });
    expect(await at.refused('CreateGrant', { KeyId, ...base })).toBe(
      `DisabledException: ${Arn} is disabled.`,
    );
  });

  test.each<[string, object, RegExp]>([
    [
      'an operation that the key has not',
      { Operations: ['Sign'] },
      /^ValidationException: arn.* Sign/,
    ],
    [
      'an unknown operation',
      { Operations: ['PutKeyPolicy'] },
      /^ValidationException: 1 validation/,
    ],
    ['an alias', { KeyId: 'alias/a' }, /^NotFoundException: Invalid keyId 'alias\/a'$/],
    ['a grantee that is none', { GranteePrincipal: 'alice' }, /^InvalidArnException: ARN does not/],
    ['a token that is none', { GrantTokens: ['a'] }, /^InvalidGrantTokenException: /],
    ['eleven tokens', { GrantTokens: Array(11).fill('a') }, /^ValidationException: 1 validation/],
  ])('refuses %s', async (_, given, refusal) => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    await at.call('CreateAlias', { AliasName: 'alias/a', TargetKeyId: KeyId });
    expect(await at.refused('CreateGrant', { KeyId, ...base, ...given })).toMatch(refusal);
  });

  test('of a key of another account needs that key to say so', async () => {
    await using at = await KmsFixture.open();
    const other = OTHER_ROOT.principal.arn;
    const Policy = policyOf(allow(ROOT.principal.arn), allow(other, 'kms:CreateGrant'));
    const { Arn } = await at.createKey({ Policy });
    const { Arn: closed } = await at.createKey();
    await at.call('CreateGrant', { KeyId: Arn, ...base }, OTHER_ROOT);
    const { Grants } = await at.call('ListGrants', { KeyId: Arn });
    expect(Grants).toMatchObject([{ IssuingAccount: other, GranteePrincipal: alice }]);
    expect(await at.refused('CreateGrant', { KeyId: closed, ...base }, OTHER_ROOT)).toMatch(
      /no resource-based policy allows the kms:CreateGrant action$/,
    );
  });

  test('a dry run makes none, and says what would be refused', async () => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    const dry = { KeyId, ...base, DryRun: true };
    expect(await at.refused('CreateGrant', dry)).toBe(
      'DryRunOperationException: The request would have succeeded, but the DryRun option is set.',
    );
    expect(await at.refused('CreateGrant', { ...dry, Operations: ['Sign'] })).toMatch(
      /^ValidationException/,
    );
    expect((await at.call('ListGrants', { KeyId })).Grants).toEqual([]);
  });
});

/** A condition on CreateGrant, with a request that meets it and one that does not. */
const CONDITIONS: [string, object, object, object][] = [
  [
    'kms:GrantOperations',
    { 'ForAllValues:StringEquals': { 'kms:GrantOperations': ['Decrypt', 'Encrypt'] } },
    {},
    { Operations: ['Decrypt', 'DescribeKey'] },
  ],
  [
    'kms:GranteePrincipal',
    { StringEquals: { 'kms:GranteePrincipal': alice } },
    {},
    { GranteePrincipal: BOB.principal.arn },
  ],
  [
    'kms:RetiringPrincipal',
    { StringEquals: { 'kms:RetiringPrincipal': CAROL.principal.arn } },
    { RetiringPrincipal: CAROL.principal.arn },
    {},
  ],
  [
    'kms:GrantConstraintType',
    { StringEquals: { 'kms:GrantConstraintType': 'EncryptionContextSubset' } },
    { Constraints: { EncryptionContextSubset: { a: 'b' } } },
    { Constraints: { EncryptionContextEquals: { a: 'b' } } },
  ],
  [
    'kms:EncryptionContext of the constraint',
    { StringEquals: { 'kms:EncryptionContext:a': 'b' } },
    { Constraints: { EncryptionContextSubset: { a: 'b' } } },
    { Constraints: { EncryptionContextSubset: { a: 'c' } } },
  ],
];

describe('conditions on grants', () => {
  test.each(CONDITIONS)('%s', async (_, Condition, met, unmet) => {
    await using at = await KmsFixture.open();
    const may = { ...allow(BOB.principal.arn, 'kms:CreateGrant'), Condition };
    const { KeyId } = await at.createKey({ Policy: policyOf(allow(ROOT.principal.arn), may) });
    await at.call('CreateGrant', { KeyId, ...base, ...met }, BOB);
    expect(await at.refused('CreateGrant', { KeyId, ...base, ...unmet }, BOB)).toMatch(
      /^AccessDeniedException: .*kms:CreateGrant/,
    );
  });

  test('kms:GrantIsForAWSResource: whether a service makes, lists or revokes them', async () => {
    await using at = await KmsFixture.open();
    const Action = ['kms:CreateGrant', 'kms:ListGrants', 'kms:RevokeGrant'];
    const Condition = { Bool: { 'kms:GrantIsForAWSResource': 'true' } };
    const may = { ...allow(BOB.principal.arn, Action), Condition };
    const { KeyId } = await at.createKey({ Policy: policyOf(allow(ROOT.principal.arn), may) });
    const service = { ...BOB, origin: { viaService: 's3.eu-central-1.amazonaws.com' } };
    const { GrantId } = await at.call('CreateGrant', { KeyId, ...base }, service);
    await at.call('ListGrants', { KeyId }, service);
    const refused = [
      await at.refused('CreateGrant', { KeyId, ...base }, BOB),
      await at.refused('ListGrants', { KeyId }, BOB),
      await at.refused('RevokeGrant', { KeyId, GrantId }, BOB),
    ];
    for (const one of refused) expect(one).toMatch(/^AccessDeniedException/);
    await at.call('RevokeGrant', { KeyId, GrantId }, service);
  });
});

describe('RevokeGrant', () => {
  test('binds the next request', async () => {
    await using at = await KmsFixture.open();
    const { KeyId, Arn } = await at.createKey();
    const { GrantId, GrantToken } = await at.call('CreateGrant', { KeyId, ...base });
    const encrypt = { KeyId, Plaintext: Plaintext(), GrantTokens: [GrantToken] };
    await at.call('Encrypt', encrypt, ALICE);
    const dry = { KeyId, GrantId, DryRun: true };
    expect(await at.refused('RevokeGrant', dry)).toMatch(/^DryRunOperationException/);
    expect(await at.call('RevokeGrant', { KeyId: Arn, GrantId })).toEqual({});
    expect(await at.refused('Encrypt', encrypt, ALICE)).toMatch(/^AccessDeniedException/);
    const gone = `NotFoundException: Grant ID ${GrantId} not found`;
    expect(await at.refused('RevokeGrant', { KeyId, GrantId })).toBe(gone);
    expect(await at.refused('RetireGrant', { KeyId: Arn, GrantId })).toBe(gone);
    expect(await at.refused('RetireGrant', { GrantToken })).toBe(gone);
  });

  test('needs the permission, and works in every state', async () => {
    await using at = await KmsFixture.open();
    const Policy = policyOf(allow(ROOT.principal.arn), allow(BOB.principal.arn, 'kms:RevokeGrant'));
    const { KeyId } = await at.createKey({ Policy });
    const RetiringPrincipal = CAROL.principal.arn;
    const { GrantId } = await at.call('CreateGrant', { KeyId, ...base, RetiringPrincipal });
    await at.call('DisableKey', { KeyId });
    for (const caller of [ALICE, CAROL]) {
      expect(await at.refused('RevokeGrant', { KeyId, GrantId }, caller)).toMatch(
        /^AccessDeniedException: .*kms:RevokeGrant/,
      );
    }
    await at.call('RevokeGrant', { KeyId, GrantId }, BOB);
  });

  test('a grant of another key is none of this', async () => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    const { KeyId: other } = await at.createKey();
    const { GrantId } = await at.call('CreateGrant', { KeyId, ...base });
    expect(await at.refused('RevokeGrant', { KeyId: other, GrantId })).toMatch(/^NotFound/);
    expect(await at.refused('RevokeGrant', { KeyId: other, GrantId: `../${GrantId}` })).toMatch(
      /^NotFound/,
    );
  });
});

describe('RetireGrant', () => {
  test.each([['its token'], ['its key and its id']])('by %s', async (by) => {
    await using at = await KmsFixture.open();
    const { KeyId, Arn } = await at.createKey();
    const RetiringPrincipal = CAROL.principal.arn;
    const made = await at.call('CreateGrant', { KeyId, ...base, RetiringPrincipal });
    const { GrantId, GrantToken } = made;
    const which = by === 'its token' ? { GrantToken } : { KeyId: Arn, GrantId };
    expect(await at.refused('RetireGrant', { ...which, DryRun: true }, CAROL)).toMatch(/^DryRun/);
    expect(await at.call('RetireGrant', which, CAROL)).toEqual({});
    expect((await at.call('ListGrants', { KeyId })).Grants).toEqual([]);
    expect(await at.refused('RetireGrant', which, CAROL)).toMatch(/^NotFoundException/);
    const lines = await at.auditLines();
    expect(lines.filter(({ eventName }) => eventName === 'RetireGrant')).toMatchObject([
      { resources: [{ ARN: Arn }], errorCode: 'DryRunOperationException' },
      { resources: [{ ARN: Arn }] },
      { errorCode: 'NotFoundException' },
    ]);
  });

  const either =
    'ValidationException: You must specify either a grant token or a key ID and a grant ID.';
  test.each<[object, string]>([
    [{}, either],
    [{ KeyId: 'k' }, either],
    [{ GrantId: 'g' }, either],
    [{ GrantToken: 'a', GrantId: 'g' }, either],
    [
      { GrantToken: 'a' },
      'InvalidGrantTokenException: the grant token is not one that CreateGrant returned',
    ],
    [{ KeyId: 'k', GrantId: 'g' }, "NotFoundException: Invalid keyId 'k'"],
  ])('refuses %j', async (params, refusal) => {
    await using at = await KmsFixture.open();
    expect(await at.refused('RetireGrant', params)).toBe(refusal);
  });

  test('a token is good in the region of its key', async () => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    const { GrantToken } = await at.call('CreateGrant', { KeyId, ...base });
    const elsewhere = callerOf(ROOT.principal.arn, 'us-east-1');
    expect(await at.refused('RetireGrant', { GrantToken }, elsewhere)).toMatch(/^NotFound/);
  });
});

describe('where grants take their time', () => {
  const grantDelayMs = 60_000;

  test('a token works at once, the grant itself later; and its end shows as late', async () => {
    await using at = await KmsFixture.open(undefined, undefined, { grantDelayMs });
    const { KeyId } = await at.createKey();
    const { GrantId, GrantToken } = await at.call('CreateGrant', { KeyId, ...base });
    const use = (GrantTokens: string[] = []): object => ({
      KeyId,
      Plaintext: Plaintext(),
      GrantTokens,
    });
    const { CiphertextBlob } = await at.call('Encrypt', use([GrantToken]), ALICE);
    await at.call('Decrypt', { CiphertextBlob, GrantTokens: [GrantToken] }, ALICE);
    expect(await at.refused('Encrypt', use(), ALICE)).toMatch(/^AccessDenied/);
    expect(await at.refused('Encrypt', use([GrantToken]), BOB)).toMatch(/^AccessDenied/);
    at.time.civil += grantDelayMs - 1;
    expect(await at.refused('Encrypt', use(), ALICE)).toMatch(/^AccessDenied/);
    at.time.civil += 1;
    await at.call('Encrypt', use(), ALICE);
    await at.call('RevokeGrant', { KeyId, GrantId });
    expect((await at.call('ListGrants', { KeyId })).Grants).toEqual([]);
    expect(await at.refused('RevokeGrant', { KeyId, GrantId })).toMatch(/^NotFound/);
    at.time.civil += grantDelayMs - 1;
    await at.call('Encrypt', use(), ALICE);
    at.time.civil += 1;
    expect(await at.refused('Encrypt', use(), ALICE)).toMatch(/^AccessDenied/);
    expect(await at.refused('Encrypt', use([GrantToken]), ALICE)).toMatch(/^AccessDenied/);
  });

  test('a name is free at once, and those that are over go with the next change', async () => {
    await using at = await KmsFixture.open(undefined, undefined, { grantDelayMs });
    const { KeyId } = await at.createKey();
    const named = { KeyId, ...base, Name: 'a' };
    const first = await at.call('CreateGrant', named);
    await at.call('RevokeGrant', { KeyId, GrantId: first.GrantId });
    const second = await at.call('CreateGrant', named);
    expect(second.GrantId).not.toBe(first.GrantId);
    const stored = async (): Promise<number> => (await at.store.range('kms/grant/')).entries.length;
    expect(await stored()).toBe(2);
    at.time.civil += grantDelayMs;
    await at.call('CreateGrant', { KeyId, ...base });
    expect(await stored()).toBe(2);
    expect((await at.call('CreateGrant', named)).GrantId).toBe(second.GrantId);
  });
});

test('the grants of a key that is removed go in parts of commits, with their names', async () => {
  await using at = await KmsFixture.open();
  const { KeyId } = await at.createKey();
  const { KeyId: other } = await at.createKey();
  await at.call('CreateGrant', { KeyId: other, ...base, Name: 'a' });
  for (let n = 0; n < 150; n += 1) {
    await at.call('CreateGrant', { KeyId, ...base, ...(n % 2 === 0 && { Name: `n${n}` }) });
  }
  await using facts = await Facts.open(at.store, systemClock());
  const key = facts
    .keys(ACCOUNT, REGION, { after: undefined, limit: 2 })
    .find(({ id }) => id === KeyId);
  if (!key) throw new Error('the key is there');
  const parts = [...grantPieces({ facts } as KmsParts, key)];
  expect(parts).toHaveLength(150);
  for (const part of parts) {
    expect(part.compares.length + part.writes.length).toBeLessThanOrEqual(3);
    await at.store.commit(part);
  }
  const left = async (prefix: string): Promise<number> =>
    (await at.store.range(prefix)).entries.length;
  expect([await left('kms/grant/'), await left('kms-grant-name/')]).toEqual([1, 1]);
});

test('a key has a bounded number of grants', async () => {
  await using at = await KmsFixture.open();
  const { KeyId, Arn } = await at.createKey();
  const count = vi.spyOn(GrantFacts.prototype, 'count');
  try {
    count.mockReturnValue(LIMITS.kms_grants_per_key_max);
    expect(await at.refused('CreateGrant', { KeyId, ...base })).toBe(
      `LimitExceededException: A KMS key has at most 50000 grants: ${Arn}`,
    );
    count.mockReturnValue(LIMITS.kms_grants_per_key_max - 1);
    await at.call('CreateGrant', { KeyId, ...base });
  } finally {
    count.mockRestore();
  }
});
