import { KeyspanError } from '../core/errors.js';
import type { KmsParams } from '../protocol/kms.js';
import type { EncryptionAlgorithm, KeySpec, KeyUsage } from '../protocol/kms-members.js';

/** What AWS lets each spec be used for (CreateKey, KeyUsage). */
const USAGES: Readonly<Record<KeySpec, readonly KeyUsage[]>> = {
  SYMMETRIC_DEFAULT: ['ENCRYPT_DECRYPT'],
  RSA_2048: ['ENCRYPT_DECRYPT', 'SIGN_VERIFY'],
  RSA_3072: ['ENCRYPT_DECRYPT', 'SIGN_VERIFY'],
  RSA_4096: ['ENCRYPT_DECRYPT', 'SIGN_VERIFY'],
  ECC_NIST_P256: ['SIGN_VERIFY', 'KEY_AGREEMENT'],
  ECC_NIST_P384: ['SIGN_VERIFY', 'KEY_AGREEMENT'],
  ECC_NIST_P521: ['SIGN_VERIFY', 'KEY_AGREEMENT'],
  ECC_SECG_P256K1: ['SIGN_VERIFY'],
  ECC_NIST_EDWARDS25519: ['SIGN_VERIFY'],
  HMAC_224: ['GENERATE_VERIFY_MAC'],
  HMAC_256: ['GENERATE_VERIFY_MAC'],
  HMAC_384: ['GENERATE_VERIFY_MAC'],
  HMAC_512: ['GENERATE_VERIFY_MAC'],
  ML_DSA_44: ['SIGN_VERIFY'],
  ML_DSA_65: ['SIGN_VERIFY'],
  ML_DSA_87: ['SIGN_VERIFY'],
  ML_KEM_512: ['ENCAPSULATE_DECAPSULATE'],
  ML_KEM_768: ['ENCAPSULATE_DECAPSULATE'],
  ML_KEM_1024: ['ENCAPSULATE_DECAPSULATE'],
  SM2: ['ENCRYPT_DECRYPT', 'SIGN_VERIFY', 'KEY_AGREEMENT'],
};

/** The specs whose keys can be made here. */
const BUILT: readonly KeySpec[] = ['SYMMETRIC_DEFAULT'];

/** The encryption algorithms that a key of this spec has (KeyMetadata, EncryptionAlgorithms). */
export function encryptionAlgorithms(spec: KeySpec): readonly EncryptionAlgorithm[] {
  return spec === 'SYMMETRIC_DEFAULT' ? ['SYMMETRIC_DEFAULT'] : [];
}

/** What CreateKey is asked to make. */
export interface KeyKind {
  readonly spec: KeySpec;
  readonly usage: KeyUsage;
}

/**
 * Reads spec, usage and origin of a CreateKey request as AWS does, then refuses what is not
 * built.
 * @throws ValidationException, UnsupportedOperationException
 */
export function chooseKind(params: KmsParams<'CreateKey'>): KeyKind {
  if (params.KeySpec !== undefined && params.CustomerMasterKeySpec !== undefined) {
    throw invalid(
      'You cannot specify KeySpec and CustomerMasterKeySpec in the same request. ' +
        'CustomerMasterKeySpec is deprecated.',
    );
  }
  const spec = params.KeySpec ?? params.CustomerMasterKeySpec ?? 'SYMMETRIC_DEFAULT';
  const symmetric = spec === 'SYMMETRIC_DEFAULT';
  if (!symmetric && params.KeyUsage === undefined) {
    throw invalid(
      'You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.',
    );
  }
  const usage = params.KeyUsage ?? 'ENCRYPT_DECRYPT';
  if (!USAGES[spec].includes(usage)) {
    throw invalid(`KeyUsage ${usage} is not compatible with KeySpec ${spec}`);
  }
  refuseUnbuilt(spec, params);
  return { spec, usage };
}

function refuseUnbuilt(spec: KeySpec, params: KmsParams<'CreateKey'>): void {
  const origin = params.Origin ?? 'AWS_KMS';
  if (!BUILT.includes(spec)) throw unsupported(`KeySpec ${spec}`);
  if (origin !== 'AWS_KMS') throw unsupported(`Origin ${origin}`);
  if (params.CustomKeyStoreId !== undefined) throw unsupported('CustomKeyStoreId');
  if (params.XksKeyId !== undefined) throw unsupported('XksKeyId');
  if (params.MultiRegion === true) throw unsupported('MultiRegion');
}

/** @throws InvalidKeyUsageException when a key of this spec does not have the algorithm */
export function requireAlgorithm(
  spec: KeySpec,
  algorithm: EncryptionAlgorithm | undefined,
): EncryptionAlgorithm {
  const wanted = algorithm ?? 'SYMMETRIC_DEFAULT';
  if (encryptionAlgorithms(spec).includes(wanted)) return wanted;
  throw new KeyspanError(
    'InvalidKeyUsageException',
    `Algorithm ${wanted} is incompatible with key spec ${spec}.`,
  );
}

/** A part of AWS's API that Keyspan does not have, named for the caller. */
export const unsupported = (what: string): KeyspanError =>
  new KeyspanError('UnsupportedOperationException', `${what} is not supported by Keyspan.`);

export const invalid = (sentence: string): KeyspanError =>
  new KeyspanError('ValidationException', sentence);
