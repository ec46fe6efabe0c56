import { expect, test } from 'vitest';
import { ALICE, allow, KmsFixture, policyOf, ROOT } from '../support/kms-fixture.js';

const OWN = allow(ROOT.principal.arn);
const ALICES = allow(ALICE.principal.arn, ['kms:Encrypt', 'kms:DescribeKey']);
const Plaintext = Buffer.from('x');

test('with a delay, the former policy decides for so long', async () => {
  await using at = await KmsFixture.open(undefined, undefined, { consistencyDelayMs: 60_000 });
  const { KeyId } = await at.createKey({ Policy: policyOf(OWN, ALICES) });
  // a new key's own policy decides at once
  await at.call('DescribeKey', { KeyId }, ALICE);
  at.time.ahead += 60_000;
  await at.call('PutKeyPolicy', { KeyId, Policy: policyOf(OWN) });
  await at.call('DescribeKey', { KeyId }, ALICE);
  expect((await at.call('GetKeyPolicy', { KeyId })).Policy).toBe(policyOf(OWN));
  // what else changes of the key is bound at once, and takes nothing of the new policy away
  await at.call('UpdateKeyDescription', { KeyId, Description: 'new' });
  const { KeyMetadata } = await at.call('DescribeKey', { KeyId }, ALICE);
  expect(KeyMetadata.Description).toBe('new');
  at.time.ahead += 60_001;
  expect(await at.refused('DescribeKey', { KeyId }, ALICE)).toMatch(/^AccessDenied/);
  expect((await at.call('GetKeyPolicy', { KeyId })).Policy).toBe(policyOf(OWN));
});

test('with a delay, an alias names its former key for so long, or none', async () => {
  await using at = await KmsFixture.open(undefined, undefined, { consistencyDelayMs: 60_000 });
  const [first, second] = [await at.createKey(), await at.createKey()];
  const AliasName = 'alias/a';
  const named = async (): Promise<string> => (await at.call('Encrypt', use())).KeyId;
  const use = (): object => ({ KeyId: AliasName, Plaintext: Buffer.from(Plaintext) });
  await at.call('CreateAlias', { AliasName, TargetKeyId: first.KeyId });
  expect(await at.refused('Encrypt', use())).toMatch(/is not found/);
  const again = { AliasName, TargetKeyId: second.KeyId };
  expect(await at.refused('CreateAlias', again)).toMatch(/^AlreadyExistsException/);
  at.time.ahead += 60_000;
  expect(await named()).toBe(first.Arn);
  await at.call('UpdateAlias', again);
  expect(await named()).toBe(first.Arn);
  const { Aliases } = await at.call('ListAliases', { KeyId: second.KeyId });
  expect(Aliases).toMatchObject([{ TargetKeyId: second.KeyId }]);
  at.time.ahead += 60_000;
  expect(await named()).toBe(second.Arn);
  await at.call('DeleteAlias', { AliasName });
  expect(await named()).toBe(second.Arn);
  at.time.ahead += 60_000;
  expect(await at.refused('Encrypt', use())).toMatch(/is not found/);
});

test('what was there at the start is in force', async () => {
  await using at = await KmsFixture.open(undefined, undefined, { consistencyDelayMs: 60_000 });
  const { KeyId } = await at.createKey({ Policy: policyOf(OWN, ALICES) });
  await at.call('CreateAlias', { AliasName: 'alias/a', TargetKeyId: KeyId });
  await using another = await at.another();
  await at.call('DescribeKey', { KeyId: 'alias/a' }, ALICE, another);
});

test('an alias of AWS counts from its first use on, whatever the delay', async () => {
  await using at = await KmsFixture.open(undefined, undefined, { consistencyDelayMs: 60_000 });
  const viaService = `s3.${ROOT.region}.amazonaws.com`;
  const viaS3 = { ...ROOT, origin: { viaService } };
  const { KeyId } = await at.call('Encrypt', { KeyId: 'alias/aws/s3', Plaintext }, viaS3);
  expect(KeyId).toMatch(/^arn:aws:kms:/);
});
