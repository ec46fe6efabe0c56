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

const arn = (name: string): string => `arn:aws:kms:${REGION}:${ACCOUNT}:${name}`;

/** Those of services are listed too: their keys are not made yet. */
const own = <A extends { AliasName: string }>(aliases: readonly A[]): A[] =>
  aliases.filter(({ AliasName }) => !AliasName.startsWith('alias/aws/'));

describe('CreateAlias', () => {
  test('names a key', async () => {
    await using at = await KmsFixture.open();
    const { KeyId, Arn } = await at.createKey();
    await at.call('CreateAlias', { AliasName: 'alias/app/key_1', TargetKeyId: Arn });
    const { Aliases, Truncated } = await at.call('ListAliases');
    expect(Truncated).toBe(false);
    expect(own(Aliases)).toEqual([
      {
        AliasName: 'alias/app/key_1',
        AliasArn: arn('alias/app/key_1'),
        TargetKeyId: KeyId,
        CreationDate: 1_800_000_000.123,
        LastUpdatedDate: 1_800_000_000.123,
      },
    ]);
    const { KeyMetadata } = await at.call('DescribeKey', { KeyId: 'alias/app/key_1' });
    expect(KeyMetadata.KeyId).toBe(KeyId);
  });

  test.each<[string, string]>([
    [
      'no-prefix',
      'ValidationException: Alias must start with the prefix "alias/". Please see ' +
        'https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html',
    ],
    ['alias/aws/ebs', 'NotAuthorizedException: the name is reserved'],
    ['alias/', 'InvalidAliasNameException: the alias name is not valid'],
    [
      'alias/taken',
      `AlreadyExistsException: An alias with the name ${arn('alias/taken')} already exists`,
    ],
  ])('%s: %s', async (AliasName, refusal) => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    await at.call('CreateAlias', { AliasName: 'alias/taken', TargetKeyId: KeyId });
    expect(await at.refused('CreateAlias', { AliasName, TargetKeyId: KeyId })).toBe(refusal);
  });

  test('names keys of its own account and region alone, and no aliases', async () => {
    await using at = await KmsFixture.open();
    const { KeyId, Arn } = await at.createKey();
    await at.call('CreateAlias', { AliasName: 'alias/a', TargetKeyId: KeyId });
    const AliasName = 'alias/b';
    for (const TargetKeyId of ['alias/a', arn('alias/a')]) {
      expect(await at.refused('CreateAlias', { AliasName, TargetKeyId })).toBe(
        'ValidationException: Aliases must refer to keys. Not aliases',
      );
    }
    expect(await at.refused('CreateAlias', { AliasName, TargetKeyId: Arn }, OTHER_ROOT)).toBe(
      `NotFoundException: Key '${Arn}' does not exist`,
    );
    const elsewhere = callerOf(ROOT.principal.arn, 'us-east-1');
    expect(await at.refused('CreateAlias', { AliasName, TargetKeyId: Arn }, elsewhere)).toBe(
      `NotFoundException: Invalid arn ${REGION}`,
    );
  });

  test('needs both the alias and the key', async () => {
    await using at = await KmsFixture.open();
    const Policy = policyOf(allow(ROOT.principal.arn), allow(ALICE.principal.arn));
    const { KeyId } = await at.createKey({ Policy });
    const request = { AliasName: 'alias/a', TargetKeyId: KeyId };
    expect(await at.refused('CreateAlias', request, ALICE)).toBe(
      `AccessDeniedException: User: ${ALICE.principal.arn} is not authorized to perform: ` +
        `kms:CreateAlias on resource: ${arn('alias/a')} because no identity-based policy allows ` +
        'the kms:CreateAlias action',
    );
  });

  test('is bounded for each key', async () => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    for (let n = 0; n < LIMITS.kms_aliases_per_key_max; n += 1) {
      await at.call('CreateAlias', { AliasName: `alias/a${n}`, TargetKeyId: KeyId });
    }
    const over = { AliasName: 'alias/over', TargetKeyId: KeyId };
    expect(await at.refused('CreateAlias', over)).toMatch(/^LimitExceededException/);
    await at.call('DeleteAlias', { AliasName: 'alias/a0' });
    await at.call('CreateAlias', over);
  });

  test('of two at once, on two daemons, one wins', async () => {
    await using at = await KmsFixture.open();
    await using another = await at.another();
    const first = await at.createKey();
    const second = await at.createKey();
    const [one, two] = await Promise.allSettled([
      at.call('CreateAlias', { AliasName: 'alias/a', TargetKeyId: first.KeyId }),
      at.call('CreateAlias', { AliasName: 'alias/a', TargetKeyId: second.KeyId }, ROOT, another),
    ]);
    expect([one.status, two.status].toSorted()).toEqual(['fulfilled', 'rejected']);
    const lost = one.status === 'rejected' ? one : two;
    expect(lost).toMatchObject({ reason: { code: 'AlreadyExistsException' } });
  });
});

describe('UpdateAlias and DeleteAlias', () => {
  test('move and end a name, and the next request is bound by it', async () => {
    await using at = await KmsFixture.open();
    const first = await at.createKey();
    const second = await at.createKey();
    await at.call('CreateAlias', { AliasName: 'alias/a', TargetKeyId: first.KeyId });
    at.time.civil += 5_000;
    await at.call('UpdateAlias', { AliasName: 'alias/a', TargetKeyId: second.KeyId });
    const { Aliases } = await at.call('ListAliases', { KeyId: second.Arn });
    expect(Aliases).toMatchObject([
      { CreationDate: 1_800_000_000.123, LastUpdatedDate: 1_800_000_005.123 },
    ]);
    expect((await at.call('ListAliases', { KeyId: first.KeyId })).Aliases).toEqual([]);
    const made = await at.call('Encrypt', { KeyId: 'alias/a', Plaintext: Buffer.of(1) });
    expect(made.KeyId).toBe(second.Arn);
    await at.call('DeleteAlias', { AliasName: 'alias/a' });
    expect((await at.call('ListAliases', { KeyId: second.KeyId })).Aliases).toEqual([]);
    const gone = `NotFoundException: Alias ${arn('alias/a')} is not found.`;
    expect(await at.refused('DescribeKey', { KeyId: 'alias/a' })).toBe(gone);
    expect(await at.refused('DeleteAlias', { AliasName: 'alias/a' })).toBe(gone);
    const update = { AliasName: 'alias/a', TargetKeyId: first.KeyId };
    expect(await at.refused('UpdateAlias', update)).toBe(gone);
  });

  test('two updates at once both happen, one after the other', async () => {
    await using at = await KmsFixture.open();
    await using another = await at.another();
    const keys = [await at.createKey(), await at.createKey(), await at.createKey()];
    const [first, second, third] = keys.map((key) => key.KeyId);
    await at.call('CreateAlias', { AliasName: 'alias/a', TargetKeyId: first });
    await Promise.all([
      at.call('UpdateAlias', { AliasName: 'alias/a', TargetKeyId: second }),
      at.call('UpdateAlias', { AliasName: 'alias/a', TargetKeyId: third }, ROOT, another),
    ]);
    const { Aliases } = await at.call('ListAliases');
    expect([second, third]).toContain(own(Aliases)[0]?.TargetKeyId);
    expect(own(Aliases)).toHaveLength(1);
  });
});

test('ListAliases goes through all in pages, also those of one key', async () => {
  await using at = await KmsFixture.open();
  const { KeyId } = await at.createKey();
  const { KeyId: other } = await at.createKey();
  for (let n = 0; n < 5; n += 1) {
    await at.call('CreateAlias', { AliasName: `alias/a${n}`, TargetKeyId: KeyId });
    await at.call('CreateAlias', { AliasName: `alias/b${n}`, TargetKeyId: other });
  }
  const names = async (key?: string): Promise<string[]> => {
    const found: string[] = [];
    let Marker: string | undefined;
    do {
      const page = await at.call('ListAliases', { KeyId: key, Limit: 2, Marker });
      found.push(...own(page.Aliases).map((alias) => alias.AliasName));
      Marker = page.NextMarker;
    } while (Marker !== undefined);
    return found;
  };
  const of = (letter: string): string[] =>
    Array.from({ length: 5 }, (_, n) => `alias/${letter}${n}`);
  expect(await names()).toEqual([...of('a'), ...of('b')]);
  expect(await names(other)).toEqual(of('b'));
});

test('a marker of ListAliases outlives its alias', async () => {
  await using at = await KmsFixture.open();
  const { KeyId } = await at.createKey();
  for (const name of ['a', 'b', 'c', 'd']) {
    await at.call('CreateAlias', { AliasName: `alias/${name}`, TargetKeyId: KeyId });
  }
  for (const key of [undefined, KeyId]) {
    const first = await at.call('ListAliases', { KeyId: key, Limit: 2 });
    const { NextMarker: Marker } = first;
    await at.call('DeleteAlias', { AliasName: 'alias/b' });
    const { Aliases } = await at.call('ListAliases', { KeyId: key, Marker });
    const names = own(Aliases).map((alias) => alias.AliasName);
    expect(names).toEqual(['alias/c', 'alias/d']);
    await at.call('CreateAlias', { AliasName: 'alias/b', TargetKeyId: KeyId });
  }
});

test("each change of an alias needs its keys' permission, too", async () => {
  await using at = await KmsFixture.open();
  const { KeyId } = await at.createKey();
  const BypassPolicyLockoutSafetyCheck = true;
  const Policy = policyOf(allow(ALICE.principal.arn));
  const closed = await at.createKey({ Policy, BypassPolicyLockoutSafetyCheck });
  const AliasName = 'alias/a';
  await at.call('CreateAlias', { AliasName, TargetKeyId: KeyId });
  const toClosed = { AliasName: 'alias/b', TargetKeyId: closed.KeyId };
  const denied = (action: string, key: string): RegExp =>
    new RegExp(`^AccessDeniedException: .*kms:${action} on resource: ${key} because no resource`);
  expect(await at.refused('CreateAlias', toClosed)).toMatch(denied('CreateAlias', closed.Arn));
  const move = { AliasName, TargetKeyId: closed.KeyId };
  expect(await at.refused('UpdateAlias', move)).toMatch(denied('UpdateAlias', closed.Arn));
  const { Arn } = (await at.call('DescribeKey', { KeyId })).KeyMetadata;
  await at.call('PutKeyPolicy', { KeyId, Policy, BypassPolicyLockoutSafetyCheck });
  const back = { AliasName, TargetKeyId: (await at.createKey()).KeyId };
  expect(await at.refused('UpdateAlias', back)).toMatch(denied('UpdateAlias', Arn));
  expect(await at.refused('DeleteAlias', { AliasName })).toMatch(denied('DeleteAlias', Arn));
});

test('ListAliases says nothing of the keys of another account', async () => {
  await using at = await KmsFixture.open();
  const Policy = policyOf(allow(ROOT.principal.arn), allow(OTHER_ROOT.principal.arn));
  const { KeyId, Arn } = await at.createKey({ Policy });
  await at.call('CreateAlias', { AliasName: 'alias/a', TargetKeyId: KeyId });
  expect(await at.refused('ListAliases', { KeyId: Arn }, OTHER_ROOT)).toMatch(/^AccessDenied/);
});
