import * as sdk from '@aws-sdk/client-kms';
import { describe, expect, test } from 'vitest';
import {
  isMutating,
  KMS_ACTIONS,
  parseKmsRequest,
  type KmsAction,
} from '../../src/protocol/kms.js';
import type { Member, Members, Shape } from '../../src/protocol/aws-shapes.js';

const KEY_ID = '1234abcd-12ab-34cd-56ef-1234567890ab';

/** The sentence and code that a request is refused with. */
function refusal(action: string, params: unknown, encoding: 'json' | 'cbor' = 'json'): string {
  try {
    parseKmsRequest(action, params, encoding);
  } catch (error) {
    const { code, message } = error as { code: string; message: string };
    return `${code}: ${message}`;
  }
  return 'none';
}

/** The SDK's model of a request: names, types, and how many of the first are required. */
type SdkSchema = readonly [number, string, string, unknown, string[], unknown[], number?];

function sdkSchema(name: string): SdkSchema {
  const schema = (sdk as unknown as Record<string, unknown>)[name];
  expect(schema, name).toBeDefined();
  return schema as SdkSchema;
}

/** The SDK's number for a type, as far as it is not behind a name of its own. */
const SDK_TYPES: Readonly<Record<Shape['kind'], readonly unknown[]>> = {
  string: [0],
  integer: [1],
  boolean: [2],
  timestamp: [4],
  blob: [21],
  map: [128],
  list: [64],
  structure: [],
};
/** What stands first in the description of a type that has a name. */
const SDK_KINDS: Readonly<Record<number, string>> = { 1: 'list', 2: 'map', 3: 'structure' };

/** A member is a type, or a name for one, with or without traits of its own. */
function resolved(type: unknown): unknown {
  if (typeof type === 'function') return (type as () => unknown)();
  if (Array.isArray(type) && typeof type[0] === 'function') return resolved(type[0]);
  return type;
}

function expectSameType(shape: Member, given: unknown, name: string): void {
  const type = resolved(given);
  if (!Array.isArray(type)) {
    expect(SDK_TYPES[shape.kind], name).toContain(type);
  } else if (type[0] === 0) {
    expectSameType(shape, type[4], name);
  } else {
    expect(SDK_KINDS[type[0] as number], name).toBe(shape.kind);
    if (shape.kind === 'structure') expectSameMembers(shape.members, type as never, name);
  }
}

function expectSameMembers(members: Members, schema: SdkSchema, name: string): void {
  const [, , , , names, types, requiredCount = 0] = schema;
  expect(Object.keys(members).toSorted(), name).toEqual(names.toSorted());
  const wanted = Object.keys(members).filter((one) => members[one]?.required);
  expect(wanted.toSorted(), name).toEqual(names.slice(0, requiredCount).toSorted());
  for (const [at, one] of names.entries()) {
    const shape = members[one];
    if (shape) expectSameType(shape, types[at], `${name}.${one}`);
  }
}

describe("the table agrees with the SDK's model", () => {
  test.each(Object.keys(KMS_ACTIONS) as KmsAction[])('%s', (action) => {
    expectSameMembers(KMS_ACTIONS[action], sdkSchema(`${action}Request$`), action);
  });

  test.each<[KmsAction, string, Record<string, string>]>([
    ['CreateKey', 'KeySpec', sdk.KeySpec],
    ['CreateKey', 'CustomerMasterKeySpec', sdk.CustomerMasterKeySpec],
    ['CreateKey', 'KeyUsage', sdk.KeyUsageType],
    ['CreateKey', 'Origin', sdk.OriginType],
    ['Encrypt', 'EncryptionAlgorithm', sdk.EncryptionAlgorithmSpec],
    ['GenerateDataKey', 'KeySpec', sdk.DataKeySpec],
    ['ListKeyRotations', 'IncludeKeyMaterial', sdk.IncludeKeyMaterial],
    ['CreateGrant', 'Operations', sdk.GrantOperation],
    ['CreateCustomKeyStore', 'CustomKeyStoreType', sdk.CustomKeyStoreType],
    ['CreateCustomKeyStore', 'XksProxyConnectivity', sdk.XksProxyConnectivityType],
    ['Decapsulate', 'EncapsulationAlgorithm', sdk.EncapsulationAlgorithmSpec],
    ['Decrypt', 'DryRunModifiers', sdk.DryRunModifierType],
    ['DeriveSharedSecret', 'KeyAgreementAlgorithm', sdk.KeyAgreementAlgorithmSpec],
    ['GenerateDataKeyPair', 'KeyPairSpec', sdk.DataKeyPairSpec],
    ['GenerateMac', 'MacAlgorithm', sdk.MacAlgorithmSpec],
    ['GetParametersForImport', 'WrappingAlgorithm', sdk.AlgorithmSpec],
    ['GetParametersForImport', 'WrappingKeySpec', sdk.WrappingKeySpec],
    ['ImportKeyMaterial', 'ExpirationModel', sdk.ExpirationModelType],
    ['ImportKeyMaterial', 'ImportType', sdk.ImportType],
    ['Sign', 'MessageType', sdk.MessageType],
    ['Sign', 'SigningAlgorithm', sdk.SigningAlgorithmSpec],
    ['Verify', 'SigningAlgorithm', sdk.SigningAlgorithmSpec],
  ])('the values of %s.%s', (action, member, modelled) => {
    const members: Members = KMS_ACTIONS[action];
    const named = members[member];
    const shape = named?.kind === 'list' ? named.of : named;
    const values = shape?.kind === 'string' ? (shape.values ?? []) : [];
    expect(values.toSorted()).toEqual(Object.values(modelled).toSorted());
  });

  test('every action of the SDK is there, and no other', () => {
    const actions = Object.keys(sdk)
      .filter((name) => name.endsWith('Request$'))
      .map((name) => name.slice(0, -'Request$'.length));
    expect(Object.keys(KMS_ACTIONS).toSorted()).toEqual(actions.toSorted());
  });
});

describe('a good request', () => {
  test('gets its types from JSON', () => {
    const { params } = parseKmsRequest(
      'Encrypt',
      {
        KeyId: KEY_ID,
        Plaintext: 'AAEC',
        EncryptionContext: JSON.parse('{"__proto__":"x","a":"b"}'),
        GrantTokens: null,
        Unknown: 7,
      },
      'json',
    );
    expect(params).toEqual({
      KeyId: KEY_ID,
      Plaintext: Buffer.from([0, 1, 2]),
      EncryptionContext: new Map([
        ['__proto__', 'x'],
        ['a', 'b'],
      ]),
    });
  });

  test('may hold bytes or base64 in CBOR', () => {
    const bytes = new Uint8Array([0, 1, 2]);
    for (const Plaintext of [bytes, 'AAEC']) {
      const given = { KeyId: KEY_ID, Plaintext, EncryptionContext: new Map([['a', 'b']]) };
      const { params } = parseKmsRequest('Encrypt', given, 'cbor');
      expect(Buffer.from((params as { Plaintext: Uint8Array }).Plaintext)).toEqual(
        Buffer.from(bytes),
      );
      expect(params).toMatchObject({ EncryptionContext: new Map([['a', 'b']]) });
    }
  });

  test('may have no members at all', () => {
    expect(parseKmsRequest('ListKeys', undefined, 'json').params).toEqual({});
  });

  test('numbers lose their fraction, and CBOR may bring big ones', () => {
    const random = (NumberOfBytes: unknown): unknown =>
      parseKmsRequest('GenerateRandom', { NumberOfBytes }, 'cbor').params;
    expect(random(7.9)).toEqual({ NumberOfBytes: 7 });
    expect(random(7n)).toEqual({ NumberOfBytes: 7 });
  });
});

const one = (problem: string): string =>
  `ValidationException: 1 validation error detected: ${problem}`;

describe("AWS's validation sentences", () => {
  test.each<[string, object, string]>([
    [
      'GenerateRandom',
      { NumberOfBytes: 1025 },
      "Value '1025' at 'numberOfBytes' failed to satisfy constraint: " +
        'Member must have value less than or equal to 1024',
    ],
    [
      'GenerateRandom',
      { NumberOfBytes: 0 },
      "Value '0' at 'numberOfBytes' failed to satisfy constraint: " +
        'Member must have value greater than or equal to 1',
    ],
    [
      'Encrypt',
      { KeyId: KEY_ID, Plaintext: Buffer.alloc(4097).toString('base64') },
      "Value at 'plaintext' failed to satisfy constraint: " +
        'Member must have length less than or equal to 4096',
    ],
    [
      'Encrypt',
      { KeyId: KEY_ID, Plaintext: '' },
      "Value at 'plaintext' failed to satisfy constraint: " +
        'Member must have length greater than or equal to 1',
    ],
    [
      'Decrypt',
      { CiphertextBlob: Buffer.alloc(6145).toString('base64') },
      "Value at 'ciphertextBlob' failed to satisfy constraint: " +
        'Member must have length less than or equal to 6144',
    ],
    [
      'Encrypt',
      { Plaintext: 'AAEC' },
      "Value null at 'keyId' failed to satisfy constraint: Member must not be null",
    ],
    [
      'DescribeKey',
      { KeyId: '' },
      "Value '' at 'keyId' failed to satisfy constraint: " +
        'Member must have length greater than or equal to 1',
    ],
    [
      'CreateAlias',
      { AliasName: 'alias/white space', TargetKeyId: KEY_ID },
      "Value 'alias/white space' at 'aliasName' failed to satisfy constraint: " +
        'Member must satisfy regular expression pattern: ^[a-zA-Z0-9:/_-]+$',
    ],
    [
      'GenerateDataKey',
      { KeyId: KEY_ID, KeySpec: 'AES_512' },
      "Value 'AES_512' at 'keySpec' failed to satisfy constraint: " +
        'Member must satisfy enum value set: [AES_256, AES_128]',
    ],
    [
      'CreateKey',
      {
        Tags: [
          { TagKey: 'a', TagValue: 'b' },
          { TagKey: '', TagValue: 'b' },
        ],
      },
      "Value '' at 'tags.2.member.tagKey' failed to satisfy constraint: " +
        'Member must have length greater than or equal to 1',
    ],
    [
      'CreateKey',
      { Tags: [{ TagKey: 'a' }] },
      "Value null at 'tags.1.member.tagValue' failed to satisfy constraint: " +
        'Member must not be null',
    ],
    [
      'DescribeKey',
      { KeyId: KEY_ID, GrantTokens: [''] },
      "Value '[]' at 'grantTokens' failed to satisfy constraint: " +
        'Member must satisfy constraint: [Member must have length less than or equal to 8192, ' +
        'Member must have length greater than or equal to 1]',
    ],
    [
      'DescribeKey',
      { KeyId: KEY_ID, GrantTokens: Array.from('abcdefghijk') },
      "Value '[a, b, c, d, e, f, g, h, i, j, k]' at 'grantTokens' failed to satisfy " +
        'constraint: Member must have length less than or equal to 10',
    ],
    [
      'ListAliases',
      { Limit: 101 },
      "Value '101' at 'limit' failed to satisfy constraint: " +
        'Member must have value less than or equal to 100',
    ],
  ])('%s %j', (action, params, problem) => {
    expect(refusal(action, params)).toBe(one(problem));
  });

  test('several problems stand in one sentence', () => {
    expect(refusal('CreateAlias', { AliasName: '' })).toBe(
      'ValidationException: 3 validation errors detected: ' +
        "Value '' at 'aliasName' failed to satisfy constraint: " +
        'Member must have length greater than or equal to 1; ' +
        "Value '' at 'aliasName' failed to satisfy constraint: " +
        'Member must satisfy regular expression pattern: ^[a-zA-Z0-9:/_-]+$; ' +
        "Value null at 'targetKeyId' failed to satisfy constraint: Member must not be null",
    );
  });
});

describe('what is not well-formed', () => {
  const encrypt = { KeyId: KEY_ID, Plaintext: 'AAEC' };
  test.each<[string, unknown]>([
    ['a list as parameters', []],
    ['a text as parameters', 'x'],
    ['a number as key id', { ...encrypt, KeyId: 7 }],
    ['a boolean as key id', { ...encrypt, KeyId: true }],
    ['a list as key id', { ...encrypt, KeyId: ['x'] }],
    ['an object as key id', { ...encrypt, KeyId: {} }],
    ['a number as blob', { ...encrypt, Plaintext: 7 }],
    ['base64 without padding', { ...encrypt, Plaintext: 'AAE' }],
    ['base64 for URLs', { ...encrypt, Plaintext: '_-8=' }],
    ['base64 with white space', { ...encrypt, Plaintext: 'AA EC' }],
    ['bytes in JSON', { ...encrypt, Plaintext: new Uint8Array(3) }],
    ['a list as context', { ...encrypt, EncryptionContext: [] }],
    ['a number in a context', { ...encrypt, EncryptionContext: { a: 1 } }],
    ['null in a context', { ...encrypt, EncryptionContext: { a: null } }],
    ['half a character in a context', { ...encrypt, EncryptionContext: { a: '\ud800' } }],
    ['half a character in a name', { ...encrypt, EncryptionContext: { '\udc00': 'a' } }],
    ['a text as list', { ...encrypt, GrantTokens: 'x' }],
    ['a text as boolean', { ...encrypt, DryRun: 'true' }],
  ])('%s', (_, params) => {
    expect(refusal('Encrypt', params)).toMatch(/^SerializationException: ./);
  });

  test.each([Number.NaN, Infinity, '7', true, {}])('%s as number', (NumberOfBytes) => {
    expect(refusal('GenerateRandom', { NumberOfBytes }, 'cbor')).toMatch(/^SerializationExc/);
  });

  test('an action that AWS does not have', () => {
    for (const action of ['', 'encrypt', 'Encrypt ', 'toString', '__proto__', 'ListBuckets']) {
      expect(refusal(action, {})).toMatch(/^UnknownOperationException/);
    }
  });
});

test('isMutating tells what changes facts', () => {
  const reading =
    /^(Describe|Get|List|Encrypt|Decrypt|ReEncrypt|Generate|Sign|Verify|Derive|Encaps|Decaps)/;
  for (const action of Object.keys(KMS_ACTIONS)) {
    expect([action, isMutating(action)]).toEqual([action, !reading.test(action)]);
  }
  expect(isMutating('NoSuchAction')).toBe(false);
});
