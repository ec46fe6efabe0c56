import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { parseStructure, planOf, type Encoding, type Plan } from './aws-parser.js';
import {
  blob,
  BOOLEAN,
  integer,
  list,
  oneOf,
  pattern,
  required,
  string,
  STRING_MAP,
  structure,
  type Members,
  type ParamsOf,
} from './aws-shapes.js';

export const KEY_SPECS = [
  'SYMMETRIC_DEFAULT',
  'RSA_2048',
  'RSA_3072',
  'RSA_4096',
  'ECC_NIST_P256',
  'ECC_NIST_P384',
  'ECC_NIST_P521',
  'ECC_SECG_P256K1',
  'ECC_NIST_EDWARDS25519',
  'HMAC_224',
  'HMAC_256',
  'HMAC_384',
  'HMAC_512',
  'ML_DSA_44',
  'ML_DSA_65',
  'ML_DSA_87',
  'ML_KEM_512',
  'ML_KEM_768',
  'ML_KEM_1024',
  'SM2',
] as const;
export type KeySpec = (typeof KEY_SPECS)[number];

/** The member that KeySpec replaced knows the specs of its time alone. */
const CUSTOMER_MASTER_KEY_SPECS = [
  'SYMMETRIC_DEFAULT',
  'RSA_2048',
  'RSA_3072',
  'RSA_4096',
  'ECC_NIST_P256',
  'ECC_NIST_P384',
  'ECC_NIST_P521',
  'ECC_SECG_P256K1',
  'HMAC_224',
  'HMAC_256',
  'HMAC_384',
  'HMAC_512',
  'SM2',
] as const;

export const KEY_USAGES = [
  'ENCRYPT_DECRYPT',
  'SIGN_VERIFY',
  'GENERATE_VERIFY_MAC',
  'KEY_AGREEMENT',
  'ENCAPSULATE_DECAPSULATE',
] as const;
export type KeyUsage = (typeof KEY_USAGES)[number];

export const ORIGINS = ['AWS_KMS', 'EXTERNAL', 'AWS_CLOUDHSM', 'EXTERNAL_KEY_STORE'] as const;
export type Origin = (typeof ORIGINS)[number];

export const ENCRYPTION_ALGORITHMS = [
  'SYMMETRIC_DEFAULT',
  'RSAES_OAEP_SHA_1',
  'RSAES_OAEP_SHA_256',
  'SM2PKE',
] as const;
export type EncryptionAlgorithm = (typeof ENCRYPTION_ALGORITHMS)[number];

const KEY_ID = string({ min: 1, max: 2048 });
const ALIAS_NAME = string({ min: 1, max: 256, pattern: pattern('^[a-zA-Z0-9:/_-]+$') });
const GRANT_TOKENS = list(string({ min: 1, max: 8192 }), { min: 0, max: 10 });
const MARKER = string({ min: 1, max: 1024, pattern: pattern('[\\u0020-\\u00FF]*') });
const LIMIT = integer({ min: 1, max: 1000 });
const LIMIT_100 = integer({ min: 1, max: 100 });
const PLAINTEXT = blob({ min: 1, max: LIMITS.kms_plaintext_max_bytes });
const CIPHERTEXT = blob({ min: 1, max: LIMITS.kms_ciphertext_max_bytes });
const NUMBER_OF_BYTES = integer({ min: 1, max: 1024 });
const ALGORITHM = oneOf(...ENCRYPTION_ALGORITHMS);
const CUSTOM_KEY_STORE_ID = string({ min: 1, max: 64 });
const POLICY_NAME = string({ min: 1, max: 128, pattern: pattern('[\\w]+') });
const DRY_RUN_MODIFIERS = list(oneOf('IGNORE_CIPHERTEXT'), { min: 0, max: 1 });
const TAGS = list(
  structure({
    TagKey: required(string({ min: 1, max: 128 })),
    TagValue: required(string({ min: 0, max: 256 })),
  }),
);
/** a Nitro enclave that alone can read the answer */
const RECIPIENT = structure({
  KeyEncryptionAlgorithm: oneOf('RSAES_OAEP_SHA_256'),
  AttestationDocument: blob({ min: 1, max: 262_144 }),
});

const DATA_KEY = {
  KeyId: required(KEY_ID),
  EncryptionContext: STRING_MAP,
  NumberOfBytes: NUMBER_OF_BYTES,
  KeySpec: oneOf('AES_256', 'AES_128'),
  GrantTokens: GRANT_TOKENS,
  DryRun: BOOLEAN,
};
const KEY_ALONE = { KeyId: required(KEY_ID) };

/**
 * The actions that are built, with the members of their requests as AWS's model has them
 * (TrentService 2014-11-01). Both doors and every later action go through this table.
 */
export const KMS_ACTIONS = {
  CreateAlias: { AliasName: required(ALIAS_NAME), TargetKeyId: required(KEY_ID) },
  CreateKey: {
    Policy: string({
      min: 1,
      max: 131_072,
      pattern: pattern('[\\u0009\\u000A\\u000D\\u0020-\\u00FF]+'),
    }),
    Description: string({ min: 0, max: 8192 }),
    KeyUsage: oneOf(...KEY_USAGES),
    CustomerMasterKeySpec: oneOf(...CUSTOMER_MASTER_KEY_SPECS),
    KeySpec: oneOf(...KEY_SPECS),
    Origin: oneOf(...ORIGINS),
    CustomKeyStoreId: CUSTOM_KEY_STORE_ID,
    BypassPolicyLockoutSafetyCheck: BOOLEAN,
    Tags: TAGS,
    MultiRegion: BOOLEAN,
    XksKeyId: string({ min: 1, max: 128, pattern: pattern('^[a-zA-Z0-9-_.]+$') }),
  },
  Decrypt: {
    CiphertextBlob: CIPHERTEXT,
    EncryptionContext: STRING_MAP,
    GrantTokens: GRANT_TOKENS,
    KeyId: KEY_ID,
    EncryptionAlgorithm: ALGORITHM,
    Recipient: RECIPIENT,
    DryRun: BOOLEAN,
    DryRunModifiers: DRY_RUN_MODIFIERS,
  },
  DeleteAlias: { AliasName: required(ALIAS_NAME) },
  DescribeKey: { KeyId: required(KEY_ID), GrantTokens: GRANT_TOKENS },
  DisableKey: KEY_ALONE,
  EnableKey: KEY_ALONE,
  Encrypt: {
    KeyId: required(KEY_ID),
    Plaintext: required(PLAINTEXT),
    EncryptionContext: STRING_MAP,
    GrantTokens: GRANT_TOKENS,
    EncryptionAlgorithm: ALGORITHM,
    DryRun: BOOLEAN,
  },
  GenerateDataKey: { ...DATA_KEY, Recipient: RECIPIENT },
  GenerateDataKeyWithoutPlaintext: DATA_KEY,
  GenerateRandom: {
    NumberOfBytes: NUMBER_OF_BYTES,
    CustomKeyStoreId: CUSTOM_KEY_STORE_ID,
    Recipient: RECIPIENT,
  },
  GetKeyPolicy: { KeyId: required(KEY_ID), PolicyName: POLICY_NAME },
  ListAliases: { KeyId: KEY_ID, Limit: LIMIT_100, Marker: MARKER },
  ListKeyRotations: {
    KeyId: required(KEY_ID),
    IncludeKeyMaterial: oneOf('ALL_KEY_MATERIAL', 'ROTATIONS_ONLY'),
    Limit: LIMIT,
    Marker: MARKER,
  },
  ListKeys: { Limit: LIMIT, Marker: MARKER },
  ReEncrypt: {
    CiphertextBlob: CIPHERTEXT,
    SourceEncryptionContext: STRING_MAP,
    SourceKeyId: KEY_ID,
    DestinationKeyId: required(KEY_ID),
    DestinationEncryptionContext: STRING_MAP,
    SourceEncryptionAlgorithm: ALGORITHM,
    DestinationEncryptionAlgorithm: ALGORITHM,
    GrantTokens: GRANT_TOKENS,
    DryRun: BOOLEAN,
    DryRunModifiers: DRY_RUN_MODIFIERS,
  },
  RotateKeyOnDemand: KEY_ALONE,
  UpdateAlias: { AliasName: required(ALIAS_NAME), TargetKeyId: required(KEY_ID) },
} as const satisfies Record<string, Members>;

export type KmsAction = keyof typeof KMS_ACTIONS;
export type KmsParams<A extends KmsAction> = ParamsOf<(typeof KMS_ACTIONS)[A]>;

/** A request whose form was checked: action and params belong together. */
export type ParsedRequest = {
  [A in KmsAction]: { readonly action: A; readonly params: KmsParams<A> };
}[KmsAction];

/** AWS's other actions: answered with a sentence instead of as unknown ones. */
const NOT_BUILT = new Set(
  `CancelKeyDeletion ConnectCustomKeyStore CreateCustomKeyStore CreateGrant Decapsulate
  DeleteCustomKeyStore DeleteImportedKeyMaterial DeriveSharedSecret DescribeCustomKeyStores
  DisableKeyRotation DisconnectCustomKeyStore EnableKeyRotation Encapsulate GenerateDataKeyPair
  GenerateDataKeyPairWithoutPlaintext GenerateMac GetKeyLastUsage GetKeyRotationStatus
  GetParametersForImport GetPublicKey ImportKeyMaterial ListGrants ListKeyPolicies
  ListResourceTags ListRetirableGrants PutKeyPolicy ReplicateKey RetireGrant RevokeGrant
  ScheduleKeyDeletion Sign TagResource UntagResource UpdateCustomKeyStore UpdateKeyDescription
  UpdatePrimaryRegion Verify VerifyMac`.split(/\s+/),
);

const MUTATING: ReadonlySet<string> = new Set<KmsAction>([
  'CreateAlias',
  'CreateKey',
  'DeleteAlias',
  'DisableKey',
  'EnableKey',
  'RotateKeyOnDemand',
  'UpdateAlias',
]);

const PLANS = new Map<string, Plan>(
  Object.entries(KMS_ACTIONS).map(([action, members]) => [action, planOf(members)]),
);

/** Whether `action` changes facts: such a request is answered once for each idempotency token. */
export const isMutating = (action: string): boolean => MUTATING.has(action);

/** Whether KMS has this action here. */
export const isKmsAction = (action: string): action is KmsAction => PLANS.has(action);

/**
 * Checks the form of a request and gives its members their types: blobs become bytes, the
 * encryption context a Map. Blobs of a CBOR request are not copied.
 * @throws UnknownOperationException, UnsupportedOperationException (an action of AWS's that is
 * not built), SerializationException, ValidationException
 */
export function parseKmsRequest(
  action: string,
  params: unknown,
  encoding: Encoding,
): ParsedRequest {
  const plan = PLANS.get(action);
  if (!plan) throw unknownAction(action);
  const parsed = parseStructure(plan, params ?? {}, encoding);
  return { action, params: parsed } as ParsedRequest;
}

function unknownAction(action: string): KeyspanError {
  if (NOT_BUILT.has(action)) {
    const sentence = `Keyspan does not support the ${action} operation.`;
    return new KeyspanError('UnsupportedOperationException', sentence);
  }
  return new KeyspanError('UnknownOperationException');
}
