import { equalConstantTime } from '../core/bytes.js';
import { KeyspanError } from '../core/errors.js';
import type { ClusterId } from '../core/ids.js';
import { gcmDecrypt, gcmEncrypt } from '../token/cipher.js';
import { cmac } from '../token/mac.js';
import type { MaskingKeys } from '../token/masking-keys.js';
import type { Token } from '../token/token.js';
import {
  decodeKeyRecord,
  decodeMaskedBody,
  encodeKeyRecord,
  encodeMaskedBody,
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
  const { body, mac } = splitMasked(masked);
  if (!equalConstantTime(cmac(context.token, context.masking.auth, body), mac)) {
    throw new KeyspanError('HsmBadRecord', 'the masked object is not authentic');
  }
  const object = decodeMaskedBody(body);
  const record = decodeKeyRecord(object.record);
  const ours = object.maskingKeyId === context.masking.id && object.cluster === context.cluster;
  if (!ours || record.id !== object.keyId || record.revision !== object.revision) {
    throw new KeyspanError('HsmBadRecord', 'the masked object belongs elsewhere');
  }
  return { object, record };
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
