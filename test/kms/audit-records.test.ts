import { expect, test } from 'vitest';
import {
  ALICE,
  callerOf,
  KmsFixture,
  policyOf,
  REGION,
  ROOT,
  ACCOUNT,
  allow,
} from '../support/kms-fixture.js';

type Entry = Record<string, Record<string, unknown>>;

test('records show what was asked and answered as CloudTrail does', async () => {
  await using at = await KmsFixture.open();
  const { KeyId, Arn } = await at.createKey({ Tags: [{ TagKey: 'Team', TagValue: 'a' }] });
  await at.call('CreateAlias', { AliasName: 'alias/a', TargetKeyId: KeyId });
  const EncryptionContext = { Department: 'Engineering' };
  const given = { KeyId: 'alias/a', Plaintext: Buffer.of(1), EncryptionContext };
  const { CiphertextBlob } = await at.call('Encrypt', given);
  const other = await at.createKey();
  const again = { CiphertextBlob, SourceEncryptionContext: EncryptionContext };
  await at.call('ReEncrypt', { ...again, DestinationKeyId: other.KeyId });
  await at.call('DisableKey', { KeyId });
  await at.call('ListKeys', { Limit: 7 });
  await at.refused('Encrypt', given, ALICE);
  const [created, alias, encrypted, , reEncrypted, disabled, listed, denied] =
    (await at.auditLines()) as unknown as Entry[];
  const key = { accountId: ACCOUNT, type: 'AWS::KMS::Key', ARN: Arn };
  expect(created).toMatchObject({
    userIdentity: { type: 'Root', accountId: ACCOUNT },
    eventSource: 'kms.amazonaws.com',
    awsRegion: REGION,
    requestParameters: { tags: [{ tagKey: 'Team', tagValue: 'a' }], keySpec: 'SYMMETRIC_DEFAULT' },
    responseElements: {
      keyMetadata: {
        AWSAccountId: ACCOUNT,
        keyId: KeyId,
        creationDate: 'Jan 15, 2027, 8:00:00 AM',
      },
    },
    readOnly: false,
    resources: [key],
  });
  expect(alias).toMatchObject({
    requestParameters: { aliasName: 'alias/a', targetKeyId: KeyId },
    responseElements: { keyId: Arn },
    resources: [key, { ARN: `arn:aws:kms:${REGION}:${ACCOUNT}:alias/a` }],
  });
  expect(encrypted).toMatchObject({
    eventTime: '2027-01-15T08:00:00Z',
    requestParameters: {
      keyId: 'alias/a',
      encryptionContext: EncryptionContext,
      encryptionAlgorithm: 'SYMMETRIC_DEFAULT',
    },
    responseElements: null,
    readOnly: true,
    resources: [key],
  });
  expect(reEncrypted).toMatchObject({ resources: [key, { ARN: other.Arn }] });
  expect(disabled).toMatchObject({ responseElements: { keyId: Arn }, resources: [key] });
  expect(listed).toMatchObject({ requestParameters: { limit: 7 }, resources: [] });
  expect(denied).toMatchObject({
    userIdentity: { type: 'IAMUser', userName: 'alice', arn: ALICE.principal.arn },
    errorCode: 'AccessDeniedException',
    requestParameters: { keyId: 'alias/a' },
    responseElements: null,
  });
});

test('no secret of a request or an answer gets into the log', async () => {
  await using at = await KmsFixture.open();
  const mark = 'marked-secret';
  const marked = Buffer.from(mark);
  const policy = policyOf(allow(ROOT.principal.arn), allow(ALICE.principal.arn, 'kms:Encrypt'));
  const { KeyId } = await at.createKey({ Policy: policy });
  const secrets: Uint8Array[] = [marked];
  const GrantTokens = [mark];
  const { CiphertextBlob } = await at.call('Encrypt', { KeyId, Plaintext: Buffer.from(mark) });
  secrets.push(CiphertextBlob);
  const opened = await at.call('Decrypt', { CiphertextBlob });
  expect(Buffer.from(opened.Plaintext).toString()).toBe(mark);
  const data = await at.call('GenerateDataKey', { KeyId, KeySpec: 'AES_256' });
  secrets.push(data.Plaintext, data.CiphertextBlob);
  secrets.push((await at.call('GenerateRandom', { NumberOfBytes: 32 })).Plaintext);
  const stranger = callerOf(`arn:aws:iam::${ACCOUNT}:user/mallory`);
  await at.refused('Encrypt', { KeyId, Plaintext: marked, GrantTokens }, stranger);
  await at.refused('Decrypt', { CiphertextBlob: Buffer.from(mark) });
  await at.refused('Encrypt', { KeyId, Plaintext: Buffer.of(1), GrantTokens: ['', mark] });
  await at.refused('Encrypt', {
    KeyId,
    Plaintext: Buffer.of(1),
    GrantTokens: Array(11).fill(mark),
  });
  await at.refused('Encrypt', { KeyId, Plaintext: mark, GrantTokens: mark });
  await at.refused('Decrypt', { CiphertextBlob, Recipient: { AttestationDocument: marked } });
  await at.call('CreateKey', { GrantTokens, KeyStorePassword: mark });
  const text = JSON.stringify(await at.auditLines());
  expect(text).toContain('GenerateDataKey');
  for (const secret of secrets.map((bytes) => Buffer.from(bytes))) {
    for (const encoding of ['utf8', 'base64', 'hex'] as const) {
      expect(text).not.toContain(secret.toString(encoding));
    }
    expect(text).not.toContain([...secret].slice(0, 6).join(','));
  }
});
