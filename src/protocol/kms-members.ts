import { LIMITS } from '../core/limits.js';
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
} from './aws-shapes.js';

/**
 * The members that KMS's requests are made of, with their bounds, patterns and enums: those of
 * AWS's model (TrentService 2014-11-01), and of its documentation for what is newer.
 */

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
export const CUSTOMER_MASTER_KEY_SPECS = [
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

export const SIGNING_ALGORITHMS = [
  'RSASSA_PSS_SHA_256',
  'RSASSA_PSS_SHA_384',
  'RSASSA_PSS_SHA_512',
  'RSASSA_PKCS1_V1_5_SHA_256',
  'RSASSA_PKCS1_V1_5_SHA_384',
  'RSASSA_PKCS1_V1_5_SHA_512',
  'ECDSA_SHA_256',
  'ECDSA_SHA_384',
  'ECDSA_SHA_512',
  'SM2DSA',
  'ML_DSA_SHAKE_256',
  'ED25519_SHA_512',
  'ED25519_PH_SHA_512',
] as const;

export const MAC_ALGORITHMS = [
  'HMAC_SHA_224',
  'HMAC_SHA_256',
  'HMAC_SHA_384',
  'HMAC_SHA_512',
] as const;

export const DATA_KEY_PAIR_SPECS = [
  'RSA_2048',
  'RSA_3072',
  'RSA_4096',
  'ECC_NIST_P256',
  'ECC_NIST_P384',
  'ECC_NIST_P521',
  'ECC_SECG_P256K1',
  'SM2',
  'ECC_NIST_EDWARDS25519',
  'ML_KEM_512',
  'ML_KEM_768',
  'ML_KEM_1024',
] as const;

export const WRAPPING_ALGORITHMS = [
  'RSAES_PKCS1_V1_5',
  'RSAES_OAEP_SHA_1',
  'RSAES_OAEP_SHA_256',
  'RSA_AES_KEY_WRAP_SHA_1',
  'RSA_AES_KEY_WRAP_SHA_256',
  'SM2PKE',
] as const;

/** What a grant can allow (KMS API, GrantOperation). */
export const GRANT_OPERATIONS = [
  'Decrypt',
  'Encrypt',
  'GenerateDataKey',
  'GenerateDataKeyWithoutPlaintext',
  'ReEncryptFrom',
  'ReEncryptTo',
  'Sign',
  'Verify',
  'GetPublicKey',
  'CreateGrant',
  'RetireGrant',
  'DescribeKey',
  'GenerateDataKeyPair',
  'GenerateDataKeyPairWithoutPlaintext',
  'GenerateMac',
  'VerifyMac',
  'DeriveSharedSecret',
  'Encapsulate',
  'Decapsulate',
] as const;
export type GrantOperation = (typeof GRANT_OPERATIONS)[number];

export const KEY_ID = string({ min: 1, max: 2048 });
export const ALIAS_NAME = string({ min: 1, max: 256, pattern: pattern('^[a-zA-Z0-9:/_-]+$') });
export const DESCRIPTION = string({ min: 0, max: 8192 });
export const GRANT_TOKEN = string({ min: 1, max: 8192 });
export const GRANT_TOKENS = list(GRANT_TOKEN, { min: 0, max: 10 });
export const GRANT_ID = string({ min: 1, max: 128 });
export const GRANT_NAME = string({ min: 1, max: 256, pattern: pattern('^[a-zA-Z0-9:/_-]+$') });
export const PRINCIPAL_ID = string({ min: 1, max: 256, pattern: pattern('^[\\w+=,.@:/-]+$') });
export const GRANT_CONSTRAINTS = structure({
  EncryptionContextSubset: STRING_MAP,
  EncryptionContextEquals: STRING_MAP,
  SourceArn: string({ min: 1, max: 512 }),
});
export const MARKER = string({
  min: 1,
  max: 1024,
  pattern: pattern('[\\u0020-\\u00FF]*'),
});
export const LIMIT = integer({ min: 1, max: 1000 });
export const LIMIT_100 = integer({ min: 1, max: 100 });
export const LIMIT_50 = integer({ min: 1, max: 50 });
export const PLAINTEXT = blob({ min: 1, max: LIMITS.kms_plaintext_max_bytes });
export const CIPHERTEXT = blob({ min: 1, max: LIMITS.kms_ciphertext_max_bytes });
export const PUBLIC_KEY = blob({ min: 1, max: 8192 });
export const NUMBER_OF_BYTES = integer({ min: 1, max: 1024 });
export const PENDING_WINDOW = integer({ min: 1, max: 365 });
export const ROTATION_PERIOD = integer({ min: 90, max: 2560 });
export const ENCRYPTION_ALGORITHM = oneOf(...ENCRYPTION_ALGORITHMS);
export const POLICY_NAME = string({ min: 1, max: 128, pattern: pattern('[\\w]+') });
export const POLICY = string({
  min: 1,
  max: 131_072,
  pattern: pattern('[\\u0009\\u000A\\u000D\\u0020-\\u00FF]+'),
});
export const DRY_RUN_MODIFIERS = list(oneOf('IGNORE_CIPHERTEXT'), { min: 0, max: 1 });
export const TAG_KEY = string({ min: 1, max: 128 });
export const TAGS = list(
  structure({
    TagKey: required(TAG_KEY),
    TagValue: required(string({ min: 0, max: 256 })),
  }),
);
export const TAG_KEYS = list(TAG_KEY);
export const REGION = string({ min: 1, max: 32, pattern: pattern('^([a-z]+-){2,3}\\d+$') });
export const MATERIAL_ID = string({ min: 64, max: 64, pattern: pattern('^[a-f0-9]+$') });
export const MATERIAL_DESCRIPTION = string({
  min: 0,
  max: 256,
  pattern: pattern('^[a-zA-Z0-9:/_\\s.-]*$'),
});
export const MESSAGE_TYPE = oneOf('RAW', 'DIGEST', 'EXTERNAL_MU');
/** a Nitro enclave that alone can read the answer */
export const RECIPIENT = structure({
  KeyEncryptionAlgorithm: oneOf('RSAES_OAEP_SHA_256'),
  AttestationDocument: blob({ min: 1, max: 262_144 }),
});

export const CUSTOM_KEY_STORE_ID = string({ min: 1, max: 64 });
export const CUSTOM_KEY_STORE_NAME = string({ min: 1, max: 256 });
export const XKS_KEY_ID = string({ min: 1, max: 128, pattern: pattern('^[a-zA-Z0-9-_.]+$') });
/** what CreateCustomKeyStore and UpdateCustomKeyStore have in common */
export const CUSTOM_KEY_STORE = {
  CloudHsmClusterId: string({ min: 19, max: 24 }),
  KeyStorePassword: string({ min: 7, max: 32, secret: true }),
  XksProxyUriEndpoint: string({
    min: 10,
    max: 128,
    pattern: pattern('^https://[a-zA-Z0-9.-]+$'),
  }),
  XksProxyUriPath: string({
    min: 10,
    max: 128,
    pattern: pattern('^(/[a-zA-Z0-9\\/_-]+/kms/xks/v\\d{1,2})$|^(/kms/xks/v\\d{1,2})$'),
  }),
  XksProxyVpcEndpointServiceName: string({
    min: 20,
    max: 64,
    pattern: pattern('^com\\.amazonaws\\.vpce\\.([a-z]+-){2,3}\\d+\\.vpce-svc-[0-9a-z]+$'),
  }),
  XksProxyVpcEndpointServiceOwner: string({ min: 12, max: 12, pattern: pattern('^[0-9]+$') }),
  XksProxyAuthenticationCredential: structure({
    AccessKeyId: required(
      string({ min: 20, max: 30, pattern: pattern('^[A-Z2-7]+$'), secret: true }),
    ),
    RawSecretAccessKey: required(
      string({ min: 43, max: 64, pattern: pattern('^[a-zA-Z0-9\\/+=]+$'), secret: true }),
    ),
  }),
  XksProxyConnectivity: oneOf('PUBLIC_ENDPOINT', 'VPC_ENDPOINT_SERVICE'),
};

export const DATA_KEY = {
  KeyId: required(KEY_ID),
  EncryptionContext: STRING_MAP,
  NumberOfBytes: NUMBER_OF_BYTES,
  KeySpec: oneOf('AES_256', 'AES_128'),
  GrantTokens: GRANT_TOKENS,
  DryRun: BOOLEAN,
};
export const DATA_KEY_PAIR = {
  KeyId: required(KEY_ID),
  KeyPairSpec: required(oneOf(...DATA_KEY_PAIR_SPECS)),
  EncryptionContext: STRING_MAP,
  GrantTokens: GRANT_TOKENS,
  DryRun: BOOLEAN,
};
export const KEY_ALONE = { KeyId: required(KEY_ID) };
export const ALIAS_OF_KEY = { AliasName: required(ALIAS_NAME), TargetKeyId: required(KEY_ID) };
/** a page of what belongs to a key */
export const KEY_PAGE = { KeyId: required(KEY_ID), Limit: LIMIT, Marker: MARKER };
