import { KeyspanError } from '../core/errors.js';
import { parseStructure, planOf, type Encoding, type Plan } from './aws-parser.js';
import {
  BOOLEAN,
  list,
  oneOf,
  required,
  string,
  STRING_MAP,
  TIMESTAMP,
  type Members,
  type ParamsOf,
} from './aws-shapes.js';
import * as member from './kms-members.js';

const ENCAPSULATION_ALGORITHM = oneOf('ML_KEM');
const USE = { GrantTokens: member.GRANT_TOKENS, DryRun: BOOLEAN };
const SIGNATURE = {
  KeyId: required(member.KEY_ID),
  Message: required(member.PLAINTEXT),
  MessageType: member.MESSAGE_TYPE,
  SigningAlgorithm: required(oneOf(...member.SIGNING_ALGORITHMS)),
  ...USE,
};
const MAC = {
  Message: required(member.PLAINTEXT),
  KeyId: required(member.KEY_ID),
  MacAlgorithm: required(oneOf(...member.MAC_ALGORITHMS)),
  ...USE,
};

/**
 * All actions of KMS, with the members of their requests as AWS's model has them (TrentService
 * 2014-11-01). Both doors go through this table, also for what has no operation yet.
 */
export const KMS_ACTIONS = {
  CancelKeyDeletion: member.KEY_ALONE,
  ConnectCustomKeyStore: { CustomKeyStoreId: required(member.CUSTOM_KEY_STORE_ID) },
  CreateAlias: member.ALIAS_OF_KEY,
  CreateCustomKeyStore: {
    CustomKeyStoreName: required(member.CUSTOM_KEY_STORE_NAME),
    TrustAnchorCertificate: string({ min: 1, max: 5000 }),
    CustomKeyStoreType: oneOf('AWS_CLOUDHSM', 'EXTERNAL_KEY_STORE'),
    ...member.CUSTOM_KEY_STORE,
  },
  CreateGrant: {
    KeyId: required(member.KEY_ID),
    GranteePrincipal: member.PRINCIPAL_ID,
    RetiringPrincipal: member.PRINCIPAL_ID,
    Operations: required(list(oneOf(...member.GRANT_OPERATIONS))),
    Constraints: member.GRANT_CONSTRAINTS,
    GrantTokens: member.GRANT_TOKENS,
    Name: member.GRANT_NAME,
    DryRun: BOOLEAN,
    GranteeServicePrincipal: member.PRINCIPAL_ID,
    RetiringServicePrincipal: member.PRINCIPAL_ID,
  },
  CreateKey: {
    Policy: member.POLICY,
    Description: member.DESCRIPTION,
    KeyUsage: oneOf(...member.KEY_USAGES),
    CustomerMasterKeySpec: oneOf(...member.CUSTOMER_MASTER_KEY_SPECS),
    KeySpec: oneOf(...member.KEY_SPECS),
    Origin: oneOf(...member.ORIGINS),
    CustomKeyStoreId: member.CUSTOM_KEY_STORE_ID,
    BypassPolicyLockoutSafetyCheck: BOOLEAN,
    Tags: member.TAGS,
    MultiRegion: BOOLEAN,
    XksKeyId: member.XKS_KEY_ID,
  },
  Decapsulate: {
    KeyId: required(member.KEY_ID),
    SharedSecretCiphertextBlob: required(member.CIPHERTEXT),
    EncapsulationAlgorithm: required(ENCAPSULATION_ALGORITHM),
    ...USE,
  },
  Decrypt: {
    CiphertextBlob: member.CIPHERTEXT,
    EncryptionContext: STRING_MAP,
    GrantTokens: member.GRANT_TOKENS,
    KeyId: member.KEY_ID,
    EncryptionAlgorithm: member.ENCRYPTION_ALGORITHM,
    Recipient: member.RECIPIENT,
    DryRun: BOOLEAN,
    DryRunModifiers: member.DRY_RUN_MODIFIERS,
  },
  DeleteAlias: { AliasName: required(member.ALIAS_NAME) },
  DeleteCustomKeyStore: { CustomKeyStoreId: required(member.CUSTOM_KEY_STORE_ID) },
  DeleteImportedKeyMaterial: {
    KeyId: required(member.KEY_ID),
    KeyMaterialId: member.MATERIAL_ID,
  },
  DeriveSharedSecret: {
    KeyId: required(member.KEY_ID),
    KeyAgreementAlgorithm: required(oneOf('ECDH')),
    PublicKey: required(member.PUBLIC_KEY),
    ...USE,
    Recipient: member.RECIPIENT,
  },
  DescribeCustomKeyStores: {
    CustomKeyStoreId: member.CUSTOM_KEY_STORE_ID,
    CustomKeyStoreName: member.CUSTOM_KEY_STORE_NAME,
    Limit: member.LIMIT,
    Marker: member.MARKER,
  },
  DescribeKey: { KeyId: required(member.KEY_ID), GrantTokens: member.GRANT_TOKENS },
  DisableKey: member.KEY_ALONE,
  DisableKeyRotation: member.KEY_ALONE,
  DisconnectCustomKeyStore: { CustomKeyStoreId: required(member.CUSTOM_KEY_STORE_ID) },
  EnableKey: member.KEY_ALONE,
  EnableKeyRotation: {
    KeyId: required(member.KEY_ID),
    RotationPeriodInDays: member.ROTATION_PERIOD,
  },
  Encapsulate: {
    KeyId: required(member.KEY_ID),
    EncapsulationAlgorithm: required(ENCAPSULATION_ALGORITHM),
    ...USE,
  },
  Encrypt: {
    KeyId: required(member.KEY_ID),
    Plaintext: required(member.PLAINTEXT),
    EncryptionContext: STRING_MAP,
    GrantTokens: member.GRANT_TOKENS,
    EncryptionAlgorithm: member.ENCRYPTION_ALGORITHM,
    DryRun: BOOLEAN,
  },
  GenerateDataKey: { ...member.DATA_KEY, Recipient: member.RECIPIENT },
  GenerateDataKeyPair: { ...member.DATA_KEY_PAIR, Recipient: member.RECIPIENT },
  GenerateDataKeyPairWithoutPlaintext: member.DATA_KEY_PAIR,
  GenerateDataKeyWithoutPlaintext: member.DATA_KEY,
  GenerateMac: MAC,
  GenerateRandom: {
    NumberOfBytes: member.NUMBER_OF_BYTES,
    CustomKeyStoreId: member.CUSTOM_KEY_STORE_ID,
    Recipient: member.RECIPIENT,
  },
  GetKeyLastUsage: member.KEY_ALONE,
  GetKeyPolicy: { KeyId: required(member.KEY_ID), PolicyName: member.POLICY_NAME },
  GetKeyRotationStatus: member.KEY_ALONE,
  GetParametersForImport: {
    KeyId: required(member.KEY_ID),
    WrappingAlgorithm: required(oneOf(...member.WRAPPING_ALGORITHMS)),
    WrappingKeySpec: required(oneOf('RSA_2048', 'RSA_3072', 'RSA_4096', 'SM2')),
  },
  GetPublicKey: { KeyId: required(member.KEY_ID), GrantTokens: member.GRANT_TOKENS },
  ImportKeyMaterial: {
    KeyId: required(member.KEY_ID),
    ImportToken: required(member.CIPHERTEXT),
    EncryptedKeyMaterial: required(member.CIPHERTEXT),
    ValidTo: TIMESTAMP,
    ExpirationModel: oneOf('KEY_MATERIAL_EXPIRES', 'KEY_MATERIAL_DOES_NOT_EXPIRE'),
    ImportType: oneOf('NEW_KEY_MATERIAL', 'EXISTING_KEY_MATERIAL'),
    KeyMaterialDescription: member.MATERIAL_DESCRIPTION,
    KeyMaterialId: member.MATERIAL_ID,
  },
  ListAliases: { KeyId: member.KEY_ID, Limit: member.LIMIT_100, Marker: member.MARKER },
  ListGrants: {
    Limit: member.LIMIT_100,
    Marker: member.MARKER,
    KeyId: required(member.KEY_ID),
    GrantId: member.GRANT_ID,
    GranteePrincipal: member.PRINCIPAL_ID,
    GranteeServicePrincipal: member.PRINCIPAL_ID,
  },
  ListKeyPolicies: member.KEY_PAGE,
  ListKeyRotations: {
    ...member.KEY_PAGE,
    IncludeKeyMaterial: oneOf('ALL_KEY_MATERIAL', 'ROTATIONS_ONLY'),
  },
  ListKeys: { Limit: member.LIMIT, Marker: member.MARKER },
  ListResourceTags: { ...member.KEY_PAGE, Limit: member.LIMIT_50 },
  ListRetirableGrants: {
    Limit: member.LIMIT_100,
    Marker: member.MARKER,
    RetiringPrincipal: member.PRINCIPAL_ID,
    RetiringServicePrincipal: member.PRINCIPAL_ID,
  },
  PutKeyPolicy: {
    KeyId: required(member.KEY_ID),
    PolicyName: member.POLICY_NAME,
    Policy: required(member.POLICY),
    BypassPolicyLockoutSafetyCheck: BOOLEAN,
  },
  ReEncrypt: {
    CiphertextBlob: member.CIPHERTEXT,
    SourceEncryptionContext: STRING_MAP,
    SourceKeyId: member.KEY_ID,
    DestinationKeyId: required(member.KEY_ID),
    DestinationEncryptionContext: STRING_MAP,
    SourceEncryptionAlgorithm: member.ENCRYPTION_ALGORITHM,
    DestinationEncryptionAlgorithm: member.ENCRYPTION_ALGORITHM,
    GrantTokens: member.GRANT_TOKENS,
    DryRun: BOOLEAN,
    DryRunModifiers: member.DRY_RUN_MODIFIERS,
  },
  ReplicateKey: {
    KeyId: required(member.KEY_ID),
    ReplicaRegion: required(member.REGION),
    Policy: member.POLICY,
    BypassPolicyLockoutSafetyCheck: BOOLEAN,
    Description: member.DESCRIPTION,
    Tags: member.TAGS,
  },
  RetireGrant: {
    GrantToken: member.GRANT_TOKEN,
    KeyId: member.KEY_ID,
    GrantId: member.GRANT_ID,
    DryRun: BOOLEAN,
  },
  RevokeGrant: {
    KeyId: required(member.KEY_ID),
    GrantId: required(member.GRANT_ID),
    DryRun: BOOLEAN,
  },
  RotateKeyOnDemand: member.KEY_ALONE,
  ScheduleKeyDeletion: {
    KeyId: required(member.KEY_ID),
    PendingWindowInDays: member.PENDING_WINDOW,
  },
  Sign: SIGNATURE,
  TagResource: { KeyId: required(member.KEY_ID), Tags: required(member.TAGS) },
  UntagResource: { KeyId: required(member.KEY_ID), TagKeys: required(member.TAG_KEYS) },
  UpdateAlias: member.ALIAS_OF_KEY,
  UpdateCustomKeyStore: {
    CustomKeyStoreId: required(member.CUSTOM_KEY_STORE_ID),
    NewCustomKeyStoreName: member.CUSTOM_KEY_STORE_NAME,
    ...member.CUSTOM_KEY_STORE,
  },
  UpdateKeyDescription: {
    KeyId: required(member.KEY_ID),
    Description: required(member.DESCRIPTION),
  },
  UpdatePrimaryRegion: {
    KeyId: required(member.KEY_ID),
    PrimaryRegion: required(member.REGION),
  },
  Verify: { ...SIGNATURE, Signature: required(member.CIPHERTEXT) },
  VerifyMac: { ...MAC, Mac: required(member.CIPHERTEXT) },
} as const satisfies Record<string, Members>;

export type KmsAction = keyof typeof KMS_ACTIONS;
export type KmsParams<A extends KmsAction> = ParamsOf<(typeof KMS_ACTIONS)[A]>;

/** A request whose form was checked: action and params belong together. */
export type ParsedRequest = {
  [A in KmsAction]: { readonly action: A; readonly params: KmsParams<A> };
}[KmsAction];

const MUTATING: ReadonlySet<string> = new Set<KmsAction>([
  'CancelKeyDeletion',
  'ConnectCustomKeyStore',
  'CreateAlias',
  'CreateCustomKeyStore',
  'CreateGrant',
  'CreateKey',
  'DeleteAlias',
  'DeleteCustomKeyStore',
  'DeleteImportedKeyMaterial',
  'DisableKey',
  'DisableKeyRotation',
  'DisconnectCustomKeyStore',
  'EnableKey',
  'EnableKeyRotation',
  'ImportKeyMaterial',
  'PutKeyPolicy',
  'ReplicateKey',
  'RetireGrant',
  'RevokeGrant',
  'RotateKeyOnDemand',
  'ScheduleKeyDeletion',
  'TagResource',
  'UntagResource',
  'UpdateAlias',
  'UpdateCustomKeyStore',
  'UpdateKeyDescription',
  'UpdatePrimaryRegion',
]);

const PLANS = new Map<string, Plan>(
  Object.entries(KMS_ACTIONS).map(([action, members]) => [action, planOf(members)]),
);

/** Whether `action` changes facts: such a request is answered once for each idempotency token. */
export const isMutating = (action: string): boolean => MUTATING.has(action);

/** Whether KMS has this action; it need not be built here. */
export const isKmsAction = (action: string): action is KmsAction => PLANS.has(action);

/**
 * Checks the form of a request and gives its members their types: blobs become bytes, the
 * encryption context a Map. Blobs of a CBOR request are not copied.
 * @throws UnknownOperationException, SerializationException, ValidationException
 */
export function parseKmsRequest(
  action: string,
  params: unknown,
  encoding: Encoding,
): ParsedRequest {
  const plan = PLANS.get(action);
  if (!plan) throw new KeyspanError('UnknownOperationException');
  const parsed = parseStructure(plan, params ?? {}, encoding);
  return { action, params: parsed } as ParsedRequest;
}
