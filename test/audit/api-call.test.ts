import { expect, test } from 'vitest';
import {
  CallRecords,
  isWordedAlike,
  refusalRecord,
  wordCalls,
  type ApiCallEvent,
} from '../../src/audit/api-call.js';
import { LIMITS } from '../../src/core/limits.js';

const ACCOUNT = '111122223333';
const KEY = `arn:aws:kms:us-west-2:${ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab`;
const OTHER = `arn:aws:kms:us-west-2:444455556666:key/0987dcba-09fe-87dc-65ba-ab0987654321`;
const ALIAS = `arn:aws:kms:us-west-2:${ACCOUNT}:alias/ExampleAlias`;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

const ALICE = {
  arn: `arn:aws:iam::${ACCOUNT}:user/Alice`,
  type: 'User',
  account: ACCOUNT,
  names: [],
} as const;

const DECRYPT: ApiCallEvent = {
  requestId: '12345126-30d5-4b28-98b9-9153da559963',
  service: 'kms',
  door: 'aws',
  caller: {
    principal: ALICE,
    region: 'us-west-2',
    origin: { sourceIp: '192.0.2.0', userAgent: 'AWS Internal' },
    credentials: { accessKeyId: 'EXAMPLE_KEY_ID', principalId: 'EX_PRINCIPAL_ID' },
  },
  action: 'Decrypt',
  isReadOnly: true,
  params: {
    CiphertextBlob: Buffer.from('ciphertext'),
    EncryptionContext: new Map([['Project', 'Alpha']]),
  },
  answer: { KeyId: KEY, Plaintext: Buffer.from('plaintext'), KeyMaterialId: '0'.repeat(64) },
  resource: KEY,
  key: KEY,
  hsm: 'hsm-a',
  entry: 'hsm-b',
  latencyMs: 0.43217,
};

function recordOf(event: ApiCallEvent): Record<string, unknown> {
  const line = new CallRecords().record(event, wordCalls(event), '2020-07-27T22:58:24Z');
  return JSON.parse(`${line}}`) as Record<string, unknown>;
}

test('a record has the form of the one in AWS documentation', () => {
  // "Logging AWS KMS API calls with AWS CloudTrail", Decrypt; ours: the rest of additionalEventData
  expect(recordOf(DECRYPT)).toEqual({
    eventVersion: '1.11',
    userIdentity: {
      type: 'IAMUser',
      principalId: 'EX_PRINCIPAL_ID',
      arn: `arn:aws:iam::${ACCOUNT}:user/Alice`,
      accountId: ACCOUNT,
      accessKeyId: 'EXAMPLE_KEY_ID',
      userName: 'Alice',
    },
    eventTime: '2020-07-27T22:58:24Z',
    eventSource: 'kms.amazonaws.com',
    eventName: 'Decrypt',
    awsRegion: 'us-west-2',
    sourceIPAddress: '192.0.2.0',
    userAgent: 'AWS Internal',
    requestParameters: {
      encryptionAlgorithm: 'SYMMETRIC_DEFAULT',
      encryptionContext: { Project: 'Alpha' },
    },
    responseElements: null,
    additionalEventData: {
      keyMaterialId: '0'.repeat(64),
      door: 'aws',
      hsm: 'hsm-a',
      entry: 'hsm-b',
      latencyMs: 0.432,
    },
    requestID: '12345126-30d5-4b28-98b9-9153da559963',
    eventID: expect.stringMatching(UUID) as string,
    readOnly: true,
    resources: [{ accountId: ACCOUNT, type: 'AWS::KMS::Key', ARN: KEY }],
    eventType: 'AwsApiCall',
    managementEvent: true,
    recipientAccountId: ACCOUNT,
    eventCategory: 'Management',
  });
});

test('a refusal has its code and its sentence, and no answer', () => {
  const code = 'AccessDeniedException';
  const message = `User: ${ALICE.arn} is not authorized to perform: kms:Decrypt`;
  const record = recordOf({ ...DECRYPT, code, message, answer: undefined, hsm: undefined });
  expect(record).toMatchObject({ errorCode: code, errorMessage: message, responseElements: null });
  const silent = recordOf({ ...DECRYPT, code: 'InvalidCiphertextException', message: '' });
  expect(silent).not.toHaveProperty('errorMessage');
});

test('sentences that repeat a secret are cut off before it', () => {
  const value = "Value '[marked]' at 'grantTokens' failed to satisfy constraint: Member must …";
  const message = `1 validation error detected: ${value}`;
  const record = recordOf({ ...DECRYPT, code: 'ValidationException', message });
  expect(record['errorMessage']).toBe('1 validation error detected');
});

test('a change shows what it answered, and the key that it was about', () => {
  const alias: ApiCallEvent = {
    ...DECRYPT,
    action: 'CreateAlias',
    isReadOnly: false,
    params: { AliasName: 'alias/ExampleAlias', TargetKeyId: KEY },
    answer: {},
    resource: ALIAS,
    key: KEY,
  };
  // ibid., CreateAlias
  expect(recordOf(alias)).toMatchObject({
    requestParameters: { aliasName: 'alias/ExampleAlias', targetKeyId: KEY },
    responseElements: { keyId: KEY },
    readOnly: false,
    resources: [
      { accountId: ACCOUNT, type: 'AWS::KMS::Key', ARN: KEY },
      { accountId: ACCOUNT, type: 'AWS::KMS::Key', ARN: ALIAS },
    ],
  });
  const answer = { GrantId: 'f020', GrantToken: 'marked' };
  const grant = recordOf({ ...alias, action: 'CreateGrant', answer, resource: KEY });
  expect(grant['responseElements']).toEqual({ keyId: KEY, grantId: 'f020' });
});

test('ReEncrypt names both keys, the source first', () => {
  const answer = {
    SourceKeyId: KEY,
    KeyId: OTHER,
    SourceKeyMaterialId: '1'.repeat(64),
    DestinationKeyMaterialId: '2'.repeat(64),
  };
  expect(recordOf({ ...DECRYPT, action: 'ReEncrypt', answer, key: OTHER })).toMatchObject({
    resources: [{ ARN: KEY }, { ARN: OTHER, accountId: '444455556666' }],
    additionalEventData: {
      sourceKeyMaterialId: '1'.repeat(64),
      destinationKeyMaterialId: '2'.repeat(64),
    },
  });
});

test('identities are told apart', () => {
  const identity = (caller: ApiCallEvent['caller']): unknown =>
    recordOf({ ...DECRYPT, caller })['userIdentity'];
  const root = `arn:aws:iam::${ACCOUNT}:root`;
  const region = 'us-west-2';
  const account = ACCOUNT;
  expect(
    identity({ principal: { arn: root, type: 'Account', account, names: [root] }, region }),
  ).toEqual({ type: 'Root', principalId: ACCOUNT, arn: root, accountId: ACCOUNT });
  const arn = `arn:aws:sts::${ACCOUNT}:assumed-role/Admin/me`;
  const role = `arn:aws:iam::${ACCOUNT}:role/Admin`;
  const principal = { arn, type: 'AssumedRole', account, names: [arn, role] } as const;
  const credentials = { principalId: 'AROAEXAMPLE:me', issuedAtMs: Date.UTC(2030, 0, 2, 3, 4, 5) };
  const origin = { viaService: 's3.us-west-2.amazonaws.com' };
  expect(identity({ principal, region, credentials, origin })).toEqual({
    type: 'AssumedRole',
    principalId: 'AROAEXAMPLE:me',
    arn,
    accountId: ACCOUNT,
    sessionContext: {
      sessionIssuer: {
        type: 'Role',
        principalId: 'AROAEXAMPLE',
        arn: role,
        accountId: ACCOUNT,
        userName: 'Admin',
      },
      attributes: { creationDate: '2030-01-02T03:04:05Z', mfaAuthenticated: 'false' },
    },
    invokedBy: 's3.us-west-2.amazonaws.com',
  });
});

test('a record that would be too long leaves out what was asked', () => {
  const params = { KeyId: 'k', Policy: '"'.repeat(LIMITS.audit_line_max_bytes) };
  const record = recordOf({ ...DECRYPT, action: 'PutKeyPolicy', params });
  expect(record['requestParameters']).toMatchObject({ omitted: true });
  expect(JSON.stringify(record).length).toBeLessThan(LIMITS.audit_line_max_bytes);
  const userAgent = 'x'.repeat(9_000);
  const caller = { ...DECRYPT.caller, origin: { userAgent } };
  expect(recordOf({ ...DECRYPT, caller })['userAgent']).toHaveLength(1_024);
});

test('calls are worded alike when all that a wording holds is the same', () => {
  const { caller } = DECRYPT;
  const alike: ApiCallEvent[] = [
    { ...DECRYPT, requestId: 'another', latencyMs: 7, params: {}, resource: OTHER },
    { ...DECRYPT, caller: { ...caller, origin: { ...caller.origin } } },
  ];
  const different: ApiCallEvent[] = [
    { ...DECRYPT, hsm: 'hsm-c' },
    { ...DECRYPT, entry: undefined },
    { ...DECRYPT, door: 'websocket' },
    { ...DECRYPT, service: 'cloudhsm' },
    { ...DECRYPT, code: 'DisabledException' },
    { ...DECRYPT, caller: { ...caller, region: 'us-east-1' } },
    { ...DECRYPT, caller: { ...caller, credentials: { accessKeyId: 'ANOTHER' } } },
    { ...DECRYPT, caller: { ...caller, origin: { ...caller.origin, sourceIp: '192.0.2.1' } } },
    { ...DECRYPT, caller: { ...caller, origin: { ...caller.origin, viaService: 's3' } } },
  ];
  expect(alike.map((one) => isWordedAlike(DECRYPT, one))).toEqual(alike.map(() => true));
  expect(different.map((one) => isWordedAlike(DECRYPT, one))).toEqual(different.map(() => false));
});

test('a call of nobody that is known says what it claimed', () => {
  const line = refusalRecord(
    {
      requestId: 'r',
      service: 'kms',
      action: 'Encrypt',
      region: 'us-west-2',
      accessKeyId: 'AKIA',
      message: 'The security token included in the request is invalid.',
      door: 'aws',
      peer: '192.0.2.0',
      code: 'UnrecognizedClientException',
    },
    '2020-07-27T22:58:24Z',
  );
  expect(JSON.parse(`${line}}`)).toMatchObject({
    userIdentity: { type: 'Unknown', accessKeyId: 'AKIA' },
    eventName: 'Encrypt',
    errorCode: 'UnrecognizedClientException',
    sourceIPAddress: '192.0.2.0',
    requestID: 'r',
  });
});
