import { LIMITS } from '../core/limits.js';
import { bytes, flag, int, object, oneOf, optional } from './form.js';
import { keyId, stamp } from './hsm-frame-forms.js';
import { keyMaking, type MadeKey } from './hsm-key-frames.js';
import { SECRET_LENGTH_MAX } from './objects.js';

/**
 * The part of an HSM's frames that is PKCS #11's cryptography with users' keys. Mechanisms are
 * named by their numbers (`CKM`), with the members of their parameters (PKCS #11 2.40, Current
 * Mechanisms); an HSM refuses with HsmMechanismInvalid what it does not have, and with
 * HsmMechanismParamInvalid a parameter that does not fit.
 */
const number = int({ min: 0, max: 0xffff_ffff });
const p11Data = bytes({ max: LIMITS.p11_chunk_max_bytes });
/** a whole chunk can be decrypted, too: with its padding or its tag */
const cipherData = bytes({ max: LIMITS.p11_chunk_max_bytes + 16 });
const stream = int({ min: 1, max: Number.MAX_SAFE_INTEGER });

export const p11Mechanism = object({
  type: number,
  /** CKM_ number of a hash: of OAEP, PSS */
  hash: optional(number),
  /** CKG_ number */
  mgf: optional(number),
  /** PSS, in bytes */
  saltLength: optional(int({ min: 0, max: 512 })),
  /** of OAEP */
  label: optional(bytes({ max: 1_024 })),
  /** of AES-CBC and GCM; of CTR the counter block */
  iv: optional(bytes({ min: 1, max: 128 })),
  /** of CTR: how many bits of the block count */
  counterBits: optional(int({ min: 1, max: 128 })),
  aad: optional(bytes({ max: LIMITS.p11_aad_max_bytes })),
  tagBits: optional(int({ min: 0, max: 128 })),
  /** in bytes, of a general MAC */
  macLength: optional(int({ min: 0, max: 64 })),
});

/** The fields of each operation. */
export const cryptoFields = {
  /** one whole encryption or decryption; the key's attribute `encrypt` or `decrypt` decides */
  p11Cipher: object({
    keyId,
    direction: oneOf('encrypt', 'decrypt'),
    mechanism: p11Mechanism,
    data: cipherData,
  }),
  /**
   * One whole signature or MAC. CKM_RSA_PKCS signs any bytes that fit, CKM_ECDSA a digest of any
   * length, CKM_RSA_PKCS_PSS a digest of its hash; those with a hash in their names hash the data.
   */
  p11Sign: object({ keyId, mechanism: p11Mechanism, data: p11Data }),
  p11Verify: object({
    keyId,
    mechanism: p11Mechanism,
    data: p11Data,
    signature: bytes({ max: 1_024 }),
  }),
  /** one whole digest, without a key */
  digest: object({ type: number, data: p11Data }),
  /** digests and MACs of what comes in pieces; a stream belongs to the login and ends with it */
  streamOpen: object({
    purpose: oneOf('digest', 'sign', 'verify'),
    mechanism: p11Mechanism,
    /** of a MAC */
    keyId: optional(keyId),
  }),
  streamUpdate: object({ stream, data: p11Data }),
  /** ends the stream; `signature` for the purpose `verify` */
  streamFinal: object({ stream, signature: optional(bytes({ max: 1_024 })) }),
  streamClose: object({ stream }),
  /** CKM_ECDH1_DERIVE: the secret key that two parties agree upon */
  p11Derive: object({
    baseId: keyId,
    key: keyMaking,
    type: oneOf('aes', 'generic-secret'),
    /** in bytes; without it as long as the shared secret */
    length: optional(int({ min: 1, max: SECRET_LENGTH_MAX })),
    /** CKD_ number */
    kdf: number,
    sharedData: optional(bytes({ max: 1_024 })),
    /** the other's point, raw (04…) or in a DER OCTET STRING */
    publicData: bytes({ min: 1, max: 1_024 }),
    isSession: optional(flag),
    stamp,
  }),
} as const;

/** What each operation answers. */
export interface CryptoResults {
  'p11-cipher': { readonly data: Uint8Array };
  'p11-sign': { readonly signature: Uint8Array };
  'p11-verify': { readonly valid: boolean };
  digest: { readonly digest: Uint8Array };
  'stream-open': { readonly stream: number };
  'stream-update': Record<string, never>;
  /** `value` of the purposes digest and sign, `valid` of verify */
  'stream-final': { readonly value?: Uint8Array | undefined; readonly valid?: boolean | undefined };
  'stream-close': Record<string, never>;
  'p11-derive': MadeKey;
}
