import { expect, test } from 'vitest';
import { isShown, quoted, shownMembers } from '../../src/audit/shown-members.js';
import { CLOUDHSM_REQUESTS } from '../../src/protocol/cloudhsm.js';
import { KMS_ACTIONS } from '../../src/protocol/kms.js';

const shown = (members: Record<string, unknown>, action?: string): unknown =>
  JSON.parse(shownMembers(members, action));

/** What no record may show: bytes, and what opens something. */
const SECRET = new Set([
  'AttestationDocument',
  'Ciphertext',
  'CiphertextBlob',
  'EncryptedKeyMaterial',
  'GrantToken',
  'GrantTokens',
  'ImportToken',
  'KeyStorePassword',
  'Mac',
  'Message',
  'Plaintext',
  'PublicKey',
  'Recipient',
  'SharedSecretCiphertextBlob',
  'Signature',
  'XksProxyAuthenticationCredential',
]);

test('each member of each action is shown, or known to be a secret', () => {
  const members = [KMS_ACTIONS, CLOUDHSM_REQUESTS].flatMap((actions) =>
    Object.values(actions).flatMap((action: object) => Object.keys(action)),
  );
  const names = [...new Set(members)];
  expect(names.length).toBeGreaterThan(40);
  expect(names.filter((name) => isShown(name) === SECRET.has(name))).toEqual([]);
});

test('members are named as CloudTrail names them', () => {
  const context = new Map([
    ['Department', 'Engineering'],
    ['quo"ted', 'é\n'],
  ]);
  // "Logging AWS KMS API calls with AWS CloudTrail", GenerateDataKey
  expect(shown({ KeyId: '1234', KeySpec: 'AES_256', EncryptionContext: context })).toEqual({
    keyId: '1234',
    keySpec: 'AES_256',
    encryptionContext: { Department: 'Engineering', 'quo"ted': 'é\n' },
  });
  expect(shown({})).toBe(null);
  expect(shown({ Plaintext: Buffer.of(1), GrantTokens: ['t'], New: 'member' })).toBe(null);
});

test('what AWS writes down though it was left out', () => {
  expect(shown({ CiphertextBlob: Buffer.of(1) }, 'Decrypt')).toEqual({
    encryptionAlgorithm: 'SYMMETRIC_DEFAULT',
  });
  const given = { KeyId: 'k', EncryptionAlgorithm: 'RSAES_OAEP_SHA_256' };
  expect(shown(given, 'Encrypt')).toEqual({
    keyId: 'k',
    encryptionAlgorithm: 'RSAES_OAEP_SHA_256',
  });
  expect(shown({ Description: 'd' }, 'CreateKey')).toEqual({
    description: 'd',
    origin: 'AWS_KMS',
    bypassPolicyLockoutSafetyCheck: false,
    keySpec: 'SYMMETRIC_DEFAULT',
    keyUsage: 'ENCRYPT_DECRYPT',
  });
});

test('within structures names change too, dates are written out, secrets are left out', () => {
  const at = (text: string): number => Date.parse(text) / 1_000;
  expect(
    shown({
      KeyMetadata: {
        AWSAccountId: '111122223333',
        CreationDate: at('2022-08-10T22:38:27Z'),
        Enabled: false,
        EncryptionAlgorithms: ['SYMMETRIC_DEFAULT'],
        CustomKeyStoreId: undefined,
      },
      DeletionDate: at('2021-04-12T00:08:05Z'),
      Tags: [{ TagKey: 'Team', TagValue: 'a' }],
      AccessKey: { AccessKeyId: 'AKIA', SecretAccessKey: 'secret' },
      Cluster: { ClusterId: 'cluster-1', PreCoPassword: 'password' },
    }),
  ).toEqual({
    keyMetadata: {
      AWSAccountId: '111122223333',
      creationDate: 'Aug 10, 2022, 10:38:27 PM',
      enabled: false,
      encryptionAlgorithms: ['SYMMETRIC_DEFAULT'],
    },
    deletionDate: 'Apr 12, 2021, 12:08:05 AM',
    tags: [{ tagKey: 'Team', tagValue: 'a' }],
    accessKey: { accessKeyId: 'AKIA' },
    cluster: { clusterId: 'cluster-1' },
  });
});

test('any text is a string of JSON', () => {
  const texts = ['', 'plain', '"', '\\', '\n', '\u2028', '\ud800', 'é', '[]!#$~ ', '\u007f'];
  for (const text of texts) expect(quoted(text)).toBe(JSON.stringify(text));
});
