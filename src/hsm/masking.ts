import { equalConstantTime } from '../core/bytes.js';
import { KeyspanError } from '../core/errors.js';
import type { ClusterId } from '../core/ids.js';
import { gcmDecrypt, gcmEncrypt } from '../token/cipher.js';
import { decodeCbor, encodeCbor } from '../protocol/frame-codec.js';
import { cmac } from '../token/mac.js';
import type { MaskingKeys } from '../token/masking-keys.js';
import { destroyObject } from '../token/objects.js';
import type { Token } from '../token/token.js';
import { generateSessionKey, unwraps, wrapKey } from '../token/wrapping.js';
import {
  decodeKeyRecord,
  decodeMaskedBody,
  decodeMaskedRecordBody,
  encodeKeyRecord,
  encodeMaskedBody,
  encodeMaskedRecordBody,
  joinMasked,
  splitMasked,
  type KeyRecord,
  type MaskedObject,
} from './records.js';

const IV_BYTES = 12;

export interface MaskingContext {
  readonly token: Token;
  readonly masking: MaskingKeys;
  readonly cluster: ClusterId;
}

/** Puts a key's record and its wrapped bytes under one CMAC. */
export function mask(context: MaskingContext, record: KeyRecord, blob: Uint8Array): Buffer {
  const body = encodeMaskedBody({
    maskingKeyId: context.masking.id,
    cluster: context.cluster,
    keyId: record.id,
    revision: record.revision,
    record: encodeKeyRecord(record),
    blob,
  });
  return joinMasked(body, cmac(context.token, context.masking.auth, body));
}

/**
 * Opens a masked object: its CMAC first, then its parts, which must agree with one another.
 * @throws KeyspanError HsmBadRecord
 */
export function unmask(
  context: MaskingContext,
  masked: Uint8Array,
): { object: MaskedObject; record: KeyRecord } {
  const object = decodeMaskedBody(authenticBody(context, masked));
  const record = decodeKeyRecord(object.record);
  const agrees = record.id === object.keyId && record.revision === object.revision;
  if (!agrees || !isOurs(context, object)) {
    throw new KeyspanError('HsmBadRecord', 'the masked object belongs elsewhere');
  }
  return { object, record };
}

function authenticBody(context: MaskingContext, masked: Uint8Array): Uint8Array {
  const { body, mac } = splitMasked(masked);
  if (equalConstantTime(cmac(context.token, context.masking.auth, body), mac)) return body;
  throw new KeyspanError('HsmBadRecord', 'the masked object is not authentic');
}

const isOurs = (
  { masking, cluster }: MaskingContext,
  of: Pick<MaskedObject, 'maskingKeyId' | 'cluster'>,
): boolean => of.maskingKeyId === masking.id && of.cluster === cluster;

/** Vouches for a key's record, which then travels without its key. */
export function maskRecord(context: MaskingContext, record: KeyRecord): Buffer {
  const body = encodeMaskedRecordBody({
    maskingKeyId: context.masking.id,
    cluster: context.cluster,
    record: encodeKeyRecord(record),
  });
  return joinMasked(body, cmac(context.token, context.masking.auth, body));
}

/**
 * A record that an HSM of this cluster vouched for.
 * @throws KeyspanError HsmBadRecord
 */
export function unmaskRecord(context: MaskingContext, masked: Uint8Array): KeyRecord {
  const carried = decodeMaskedRecordBody(authenticBody(context, masked));
  if (isOurs(context, carried)) return decodeKeyRecord(carried.record);
  throw new KeyspanError('HsmBadRecord', 'the masked record belongs elsewhere');
}

/** Seals a secret that the token cannot wrap, bound to `name`: IV, ciphertext, tag. */
export function sealSecret(context: MaskingContext, secret: Uint8Array, name: string): Buffer {
  const iv = context.token.iv();
  const aad = Buffer.from(name, 'utf8');
  return Buffer.concat([iv, gcmEncrypt(context.token, context.masking.seal, iv, aad, secret)]);
}

/** @throws KeyspanError HsmDataInvalid */
export function openSecret(context: MaskingContext, sealed: Uint8Array, name: string): Buffer {
  const iv = sealed.subarray(0, IV_BYTES);
  const aad = Buffer.from(name, 'utf8');
  return gcmDecrypt(context.token, context.masking.seal, iv, aad, sealed.subarray(IV_BYTES));
}

const WITNESS = Buffer.from('keyspan masking v1');

/** What these masking keys, and no others, have made: kept to know them by. */
export function witnessMasking(context: MaskingContext): Buffer {
  const { token, masking } = context;
  const key = generateSessionKey(token);
  try {
    const wrapped = wrapKey(token, masking.wrap, key);
    const sealed = sealSecret(context, WITNESS, masking.id);
    return encodeCbor([wrapped, sealed, cmac(token, masking.auth, WITNESS)]);
  } finally {
    destroyObject(token, key);
  }
}

/**
 * A file of a masking key may be damaged and still load as a key. What such an HSM masks nobody can
 * open, and it opens nothing that others mask: it must not serve.
 * @param witness what `witnessMasking` made
 * @throws KeyspanError HsmDeviceError
 */
export function verifyMasking(context: MaskingContext, witness: Uint8Array): void {
  const { token, masking } = context;
  const parts = decodeCbor(witness, 'HsmBadRecord') as [Uint8Array, Uint8Array, Uint8Array];
  const [wrapped, sealed, mac] = parts;
  const right =
    equalConstantTime(cmac(token, masking.auth, WITNESS), mac) &&
    unwraps(token, masking.wrap, wrapped) &&
    seals(context, sealed);
  if (!right)
    throw new KeyspanError('HsmDeviceError', 'the masking keys on this token are damaged');
}

function seals(context: MaskingContext, sealed: Uint8Array): boolean {
  try {
    return WITNESS.equals(openSecret(context, sealed, context.masking.id));
  } catch {
    return false;
  }
}
