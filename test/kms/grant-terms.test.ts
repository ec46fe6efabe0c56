import { describe, expect, test } from 'vitest';
import {
  contextOfTerms,
  readGrantPrincipal,
  readTerms,
  requireGrantable,
} from '../../src/kms/grant-terms.js';
import type { KeyFact } from '../../src/kms/records.js';
import type { KmsParams } from '../../src/protocol/kms.js';
import {
  GRANT_OPERATIONS,
  type GrantOperation,
  type KeySpec,
  type KeyUsage,
} from '../../src/protocol/kms-members.js';

type Given = KmsParams<'CreateGrant'>;

const ALICE = 'arn:aws:iam::111122223333:user/alice';
const TABLE = 'arn:aws:dynamodb:eu-central-1:111122223333:table/Services';
const base: Given = { KeyId: 'key', GranteePrincipal: ALICE, Operations: ['Decrypt'] };
const service: Given = {
  KeyId: 'key',
  GranteeServicePrincipal: 'dynamodb.amazonaws.com',
  RetiringServicePrincipal: 'dynamodb.eu-central-1.amazonaws.com',
  Operations: ['Decrypt'],
  Constraints: { SourceArn: TABLE },
};
const { RetiringServicePrincipal: _, ...notRetirable } = service;
const pair: [string, string] = ['a', 'b'];
const pairs = (count: number, value = 'v'): Map<string, string> =>
  new Map(Array.from({ length: count }, (__, n) => [`k${n}`, value]));

describe('what a request wants a grant to say', () => {
  test('is read with operations once each, in one order', () => {
    expect(
      readTerms({
        ...base,
        Name: 'n',
        Operations: ['DescribeKey', 'Encrypt', 'Decrypt', 'Encrypt'],
        RetiringPrincipal: 'arn:aws:iam::111122223333:role/a/Admin',
        Constraints: { EncryptionContextEquals: new Map([['a', 'b']]) },
      }),
    ).toEqual({
      name: 'n',
      grantee: ALICE,
      retiring: 'arn:aws:iam::111122223333:role/a/Admin',
      operations: ['Decrypt', 'Encrypt', 'DescribeKey'],
      constraints: { equals: [['a', 'b']] },
    });
    expect(readTerms(service)).toEqual({
      granteeService: 'dynamodb.amazonaws.com',
      retiringService: 'dynamodb.eu-central-1.amazonaws.com',
      operations: ['Decrypt'],
      constraints: { sourceArn: TABLE },
    });
  });

  test('may be as long as its bounds', () => {
    const EncryptionContextSubset = pairs(8, 'v'.repeat(384));
    expect(readTerms({ ...base, Constraints: { EncryptionContextSubset } })).toBeDefined();
  });

  test.each<[string, Given, string]>([
    ['no grantee', { KeyId: 'key', Operations: ['Decrypt'] }, 'You must specify either Grantee'],
    ['two grantees', { ...service, ...base, Constraints: { SourceArn: TABLE } }, 'You must spec'],
    [
      'two who retire',
      { ...base, RetiringPrincipal: ALICE, RetiringServicePrincipal: 's3.amazonaws.com' },
      'You can specify either RetiringPrincipal',
    ],
    ['a service without a resource', { ...service, Constraints: {} }, 'A grant with a Grantee'],
    ['a service that nobody retires', notRetirable, 'A grant with a GranteeServicePrincipal'],
    [
      'a service that is none',
      { ...service, GranteeServicePrincipal: 'dynamodb' },
      'dynamodb is not a valid service principal.',
    ],
    ['no operation', { ...base, Operations: [] }, 'Grants must contain at least one operation.'],
    [
      'CreateGrant alone',
      { ...base, Operations: ['CreateGrant', 'CreateGrant'] },
      'Grants must not contain only the CreateGrant operation.',
    ],
    [
      'two constraints, of which one is empty',
      {
        ...base,
        Constraints: { EncryptionContextEquals: new Map(), EncryptionContextSubset: pairs(1) },
      },
      'More than one constraint supplied',
    ],
    [
      'nine pairs',
      { ...base, Constraints: { EncryptionContextEquals: pairs(9) } },
      'A grant constraint can have at most 8 encryption context pairs.',
    ],
    [
      'a long value',
      { ...base, Constraints: { EncryptionContextSubset: pairs(1, 'v'.repeat(385)) } },
      'An encryption context value in a grant constraint can have at most 384 characters.',
    ],
  ])('refuses %s', (__, given, sentence) => {
    expect(() => readTerms(given)).toThrow(
      expect.objectContaining({
        code: 'ValidationException',
        message: expect.stringContaining(sentence) as string,
      }),
    );
  });

  test.each([
    'alice',
    '111122223333',
    'rds.us-east-1.amazonaws.com',
    'arn:aws:iam::111122223333:group/all',
    'arn:aws:iam::111122223333:user/',
    'arn:aws:s3:::bucket',
    'AROAEXAMPLEEXAMPLE',
  ])('refuses %s as a principal', (arn) => {
    const refusal = expect.objectContaining({
      code: 'InvalidArnException',
      message: `ARN does not refer to a valid principal: ${arn}`,
    }) as Error;
    expect(() => readTerms({ ...base, GranteePrincipal: arn })).toThrow(refusal);
    expect(() => readTerms({ ...base, RetiringPrincipal: arn })).toThrow(refusal);
  });

  test.each([
    'arn:aws:iam::111122223333:root',
    'arn:aws:iam::111122223333:user/a/b',
    'arn:aws:iam::111122223333:role/aws-service-role/autoscaling.amazonaws.com/AutoScaling',
    'arn:aws:sts::111122223333:assumed-role/Deploy/session',
    'arn:aws:sts::111122223333:federated-user/Bob',
  ])('takes %s as a principal', (arn) => expect(readGrantPrincipal(arn)).toBe(arn));

  test('refuses a resource that is no ARN', () => {
    expect(() => readTerms({ ...base, Constraints: { SourceArn: 'table' } })).toThrow(
      expect.objectContaining({ code: 'InvalidArnException' }),
    );
  });
});

/** AWS's table of grant operations (developer guide): beside these, every key has three more. */
const POSSIBLE: [KeySpec, KeyUsage, string][] = [
  [
    'SYMMETRIC_DEFAULT',
    'ENCRYPT_DECRYPT',
    'Decrypt Encrypt GenerateDataKey GenerateDataKeyPair GenerateDataKeyPairWithoutPlaintext ' +
      'GenerateDataKeyWithoutPlaintext ReEncryptFrom ReEncryptTo',
  ],
  ['RSA_2048', 'ENCRYPT_DECRYPT', 'Decrypt Encrypt GetPublicKey ReEncryptFrom ReEncryptTo'],
  ['RSA_4096', 'SIGN_VERIFY', 'GetPublicKey Sign Verify'],
  ['ECC_NIST_P256', 'SIGN_VERIFY', 'GetPublicKey Sign Verify'],
  ['ECC_NIST_P256', 'KEY_AGREEMENT', 'DeriveSharedSecret GetPublicKey'],
  ['HMAC_256', 'GENERATE_VERIFY_MAC', 'GenerateMac VerifyMac'],
  ['ML_DSA_44', 'SIGN_VERIFY', 'GetPublicKey Sign Verify'],
  ['ML_KEM_768', 'ENCAPSULATE_DECAPSULATE', 'Decapsulate Encapsulate GetPublicKey'],
];

describe('a key can have grants', () => {
  const arn = 'arn:aws:kms:eu-central-1:111122223333:key/k';
  const keyOf = (spec: KeySpec, usage: KeyUsage): KeyFact => ({ arn, spec, usage }) as KeyFact;

  test.each(POSSIBLE)('%s, %s: for %s', (spec, usage, names) => {
    const key = keyOf(spec, usage);
    const possible = [...names.split(' '), 'CreateGrant', 'DescribeKey', 'RetireGrant'];
    const isRefused = (operation: GrantOperation): boolean => {
      try {
        requireGrantable(key, { grantee: ALICE, operations: [operation], constraints: {} });
        return false;
      } catch (error) {
        expect(error).toMatchObject({
          code: 'ValidationException',
          message:
            `${arn} key spec is ${spec} and key usage is ${usage}, which is not valid for ` +
            `${operation} in a grant.`,
        });
        return true;
      }
    };
    expect(GRANT_OPERATIONS.filter((operation) => !isRefused(operation)).toSorted()).toEqual(
      possible.toSorted(),
    );
  });

  test('with a context only where there is one', () => {
    const terms = { grantee: ALICE, operations: ['DescribeKey'] as const };
    const [hmac, symmetric] = [
      keyOf('HMAC_256', 'GENERATE_VERIFY_MAC'),
      keyOf('SYMMETRIC_DEFAULT', 'ENCRYPT_DECRYPT'),
    ];
    for (const constraints of [{ equals: [pair] }, { subset: [pair] }]) {
      expect(() => requireGrantable(hmac, { ...terms, constraints })).toThrow(
        expect.objectContaining({ code: 'ValidationException' }),
      );
      requireGrantable(symmetric, { ...terms, constraints });
    }
    requireGrantable(hmac, { ...terms, constraints: { sourceArn: TABLE } });
  });
});

test('the context of a grant is that of its constraint', () => {
  const terms = { grantee: ALICE, operations: ['Decrypt'] as const };
  const equals = [pair];
  expect(contextOfTerms({ ...terms, constraints: { equals } })).toEqual(new Map(equals));
  expect(contextOfTerms({ ...terms, constraints: { subset: equals } })).toEqual(new Map(equals));
  expect(contextOfTerms({ ...terms, constraints: {} })).toBeUndefined();
});
