import { createHash } from 'node:crypto';
import { equalConstantTime } from '../core/bytes.js';
import { KeyspanError } from '../core/errors.js';
import {
  isClusterId,
  isHsmKeyId,
  isMaskingKeyId,
  type ClusterId,
  type HsmKeyId,
  type MaskingKeyId,
} from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import { decodeCbor, encodeCbor } from '../protocol/frame-codec.js';
import {
  FormError,
  accept,
  bytes,
  flag,
  id,
  int,
  list,
  object,
  oneOf,
  optional,
  text,
  tuple,
  type Form,
  type FormOf,
} from '../protocol/form.js';
import { HSM_ROLES, RECORD_VERSION } from '../protocol/hsm-frames.js';
import { keyObject, type KeyObject } from '../protocol/hsm-key-frames.js';
import { isKeyClass } from '../protocol/objects.js';

/**
 * What an HSM keeps on its token besides key bytes. Each item begins with a version (promise 12).
 * Version 1 is read by every HSM; of version 2 are a key's record with an object in it, and a user
 * with a key; of version 3 a record of an object that only PKCS #11 knows all of.
 */
const version = oneOf(RECORD_VERSION);
/** Of the records of keys that users see as objects with attributes. */
const OBJECT_RECORD_VERSION = 2;
/** Of those that have attributes beyond CloudHSM's, and of what is no key. */
const PKCS11_RECORD_VERSION = 3;
const revision = int({ min: 1 });
const name = text({ max: 64 });
const blob = bytes({ max: LIMITS.frame_size_max_bytes });

const keyRecord = object({
  version: oneOf(RECORD_VERSION, OBJECT_RECORD_VERSION, PKCS11_RECORD_VERSION),
  id: id(isHsmKeyId),
  /** 1 at the making, one more with each change of the record */
  revision,
  /** `object`: what it is stands in `object` */
  kind: oneOf('aes-256', 'cluster-key', 'object'),
  /** the HSM user whose key it is; lower case */
  owner: name,
  sharedWith: list(name, { max: LIMITS.hsm_users_max }),
  label: text({ min: 0, max: 127 }),
  usage: object({ encrypt: flag, decrypt: flag }),
  /** how far the store had come when the key was made */
  stamp: optional(int({ min: 0 })),
  /** what every true copy proves itself with: 16 bytes */
  proof: bytes({ min: 16, max: 16 }),
  object: optional(keyObject),
});
export type KeyRecord = FormOf<typeof keyRecord>;
export type { KeyObject } from '../protocol/hsm-key-frames.js';

/** The version of a record with this object: the first that knows all that is in it. */
export const versionOf = (of: KeyObject | undefined): KeyRecord['version'] => {
  if (!of) return RECORD_VERSION;
  return of.extra || !isKeyClass(of.class) ? PKCS11_RECORD_VERSION : OBJECT_RECORD_VERSION;
};

/** Users with a key have this version: an HSM that knows of none must not drop it. */
const USER_WITH_KEY_VERSION = 2;

const userMembers = object({
  version: oneOf(RECORD_VERSION, USER_WITH_KEY_VERSION),
  /** lower case: names are not case-sensitive */
  username: name,
  role: oneOf(...HSM_ROLES),
  revision,
  salt: bytes({ min: 16, max: 16 }),
  hash: bytes({ min: 32, max: 32 }),
  /** its password is random, and not stretched */
  random: optional(oneOf(true)),
  /** wrong passwords since the last right one */
  failures: int({ min: 0 }),
  locked: flag,
  /** SubjectPublicKeyInfo, DER: an RSA-2048 key, of a second factor or to approve with, or both */
  publicKey: optional(bytes({ min: 64, max: 1_024 })),
  /** it logs in with a signature by this key */
  mfa: optional(oneOf(true)),
  /** it approves with this key */
  quorum: optional(oneOf(true)),
});
export type UserRecord = FormOf<typeof userMembers>;

/** Version 1 knows no key; version 2 has one, which is for something. */
const userRecord: Form<UserRecord> = (value) => {
  const user = userMembers(value);
  const { version: form, publicKey, mfa = false, quorum = false } = user;
  const hasKey = publicKey !== undefined && (mfa || quorum);
  const hasNone = publicKey === undefined && !mfa && !quorum;
  if (form === RECORD_VERSION ? hasNone : hasKey) return user;
  throw new FormError('has members of another version');
};

/** The user with this key for these purposes, or without any. */
export function withKey(
  user: UserRecord,
  { publicKey, mfa, quorum }: { publicKey?: Uint8Array | undefined; mfa: boolean; quorum: boolean },
): UserRecord {
  const { publicKey: _key, mfa: _mfa, quorum: _quorum, ...rest } = user;
  if (!publicKey || (!mfa && !quorum)) return { ...rest, version: RECORD_VERSION };
  const uses = { ...(mfa && { mfa: true as const }), ...(quorum && { quorum: true as const }) };
  return { ...rest, version: USER_WITH_KEY_VERSION, publicKey, ...uses };
}

export const encodeKeyRecord = (record: KeyRecord): Buffer => encodeCbor(record);

/** Tells two records of one revision apart. It does not depend on how a record is written down. */
export function digestOfRecord(record: KeyRecord): Buffer {
  const { version: form, id: key, revision: at, kind, owner, sharedWith, label } = record;
  const { usage, stamp = null, proof } = record;
  const rights = [usage.encrypt, usage.decrypt];
  const members = [form, key, at, kind, owner, sharedWith, label, rights, stamp, proof];
  return record.object ? digestOfObject(members, record.object) : digestOf1(members);
}

const digestOf1 = (members: readonly unknown[]): Buffer =>
  createHash('sha256').update(encodeCbor(members)).digest();

/** In the order of their names: a record may have been written by another hand. */
function digestOfObject(members: readonly unknown[], of: KeyObject): Buffer {
  const { extra, ...rest } = of;
  const sorted = sortedMembers(rest);
  return digestOf1([...members, extra ? [...sorted, ['extra', sortedMembers(extra)]] : sorted]);
}

const sortedMembers = (of: object): [string, unknown][] =>
  Object.entries(of)
    .filter(([, value]) => value !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1));

export const encodeUserRecord = (record: UserRecord): Buffer => encodeCbor(record);

function decode<T>(form: Form<T>, data: Uint8Array, what: string): T {
  const value = accept(form, decodeCbor(data, 'HsmBadRecord'));
  if (value === undefined) throw new KeyspanError('HsmBadRecord', `the ${what} cannot be read`);
  return value;
}

/** @throws KeyspanError HsmBadRecord */
export function decodeKeyRecord(data: Uint8Array): KeyRecord {
  const record = decode(keyRecord, data, 'key record');
  const isWhole = (record.kind === 'object') === (record.object !== undefined);
  if (isWhole && record.version === versionOf(record.object)) return record;
  throw new KeyspanError('HsmBadRecord', 'the key record says of no object what it is');
}

/** @throws KeyspanError HsmBadRecord */
export const decodeUserRecord = (data: Uint8Array): UserRecord =>
  decode(userRecord, data, 'user record');

const users = list(blob, { max: LIMITS.hsm_users_max });

/** All users in one piece, as a joiner gets them. */
export const encodeUsers = (records: readonly UserRecord[]): Buffer =>
  encodeCbor(records.map(encodeUserRecord));
export const decodeUsers = (data: Uint8Array): UserRecord[] =>
  decode(users, data, 'list of users').map(decodeUserRecord);

const dataObject = tuple(version, text({ max: 128 }), revision, blob, blob);

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
export function packDataObject(item: DataObject): Buffer {
  return encodeCbor([RECORD_VERSION, item.id, item.revision, item.body, digestOf(item)]);
}

/** `undefined` when the value is torn or not ours. */
export function unpackDataObject(value: Uint8Array): DataObject | undefined {
  try {
    const [, item, at, body, digest] = decode(dataObject, value, 'data object');
    const found = { id: item, revision: at, body };
    return equalConstantTime(digest, digestOf(found)) ? found : undefined;
  } catch {
    return undefined;
  }
}

const maskedBody = tuple(
  version,
  id<MaskingKeyId>(isMaskingKeyId),
  id<ClusterId>(isClusterId),
  id<HsmKeyId>(isHsmKeyId),
  revision,
  blob,
  blob,
);
const maskedEnvelope = tuple(blob, blob);

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
  const [, maskingKeyId, cluster, keyId, at, record, wrapped] = decode(
    maskedBody,
    body,
    'masked object',
  );
  return { maskingKeyId, cluster, keyId, revision: at, record, blob: wrapped };
}

/** Says what a body under mask-auth is, so that it is never taken for a masked key. */
const RECORD_BODY = 'record';
const maskedRecordBody = tuple(
  version,
  oneOf(RECORD_BODY),
  id<MaskingKeyId>(isMaskingKeyId),
  id<ClusterId>(isClusterId),
  blob,
);

/** A key's record on its way between HSMs: it holds nothing of the key itself. */
export interface MaskedRecord {
  readonly maskingKeyId: MaskingKeyId;
  readonly cluster: ClusterId;
  readonly record: Uint8Array;
}

/** What mask-auth's CMAC covers of a record that travels without its key. */
export const encodeMaskedRecordBody = ({ maskingKeyId, cluster, record }: MaskedRecord): Buffer =>
  encodeCbor([RECORD_VERSION, RECORD_BODY, maskingKeyId, cluster, record]);

/** @throws KeyspanError HsmBadRecord */
export function decodeMaskedRecordBody(body: Uint8Array): MaskedRecord {
  const [, , maskingKeyId, cluster, record] = decode(maskedRecordBody, body, 'masked record');
  return { maskingKeyId, cluster, record };
}
