import { createHmac } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import type { KmsKeyId } from '../../src/core/ids.js';
import { importedMaterialId } from '../../src/kms/materials.js';
import type { KeySeed } from '../../src/kms/seeding.js';
import {
  ACCOUNT,
  ALICE,
  callerOf,
  allow,
  KmsFixture,
  newCall,
  OTHER_ACCOUNT,
  policyOf,
  REGION,
  text,
} from '../support/kms-fixture.js';

const ID = '1234abcd-12ab-34cd-56ef-1234567890ab' as KmsKeyId;
const ARN = `arn:aws:kms:${REGION}:${ACCOUNT}:key/${ID}`;
const BOB = callerOf(`arn:aws:iam::${ACCOUNT}:user/bob`);
const OLD = Buffer.alloc(32, 'old');
const NEW = Buffer.alloc(32, 'new');
/** a new one each time: Encrypt wipes what it is given */
const plaintext = (): Buffer => Buffer.from('a letter');

const seedOf = (changes: Partial<KeySeed> = {}): KeySeed => ({
  id: ID,
  account: ACCOUNT,
  region: REGION,
  materials: [NEW],
  isEnabled: true,
  aliases: [],
  grants: [],
  params: {},
  ...changes,
});

/** @returns `code: sentence` of the refusal */
async function refusal(at: KmsFixture, seed: KeySeed): Promise<string> {
  const outcome = await at.kms.seedKey(seed, newCall()).catch((error: unknown) => error);
  const { code, message } = outcome as { code?: string; message: string };
  return `${code ?? 'no code'}: ${message}`;
}

describe('a key of a seed', () => {
  test('has its id, and all that the seed says, from its first moment on', async () => {
    await using at = await KmsFixture.open();
    const Policy = policyOf(allow(ALICE.principal.arn));
    const params = { Description: 'letters', Policy, Tags: [{ TagKey: 'team', TagValue: 'post' }] };
    const aliases = ['alias/letters', 'alias/post'];
    const seed = seedOf({ params, aliases, isEnabled: false });
    expect(await at.kms.seedKey(seed, newCall())).toBe('made');
    const { KeyMetadata } = await at.call('DescribeKey', { KeyId: ID }, ALICE);
    expect(KeyMetadata).toMatchObject({
      Arn: ARN,
      CreationDate: 1_800_000_000.123,
      Description: 'letters',
      KeyState: 'Disabled',
      Origin: 'AWS_KMS',
    });
    expect((await at.call('GetKeyPolicy', { KeyId: ID }, ALICE)).Policy).toBe(Policy);
    const { Aliases } = await at.call('ListAliases', { KeyId: ID });
    expect(Aliases.map(({ AliasName, TargetKeyId }) => [AliasName, TargetKeyId])).toEqual([
      ['alias/letters', ID],
      ['alias/post', ID],
    ]);
    expect(at.vault.states()).toEqual(['live']);
  });

  test('without material gets one from the vault', async () => {
    await using at = await KmsFixture.open();
    await at.kms.seedKey(seedOf({ materials: [] }), newCall());
    expect(at.vault.asked).toEqual(['createKey']);
    await at.call('Encrypt', { KeyId: ID, Plaintext: plaintext() });
  });

  test('encrypts in one installation what it decrypts in another', async () => {
    await using one = await KmsFixture.open();
    await using other = await KmsFixture.open();
    const EncryptionContext = { to: 'carol' };
    for (const at of [one, other]) await at.kms.seedKey(seedOf(), newCall());
    const given = { KeyId: ID, Plaintext: plaintext(), EncryptionContext };
    const { CiphertextBlob } = await one.call('Encrypt', given);
    const opened = await other.call('Decrypt', { CiphertextBlob, EncryptionContext });
    expect(text(opened.Plaintext)).toBe('a letter');
    expect(opened.KeyId).toBe(ARN);
    const [, foreign] = [await other.createKey(), { CiphertextBlob, EncryptionContext: {} }];
    expect(await other.refused('Decrypt', foreign)).toBe('InvalidCiphertextException: ');
  });

  test('has older materials, which decrypt what they encrypted before', async () => {
    await using before = await KmsFixture.open();
    await using at = await KmsFixture.open();
    await before.kms.seedKey(seedOf({ materials: [OLD] }), newCall());
    const { CiphertextBlob } = await before.call('Encrypt', { KeyId: ID, Plaintext: plaintext() });
    await at.kms.seedKey(seedOf({ materials: [OLD, NEW] }), newCall());
    expect(text((await at.call('Decrypt', { CiphertextBlob })).Plaintext)).toBe('a letter');
    const { Rotations } = await at.call('ListKeyRotations', {
      KeyId: ID,
      IncludeKeyMaterial: 'ALL_KEY_MATERIAL',
    });
    expect(Rotations).toMatchObject([
      { KeyMaterialId: importedMaterialId(ID, OLD), KeyMaterialState: 'NON_CURRENT' },
      {
        KeyMaterialId: importedMaterialId(ID, NEW),
        KeyMaterialState: 'CURRENT',
        RotationType: 'ON_DEMAND',
        RotationDate: 1_800_000_000.123,
      },
    ]);
    expect(Rotations[0]).not.toHaveProperty('RotationDate');
  });

  test('rotates as any other, with its older materials counted', async () => {
    await using at = await KmsFixture.open();
    await at.kms.seedKey(seedOf({ materials: [OLD, NEW] }), newCall());
    await at.call('RotateKeyOnDemand', { KeyId: ID });
    expect((await at.call('ListKeyRotations', { KeyId: ID })).Rotations).toHaveLength(2);
    expect(await at.kms.seedKey(seedOf({ materials: [OLD, NEW] }), newCall())).toBe('present');
  });

  test('rotates by itself where the seed says so, from its making on', async () => {
    await using at = await KmsFixture.open();
    await at.kms.seedKey(seedOf({ rotationDays: 180 }), newCall());
    const status = await at.call('GetKeyRotationStatus', { KeyId: ID });
    expect(status).toMatchObject({
      KeyRotationEnabled: true,
      RotationPeriodInDays: 180,
      NextRotationDate: 1_800_000_000.123 + 180 * 86_400,
    });
  });

  test('has its grants, with ids that are the same each time', async () => {
    const grants: KeySeed['grants'] = [
      { grantee: BOB.principal.arn, operations: ['Decrypt'], constraints: {}, name: 'reader' },
      {
        grantee: BOB.principal.arn,
        operations: ['Encrypt'],
        constraints: { equals: [['to', 'carol']] },
      },
    ];
    const ids = new Set<string>();
    for (let home = 0; home < 2; home += 1) {
      await using at = await KmsFixture.open();
      await at.kms.seedKey(seedOf({ grants }), newCall());
      const { Grants } = await at.call('ListGrants', { KeyId: ID });
      expect(Grants).toHaveLength(2);
      for (const { GrantId, IssuingAccount } of Grants) {
        ids.add(GrantId);
        expect(IssuingAccount).toBe(`arn:aws:iam::${ACCOUNT}:root`);
      }
      const given = { KeyId: ARN, Plaintext: plaintext() };
      const EncryptionContext = { to: 'carol' };
      await at.call('Encrypt', { ...given, EncryptionContext }, BOB);
      expect(await at.refused('Encrypt', given, BOB)).toContain('AccessDeniedException');
      const { CiphertextBlob } = await at.call('Encrypt', { ...given, Plaintext: plaintext() });
      expect(text((await at.call('Decrypt', { CiphertextBlob }, BOB)).Plaintext)).toBe('a letter');
    }
    expect(ids.size).toBe(2);
  });

  test('is audited once, in the name of its account’s root', async () => {
    await using at = await KmsFixture.open();
    await at.kms.seedKey(seedOf(), newCall());
    await at.kms.seedKey(seedOf(), newCall());
    const lines = await at.auditLines();
    expect(lines).toMatchObject([
      {
        eventName: 'CreateKey',
        userIdentity: { arn: `arn:aws:iam::${ACCOUNT}:root` },
        resources: [{ ARN }],
        responseElements: { keyMetadata: { arn: ARN } },
      },
    ]);
    expect(JSON.stringify(lines)).toContain('"seed"');
    const said = JSON.stringify(lines);
    for (const encoding of ['base64', 'hex', 'latin1'] as const) {
      expect(said).not.toContain(NEW.toString(encoding));
    }
  });
});

describe('a key that is there', () => {
  test('stays as it is', async () => {
    await using at = await KmsFixture.open();
    await at.kms.seedKey(seedOf(), newCall());
    const before = await at.call('DescribeKey', { KeyId: ID });
    const params = { Description: 'another', Policy: policyOf(allow(ALICE.principal.arn)) };
    const changed = seedOf({ params, isEnabled: false, aliases: ['alias/new'] });
    expect(await at.kms.seedKey(changed, newCall())).toBe('present');
    expect(await at.call('DescribeKey', { KeyId: ID })).toEqual(before);
    expect((await at.call('ListAliases', { KeyId: ID })).Aliases).toEqual([]);
    expect(at.vault.keys.size).toBe(1);
  });

  test('is refused with other material, by its name', async () => {
    await using at = await KmsFixture.open();
    await at.kms.seedKey(seedOf(), newCall());
    const sentence = `KeyspanConfig: The key ${ID} exists with other key material (${ARN}).`;
    expect(await refusal(at, seedOf({ materials: [OLD] }))).toBe(sentence);
    expect(await refusal(at, seedOf({ materials: [OLD, NEW] }))).toBe(sentence);
    expect(at.vault.keys.size).toBe(1);
  });

  test.each([{ account: OTHER_ACCOUNT }, { region: 'us-east-1' }])(
    'is refused elsewhere: ids are one installation’s (%o)',
    async (place) => {
      await using at = await KmsFixture.open();
      await at.kms.seedKey(seedOf(), newCall());
      const sentence = `KeyspanConfig: The key ${ID} exists in another account or region.`;
      expect(await refusal(at, seedOf(place))).toBe(sentence);
    },
  );
});

describe('what CreateKey and CreateAlias refuse is refused, and nothing is left of it', () => {
  test.each<[string, Partial<KeySeed>, string]>([
    ['a policy', { params: { Policy: '{' } }, 'MalformedPolicyDocumentException: '],
    [
      'tags',
      { params: { Tags: [{ TagKey: 'aws:a', TagValue: '' }] } },
      'TagException: Tags beginning with aws: are reserved',
    ],
    ['an alias of AWS’s', { aliases: ['alias/aws/s3'] }, 'NotAuthorizedException: '],
    [
      'an alias that is taken',
      { aliases: ['alias/taken'] },
      `KeyspanConfig: The alias arn:aws:kms:${REGION}:${ACCOUNT}:alias/taken names another key.`,
    ],
  ])('%s', async (_what, changes, sentence) => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    await at.call('CreateAlias', { AliasName: 'alias/taken', TargetKeyId: KeyId });
    expect(await refusal(at, seedOf(changes))).toContain(sentence);
    expect(await at.refused('DescribeKey', { KeyId: ID })).toContain('NotFoundException');
    expect(at.vault.states()).toEqual(['live']);
  });

  test('a vault that fails in between gives up what it took', async () => {
    await using at = await KmsFixture.open();
    let asked = 0;
    at.vault.whileCreating = async () => {
      asked += 1;
      if (asked === 2) throw new Error('the second');
    };
    const outcome = await refusal(at, seedOf({ materials: [OLD, NEW] }));
    expect(outcome).toContain('KMSInternalException');
    expect(at.vault.states()).toEqual(['abandoned']);
    expect(await at.refused('DescribeKey', { KeyId: ID })).toContain('NotFoundException');
  });
});

test('two daemons that seed one store at once make one key', async () => {
  await using at = await KmsFixture.open();
  await using other = await at.another();
  const seeds = [at.kms, other].map((kms) => kms.seedKey(seedOf(), newCall()));
  expect((await Promise.all(seeds)).sort()).toEqual(['made', 'present']);
  expect([...at.vault.states()].sort()).toEqual(['abandoned', 'live']);
});

test('the id of a material is an HMAC under it, and says nothing of other keys', () => {
  const expected = createHmac('sha256', NEW).update(`keyspan material v1\0${ID}`).digest('hex');
  expect(importedMaterialId(ID, NEW)).toBe(expected);
  const other = '00000000-0000-4000-8000-000000000000' as KmsKeyId;
  expect(importedMaterialId(other, NEW)).not.toBe(expected);
});
