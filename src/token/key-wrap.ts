import {
  constants,
  createCipheriv,
  createDecipheriv,
  createPublicKey,
  publicEncrypt,
  randomBytes,
} from 'node:crypto';
import { asBuffer, wipe } from '../core/bytes.js';
import { KeyspanError } from '../core/errors.js';
import { gcmDecrypt, gcmEncrypt } from './cipher.js';
import { GCM_IV_BYTES, RSA_RAW } from './mechanism.js';
import { padOaep, padPkcs1, unpadOaep, unpadPkcs1, type Oaep } from './rsa-padding.js';
import type { Handle, Token } from './token.js';

/** The eight ways of CloudHSM (CloudHSM CLI, `key wrap`). */
export type WrapMechanism =
  | {
      readonly name: 'aes-gcm' | 'cloudhsm-aes-gcm';
      readonly tagLengthBits: number;
      readonly aad: Uint8Array;
      /** to unwrap what `aes-gcm` wrapped */
      readonly iv?: Uint8Array;
    }
  | ({ readonly name: 'rsa-aes' | 'rsa-oaep' } & Oaep)
  | { readonly name: 'aes-no-pad' | 'aes-pkcs5-pad' | 'aes-zero-pad' | 'rsa-pkcs' };

/** The key that wraps: AES by its handle and its bytes, RSA by its public half and its handle. */
export interface WrappingKey {
  readonly handle?: Handle | undefined;
  readonly bytes?: Uint8Array | undefined;
  /** SubjectPublicKeyInfo in DER */
  readonly spki?: Uint8Array | undefined;
}

export interface Wrapped {
  readonly data: Buffer;
  readonly iv?: Buffer;
}

/**
 * Wraps the bytes of a key.
 * @param payload a secret, or PKCS #8 in DER; the caller wipes it
 * @throws KeyspanError HsmDataInvalid when the mechanism cannot carry it
 */
export function wrapPayload(
  token: Token,
  key: WrappingKey,
  mechanism: WrapMechanism,
  payload: Uint8Array,
): Wrapped {
  switch (mechanism.name) {
    case 'aes-gcm':
      return wrapGcm(token, key, mechanism, payload);
    case 'cloudhsm-aes-gcm': {
      const { iv, data } = wrapGcm(token, key, mechanism, payload);
      return { data: Buffer.concat([iv, data]) };
    }
    case 'aes-no-pad':
      return { data: keyWrap(bytesOf(key), aligned(payload)) };
    case 'aes-pkcs5-pad': {
      const padded = padBlock(payload);
      try {
        return { data: keyWrap(bytesOf(key), padded) };
      } finally {
        wipe(padded);
      }
    }
    case 'aes-zero-pad':
      return { data: keyWrapPad(bytesOf(key), payload) };
    case 'rsa-pkcs':
      return { data: rsaEncrypt(key, (size) => padPkcs1(payload, size)) };
    case 'rsa-oaep':
      return { data: rsaEncrypt(key, (size) => padOaep(payload, size, mechanism)) };
    case 'rsa-aes':
      return { data: wrapRsaAes(key, mechanism, payload) };
  }
}

/**
 * The bytes of a key that was wrapped; the caller wipes them.
 * @throws KeyspanError HsmDataInvalid, which says nothing of what is wrong
 */
export function unwrapPayload(
  token: Token,
  key: WrappingKey,
  mechanism: WrapMechanism,
  data: Uint8Array,
): Buffer {
  switch (mechanism.name) {
    case 'aes-gcm':
      return unwrapGcm(token, key, mechanism, mechanism.iv ?? new Uint8Array(0), data);
    case 'cloudhsm-aes-gcm': {
      const [iv, rest] = [data.subarray(0, GCM_IV_BYTES), data.subarray(GCM_IV_BYTES)];
      return unwrapGcm(token, key, mechanism, iv, rest);
    }
    case 'aes-no-pad':
      return keyUnwrap(bytesOf(key), data);
    case 'aes-pkcs5-pad':
      return unpadBlock(keyUnwrap(bytesOf(key), data));
    case 'aes-zero-pad':
      return keyUnwrapPad(bytesOf(key), data);
    case 'rsa-pkcs':
      return rsaDecrypt(token, key, data, unpadPkcs1);
    case 'rsa-oaep':
      return rsaDecrypt(token, key, data, (padded) => unpadOaep(padded, mechanism));
    case 'rsa-aes':
      return unwrapRsaAes(token, key, mechanism, data);
  }
}

type Gcm = Extract<WrapMechanism, { name: 'aes-gcm' | 'cloudhsm-aes-gcm' }>;

const TAG_BYTES = 16;

/** The token makes tags of 128 bits; a shorter one is their beginning (NIST SP 800-38D). */
function wrapGcm(
  token: Token,
  key: WrappingKey,
  mechanism: Gcm,
  payload: Uint8Array,
): Wrapped & { iv: Buffer } {
  const { handle } = key;
  if (!handle) throw new KeyspanError('HsmUsageRefused');
  const iv = Buffer.from(token.iv());
  const sealed = gcmEncrypt(token, handle, iv, mechanism.aad, payload);
  return { data: sealed.subarray(0, sealed.length - TAG_BYTES + tagBytes(mechanism)), iv };
}

function tagBytes({ tagLengthBits }: Gcm): number {
  if (tagLengthBits >= 32 && tagLengthBits <= 128 && tagLengthBits % 8 === 0) {
    return tagLengthBits / 8;
  }
  throw new KeyspanError('HsmDataInvalid', 'a tag has 32 to 128 bits, a multiple of 8');
}

function unwrapGcm(
  token: Token,
  { handle, bytes }: WrappingKey,
  mechanism: Gcm,
  iv: Uint8Array,
  data: Uint8Array,
): Buffer {
  const length = tagBytes(mechanism);
  if (!handle || !bytes) throw new KeyspanError('HsmUsageRefused');
  if (length === TAG_BYTES && iv.length === GCM_IV_BYTES) {
    return gcmDecrypt(token, handle, iv, mechanism.aad, data);
  }
  if (iv.length === 0 || data.length <= length) throw new KeyspanError('HsmDataInvalid');
  const name = `aes-${bytes.length * 8}-gcm` as 'aes-256-gcm';
  const decipher = createDecipheriv(name, bytes, iv, { authTagLength: length });
  decipher.setAAD(mechanism.aad).setAuthTag(data.subarray(data.length - length));
  return opened(decipher, data.subarray(0, data.length - length));
}

type Decipher = ReturnType<typeof createDecipheriv>;

function opened(decipher: Decipher, data: Uint8Array): Buffer {
  let first: Buffer | undefined;
  try {
    first = decipher.update(data);
    return Buffer.concat([first, decipher.final()]);
  } catch {
    throw new KeyspanError('HsmDataInvalid');
  } finally {
    wipe(first);
  }
}

function bytesOf({ bytes }: WrappingKey): Uint8Array {
  if (!bytes) throw new KeyspanError('HsmUsageRefused');
  return bytes;
}

const SEMIBLOCK = 8;
const KW_IV = Buffer.alloc(SEMIBLOCK, 0xa6);
const KWP_IV = Buffer.from('a65959a6', 'hex');

function aligned(payload: Uint8Array): Uint8Array {
  if (payload.length % SEMIBLOCK === 0 && payload.length >= 2 * SEMIBLOCK) return payload;
  const sentence = 'without padding a key is wrapped only if its length is a multiple of 8 bytes';
  throw new KeyspanError('HsmDataInvalid', sentence);
}

/** AES key wrap (RFC 3394). */
function keyWrap(key: Uint8Array, payload: Uint8Array): Buffer {
  const cipher = createCipheriv(`id-aes${key.length * 8}-wrap`, key, KW_IV);
  return Buffer.concat([cipher.update(payload), cipher.final()]);
}

/** AES key wrap with padding (RFC 5649). */
function keyWrapPad(key: Uint8Array, payload: Uint8Array): Buffer {
  const cipher = createCipheriv(`id-aes${key.length * 8}-wrap-pad`, key, KWP_IV);
  return Buffer.concat([cipher.update(payload), cipher.final()]);
}

function keyUnwrap(key: Uint8Array, data: Uint8Array): Buffer {
  if (data.length % SEMIBLOCK !== 0) throw new KeyspanError('HsmDataInvalid');
  return opened(createDecipheriv(`id-aes${key.length * 8}-wrap`, key, KW_IV), data);
}

function keyUnwrapPad(key: Uint8Array, data: Uint8Array): Buffer {
  if (data.length % SEMIBLOCK !== 0) throw new KeyspanError('HsmDataInvalid');
  return opened(createDecipheriv(`id-aes${key.length * 8}-wrap-pad`, key, KWP_IV), data);
}

/** PKCS #5's padding to blocks of 8 bytes (RFC 8018, 6.1.1); at least one byte is added. */
function padBlock(payload: Uint8Array): Buffer {
  const count = SEMIBLOCK - (payload.length % SEMIBLOCK);
  const padded = Buffer.concat([payload, Buffer.alloc(count, count)]);
  if (padded.length >= 2 * SEMIBLOCK) return padded;
  wipe(padded);
  throw new KeyspanError('HsmDataInvalid', 'the key is too short for this mechanism');
}

/** The key wrap vouched for the whole: how its padding is wrong is no secret. */
function unpadBlock(padded: Buffer): Buffer {
  const count = padded[padded.length - 1] ?? 0;
  const isPadding = (byte: number): boolean => byte === count;
  const good = count >= 1 && count <= SEMIBLOCK && padded.subarray(-count).every(isPadding);
  if (good) return padded.subarray(0, padded.length - count);
  wipe(padded);
  throw new KeyspanError('HsmDataInvalid');
}

function rsaEncrypt({ spki }: WrappingKey, pad: (size: number) => Buffer): Buffer {
  if (!spki) throw new KeyspanError('HsmUsageRefused');
  const key = createPublicKey({ key: asBuffer(spki), format: 'der', type: 'spki' });
  const size = Math.ceil((key.asymmetricKeyDetails?.modulusLength ?? 0) / 8);
  const padded = pad(size);
  try {
    return publicEncrypt({ key, padding: constants.RSA_NO_PADDING }, padded);
  } finally {
    wipe(padded);
  }
}

/** The private key works in the token; the padding is taken off here, in constant time. */
function rsaDecrypt(
  token: Token,
  { handle }: WrappingKey,
  data: Uint8Array,
  unpad: (padded: Buffer) => Buffer,
): Buffer {
  if (!handle) throw new KeyspanError('HsmUsageRefused', 'the key has no private half');
  const { cryptoki, sessions } = token;
  const out = Buffer.alloc(data.length);
  try {
    const padded = sessions.operate(
      'C_Decrypt',
      (session) => cryptoki.C_DecryptInit(session, RSA_RAW, handle),
      (session) => cryptoki.C_Decrypt(session, asBuffer(data), out),
    );
    return unpad(padded);
  } catch {
    // one answer for all that may be wrong with it
    throw new KeyspanError('HsmDataInvalid');
  } finally {
    wipe(out);
  }
}

const EPHEMERAL_BYTES = 32;

/** CKM_RSA_AES_KEY_WRAP: a new AES-256 key under OAEP, and the payload under it (PKCS #11 2.40). */
function wrapRsaAes(key: WrappingKey, oaep: Oaep, payload: Uint8Array): Buffer {
  const ephemeral = randomBytes(EPHEMERAL_BYTES);
  try {
    const sealed = rsaEncrypt(key, (size) => padOaep(ephemeral, size, oaep));
    return Buffer.concat([sealed, keyWrapPad(ephemeral, payload)]);
  } finally {
    wipe(ephemeral);
  }
}

function unwrapRsaAes(token: Token, key: WrappingKey, oaep: Oaep, data: Uint8Array): Buffer {
  const { spki } = key;
  if (!spki) throw new KeyspanError('HsmUsageRefused');
  const read = createPublicKey({ key: asBuffer(spki), format: 'der', type: 'spki' });
  const size = Math.ceil((read.asymmetricKeyDetails?.modulusLength ?? 0) / 8);
  if (data.length <= size) throw new KeyspanError('HsmDataInvalid');
  const unpad = (padded: Buffer): Buffer => unpadOaep(padded, oaep);
  const ephemeral = rsaDecrypt(token, key, data.subarray(0, size), unpad);
  try {
    if (![16, 24, 32].includes(ephemeral.length)) throw new KeyspanError('HsmDataInvalid');
    return keyUnwrapPad(ephemeral, data.subarray(size));
  } finally {
    wipe(ephemeral);
  }
}
