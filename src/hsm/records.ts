import { createHash } from 'node:crypto';
import { z } from 'zod';
import { equalConstantTime } from '../core/bytes.js';
import { KeyspanError } from '../core/errors.js';
import type { ClusterId, HsmKeyId, MaskingKeyId } from '../core/ids.js';
import { decodeCbor, encodeCbor } from '../protocol/frame-codec.js';
import { HSM_ROLES, RECORD_VERSION } from '../protocol/hsm-frames.js';

/**
 * What an HSM keeps on its token besides key bytes. Each item begins with a version (promise
 * 12); version 1 is the
 * only one there is, and it is read by every HSM so far.
 */
const bytes = z.custom<Uint8Array>((value) => value instanceof Uint8Array);

const keyRecord = z.strictObject({
  version: z.literal(RECORD_VERSION),
  id: z.string(),
  /** 1 at the making, one more with each change of the record */
  revision: z.int().min(1),
  kind: z.enum(['aes-256', 'cluster-key']),
  /** the HSM user whose key it is; lower case */
  owner: z.string(),
  sharedWith: z.array(z.string()),
  label: z.string(),
  usage: z.strictObject({ encrypt: z.boolean(), decrypt: z.boolean() }),
  /** what every true copy proves itself with: 16 bytes */
  proof: bytes,
});
export type KeyRecord = z.infer<typeof keyRecord> & { readonly id: HsmKeyId };
export type KeyKind = KeyRecord['kind'];

const userRecord = z.strictObject({
  version: z.literal(RECORD_VERSION),
  /** lower case: names are not case-sensitive */
  username: z.string(),
  role: z.enum(HSM_ROLES),
  revision: z.int().min(1),
  salt: bytes,
  hash: bytes,
  /** wrong passwords since the last right one */
  failures: z.int().min(0),
  locked: z.boolean(),
});
export type UserRecord = z.infer<typeof userRecord>;

export const encodeKeyRecord = (record: KeyRecord): Buffer => encodeCbor(record);
export const encodeUserRecord = (record: UserRecord): Buffer => encodeCbor(record);

function decode<T>(schema: z.ZodType<T>, data: Uint8Array, what: string): T {
  const result = schema.safeParse(decodeCbor(data, 'HsmBadRecord'));
  if (!result.success) throw new KeyspanError('HsmBadRecord', `the ${what} cannot be read`);
  return result.data;
}

/** @throws KeyspanError HsmBadRecord */
export function decodeKeyRecord(data: Uint8Array): KeyRecord {
  return decode(keyRecord, data, 'key record') as KeyRecord;
}

/** @throws KeyspanError HsmBadRecord */
export const decodeUserRecord = (data: Uint8Array): UserRecord =>
  decode(userRecord, data, 'user record');

const users = z.array(bytes);

/** All users in one piece, as a joiner gets them. */
export const encodeUsers = (records: readonly UserRecord[]): Buffer =>
  encodeCbor(records.map(encodeUserRecord));
export const decodeUsers = (data: Uint8Array): UserRecord[] =>
  decode(users, data, 'list of users').map(decodeUserRecord);

const dataObject = z.tuple([z.literal(RECORD_VERSION), z.string(), z.int(), bytes, bytes]);

export interface DataObject {
  readonly id: string;
  readonly revision: number;
  readonly body: Uint8Array;
}

const digestOf = (object: DataObject): Buffer =>
  createHash('sha256')
    .update(encodeCbor([object.id, object.revision, object.body]))
    .digest();

/** The value of a data object: it carries its own hash, because a token may hold torn ones. */
export function packDataObject(object: DataObject): Buffer {
  const { id, revision, body } = object;
  return encodeCbor([RECORD_VERSION, id, revision, body, digestOf(object)]);
}

/** `undefined` when the value is torn or not ours. */
export function unpackDataObject(value: Uint8Array): DataObject | undefined {
  try {
    const [, id, revision, body, digest] = decode(dataObject, value, 'data object');
    const object = { id, revision, body };
    return equalConstantTime(digest, digestOf(object)) ? object : undefined;
  } catch {
    return undefined;
  }
}

const maskedBody = z.tuple([
  z.literal(RECORD_VERSION),
  z.string(),
  z.string(),
  z.string(),
  z.int(),
  bytes,
  bytes,
]);
const maskedEnvelope = z.tuple([bytes, bytes]);

/** A key on its way between HSMs (ARCHITECTURE §6). */
export interface MaskedObject {
  readonly maskingKeyId: MaskingKeyId;
  readonly cluster: ClusterId;
  readonly keyId: HsmKeyId;
  readonly revision: number;
  readonly record: Uint8Array;
  /** AES-KWP under mask-wrap for a key; IV, ciphertext and tag under mask-seal for a secret */
  readonly blob: Uint8Array;
}

/** What mask-auth's CMAC covers: all of the masked object. */
export const encodeMaskedBody = (object: MaskedObject): Buffer =>
  encodeCbor([
    RECORD_VERSION,
    object.maskingKeyId,
    object.cluster,
    object.keyId,
    object.revision,
    object.record,
    object.blob,
  ]);

export const joinMasked = (body: Uint8Array, mac: Uint8Array): Buffer => encodeCbor([body, mac]);

/** The two halves; the caller checks the CMAC before it reads the body. */
export function splitMasked(masked: Uint8Array): { body: Uint8Array; mac: Uint8Array } {
  const [body, mac] = decode(maskedEnvelope, masked, 'masked object');
  return { body, mac };
}

export function decodeMaskedBody(body: Uint8Array): MaskedObject {
  const [, maskingKeyId, cluster, keyId, revision, record, blob] = decode(
    maskedBody,
    body,
    'masked object',
  );
  return {
    maskingKeyId: maskingKeyId as MaskingKeyId,
    cluster: cluster as ClusterId,
    keyId: keyId as HsmKeyId,
    revision,
    record,
    blob,
  };
}
