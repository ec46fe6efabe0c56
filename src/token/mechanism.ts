import { asBuffer } from '../core/bytes.js';
import { CKM } from '../core/pkcs11.js';
import { PARAMS, type Mechanism } from './cryptoki.js';

/** AES-GCM here: 12-byte IV and 16-byte tag (NIST SP 800-38D). */
export const GCM_IV_BYTES = 12;
export const GCM_TAG_BYTES = 16;

export const AES_KEY_GEN: Mechanism = { mechanism: CKM.AES_KEY_GEN };
export const AES_CMAC: Mechanism = { mechanism: CKM.AES_CMAC };
/** AES key wrap with padding (RFC 5649) */
export const AES_KWP: Mechanism = { mechanism: CKM.AES_KEY_WRAP_PAD };
export const RSA_PKCS: Mechanism = { mechanism: CKM.RSA_PKCS };
/** RSA without any padding (RFC 8017, RSADP) */
export const RSA_RAW: Mechanism = { mechanism: CKM.RSA_X_509 };
export const ECDSA: Mechanism = { mechanism: CKM.ECDSA };
export const EC_KEY_PAIR_GEN: Mechanism = { mechanism: CKM.EC_KEY_PAIR_GEN };
export const RSA_KEY_PAIR_GEN: Mechanism = { mechanism: CKM.RSA_PKCS_KEY_PAIR_GEN };

const CKG_MGF1_SHA1 = 1;
const CKZ_DATA_SPECIFIED = 1;

const oaepSha1 = {
  type: PARAMS.RSA_OAEP,
  hashAlg: CKM.SHA_1,
  mgf: CKG_MGF1_SHA1,
  source: CKZ_DATA_SPECIFIED,
};
/** RSA-OAEP with SHA-1 and no label: the only one that SoftHSM knows. */
export const RSA_OAEP_SHA1: Mechanism = { mechanism: CKM.RSA_PKCS_OAEP, parameter: oaepSha1 };

/** Nothing, at some place of memory. */
const NOTHING = Buffer.alloc(16).subarray(0, 0);

/**
 * Data for the module. SoftHSM takes a pointer that is NULL, as nothing has it, for a mistake of
 * its caller, and the session would be stuck.
 */
export const addressed = (bytes: Uint8Array): Buffer =>
  bytes.length === 0 ? NOTHING : asBuffer(bytes);

const NONE: Buffer = Buffer.alloc(0);
const gcmParameter = {
  type: PARAMS.GCM,
  iv: NONE,
  ivBits: GCM_IV_BYTES * 8,
  aad: NONE,
  tagBits: GCM_TAG_BYTES * 8,
};
const gcmMechanism: Mechanism = { mechanism: CKM.AES_GCM, parameter: gcmParameter };

/**
 * The AES-GCM mechanism for the very next call. There is one object for all calls of a thread,
 * because the serving path makes tens of thousands a second; the module copies what it points to.
 */
export function aesGcm(iv: Buffer, aad: Buffer): Mechanism {
  gcmParameter.iv = iv;
  gcmParameter.aad = aad;
  return gcmMechanism;
}
