import { constants, createPublicKey, publicEncrypt } from 'node:crypto';
import { asBuffer, wipe } from '../core/bytes.js';
import { KeyspanError } from '../core/errors.js';
import { CKM, CKR } from '../core/pkcs11.js';
import { rsaPartsOf } from '../core/spki.js';
import { ckrOf } from './ckr.js';
import { PARAMS, type Mechanism } from './cryptoki.js';
import { RSA_RAW, addressed } from './mechanism.js';
import { padOaep, padPkcs1, unpadOaep, unpadPkcs1, type Oaep } from './rsa-padding.js';
import type { Handle, Token } from './token.js';

/** Encryption and decryption with users' keys, as PKCS #11 has them: whole operations. */

const BLOCK = 16;
/** AES-CBC-PAD, and tags of AES-GCM */
const MORE_BYTES = 2 * BLOCK;
const EMPTY = Buffer.alloc(0);

/** A mechanism of AES with its parameter. */
export interface AesCipher {
  /** CKM_ number */
  readonly type: number;
  readonly iv?: Uint8Array | undefined;
  readonly counterBits?: number | undefined;
  readonly aad?: Uint8Array | undefined;
  readonly tagBits?: number | undefined;
}

const wrongParameter = (): KeyspanError => new KeyspanError('HsmMechanismParamInvalid');

function ivOf({ iv }: AesCipher): Buffer {
  if (iv?.length !== BLOCK) throw wrongParameter();
  return asBuffer(iv);
}

/** CK_AES_CTR_PARAMS as this machine's memory has it. */
function ctrParameter(cipher: AesCipher): Buffer {
  const { counterBits = 0 } = cipher;
  if (counterBits < 1 || counterBits > 128) throw wrongParameter();
  const count = Buffer.alloc(8);
  count.writeBigUInt64LE(BigInt(counterBits));
  return Buffer.concat([count, ivOf(cipher)]);
}

function gcmParameter({ iv, aad, tagBits = 128 }: AesCipher): Mechanism['parameter'] {
  const isTag = tagBits >= 32 && tagBits <= 128 && tagBits % 8 === 0;
  if (!iv || iv.length === 0 || !isTag) throw wrongParameter();
  const ivBits = iv.length * 8;
  const given = { iv: asBuffer(iv), ivBits, aad: aad ? asBuffer(aad) : EMPTY, tagBits };
  return { type: PARAMS.GCM, ...given };
}

function mechanismOf(cipher: AesCipher): Mechanism {
  const mechanism = cipher.type;
  switch (mechanism) {
    case CKM.AES_ECB:
      return { mechanism };
    case CKM.AES_CBC:
    case CKM.AES_CBC_PAD:
      return { mechanism, parameter: ivOf(cipher) };
    case CKM.AES_CTR:
      return { mechanism, parameter: ctrParameter(cipher) };
    case CKM.AES_GCM:
      return { mechanism, parameter: gcmParameter(cipher) };
    default:
      throw new KeyspanError('HsmMechanismInvalid');
  }
}

/** @throws KeyspanError HsmDataInvalid for more blocks than a counter tells apart */
function countable({ type, counterBits = 128 }: AesCipher, data: Uint8Array): void {
  const blocks = Math.ceil(data.length / BLOCK);
  if (type !== CKM.AES_CTR || counterBits >= 32 || blocks <= 2 ** counterBits) return;
  throw new KeyspanError('HsmDataInvalid', 'the counter would come round');
}

const isWhole = (data: Uint8Array): boolean => data.length % BLOCK === 0;

/**
 * @throws KeyspanError HsmDataInvalid for a length that the mode does not take, or more blocks than
 * a counter counts; HsmMechanismParamInvalid, HsmMechanismInvalid
 */
export function aesEncrypt(token: Token, key: Handle, cipher: AesCipher, data: Uint8Array): Buffer {
  const mechanism = mechanismOf(cipher);
  const isBlocks = cipher.type === CKM.AES_ECB || cipher.type === CKM.AES_CBC;
  if (isBlocks && !isWhole(data)) throw new KeyspanError('HsmDataInvalid');
  // an IV of zeros asks CloudHSM to make one
  const isGcm = cipher.type === CKM.AES_GCM;
  if (isGcm && cipher.iv?.every((byte) => byte === 0)) throw wrongParameter();
  countable(cipher, data);
  // where nothing comes of nothing the token would leave its session at work
  const isMore = isGcm || cipher.type === CKM.AES_CBC_PAD;
  if (data.length === 0 && !isMore) return EMPTY;
  const { cryptoki, sessions } = token;
  const made = Buffer.allocUnsafe(data.length + MORE_BYTES);
  return sessions.operate(
    'C_Encrypt',
    (session) => cryptoki.C_EncryptInit(session, mechanism, key),
    (session) => cryptoki.C_Encrypt(session, addressed(data), made),
  );
}

/** What SoftHSM answers to padding or tags that do not fit. */
const NOT_THESE: ReadonlySet<number> = new Set([
  CKR.GENERAL_ERROR,
  CKR.ENCRYPTED_DATA_INVALID,
  CKR.ENCRYPTED_DATA_LEN_RANGE,
]);

/**
 * As `aesEncrypt`.
 * @throws KeyspanError HsmDataInvalid also when the padding or the tag is wrong
 */
export function aesDecrypt(token: Token, key: Handle, cipher: AesCipher, data: Uint8Array): Buffer {
  const mechanism = mechanismOf(cipher);
  const { tagBits = 128 } = cipher;
  const isCtr = cipher.type === CKM.AES_CTR;
  const isGcm = cipher.type === CKM.AES_GCM;
  if (!isCtr && !isGcm && !isWhole(data)) throw new KeyspanError('HsmDataInvalid');
  countable(cipher, data);
  if (isGcm && data.length < tagBits / 8) throw new KeyspanError('HsmDataInvalid');
  if (data.length === 0) {
    if (cipher.type === CKM.AES_CBC_PAD) throw new KeyspanError('HsmDataInvalid');
    return EMPTY;
  }
  const { cryptoki, sessions } = token;
  const made = Buffer.alloc(data.length);
  let begun = false;
  try {
    return sessions.operate(
      'C_Decrypt',
      (session) => cryptoki.C_DecryptInit(session, mechanism, key),
      (session) => {
        begun = true;
        return cryptoki.C_Decrypt(session, asBuffer(data), made);
      },
      NOT_THESE,
    );
  } catch (error) {
    made.fill(0);
    const ckr = ckrOf(error);
    if (!begun || ckr === undefined || !NOT_THESE.has(ckr)) throw error;
    throw new KeyspanError('HsmDataInvalid', undefined, { cause: error });
  }
}

/** How RSA pads what it encrypts. */
export type RsaPadding = { readonly name: 'pkcs1' | 'none' } | ({ readonly name: 'oaep' } & Oaep);

/**
 * RSA with a public key: nothing of it is secret, so the token is not asked.
 * @throws KeyspanError HsmDataInvalid for too much data
 */
export function rsaEncryptData(spki: Uint8Array, padding: RsaPadding, data: Uint8Array): Buffer {
  const { n } = rsaPartsOf(spki);
  const key = createPublicKey({ key: asBuffer(spki), format: 'der', type: 'spki' });
  const padded = padFor(padding, data, n);
  return publicEncrypt({ key, padding: constants.RSA_NO_PADDING }, padded);
}

function padFor(padding: RsaPadding, data: Uint8Array, n: Buffer): Buffer {
  if (padding.name === 'pkcs1') return padPkcs1(data, n.length);
  if (padding.name === 'oaep') return padOaep(data, n.length, padding);
  return rawBlock(data, n);
}

/** The number that the data is, as long as the modulus. @throws KeyspanError HsmDataInvalid */
export function rawBlock(data: Uint8Array, n: Buffer): Buffer {
  if (data.length > n.length) throw new KeyspanError('HsmDataInvalid', 'the data is too long');
  const block = Buffer.concat([Buffer.alloc(n.length - data.length), data]);
  if (Buffer.compare(block, n) < 0) return block;
  throw new KeyspanError('HsmDataInvalid', 'the data is no number below the modulus');
}

/**
 * RSA with a private key: the token does the arithmetic, and the padding is taken off here.
 * @param spki of its public half
 * @throws KeyspanError HsmDataInvalid, which says nothing of what is wrong
 */
export function rsaDecryptData(
  token: Token,
  key: { readonly handle: Handle; readonly spki: Uint8Array },
  padding: RsaPadding,
  data: Uint8Array,
): Buffer {
  const { n } = rsaPartsOf(key.spki);
  if (data.length !== n.length) throw new KeyspanError('HsmDataInvalid');
  const block = rawBlock(data, n);
  const { cryptoki, sessions } = token;
  const made = Buffer.alloc(n.length);
  const opened = sessions.operate(
    'C_Decrypt',
    (session) => cryptoki.C_DecryptInit(session, RSA_RAW, key.handle),
    (session) => cryptoki.C_Decrypt(session, block, made),
  );
  const padded = Buffer.concat([Buffer.alloc(n.length - opened.length), opened]);
  try {
    if (padding.name === 'none') return Buffer.from(padded);
    return padding.name === 'oaep' ? unpadOaep(padded, padding) : unpadPkcs1(padded);
  } finally {
    wipe(padded, made);
  }
}
