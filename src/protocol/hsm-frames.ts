import {
  isBootId,
  isClusterId,
  isHsmId,
  isMaskingKeyId,
  type BootId,
  type ClusterId,
  type HsmId,
  type HsmKeyId,
  type MaskingKeyId,
} from '../core/ids.js';
import type { ListedFault } from '../core/fault-rules.js';
import { LIMITS } from '../core/limits.js';
import { faultRule } from './fault.js';
import { data, keyId, label, masked, stamp, username } from './hsm-frame-forms.js';
import { cryptoFields, type CryptoResults } from './hsm-crypto-frames.js';
import { keyFields, recordChange, type KeyResults } from './hsm-key-frames.js';
import { objectFields, type ObjectResults } from './hsm-object-frames.js';
import {
  bytes,
  flag,
  id,
  int,
  list,
  object,
  oneOf,
  optional,
  text,
  type Form,
  type FormOf,
} from './form.js';
import { QUORUM_FIELDS, approval, factor, type QuorumResults } from './quorum-frames.js';

export type { HsmApproval } from './quorum-frames.js';

/**
 * What crosses the wire between the daemon and an HSM (ARCHITECTURE §8). After one `hello` each
 * way a request is
 * `[id, timeoutMs, epoch, operation, session, fields]`, an answer `[id, 0, result]` or `[id, 1,
 * code, message]`. A request may have a seventh element, the id of the client's request, for the
 * HSM's log; a daemon sends it while it logs at debug or below.
 */
export const FRAME_VERSION = 2;
export const RECORD_VERSION = 1;

export const HSM_ROLES = ['unactivated-admin', 'admin', 'crypto-user', 'appliance-user'] as const;
export type HsmRole = (typeof HSM_ROLES)[number];

/** A frame that asks for nothing: an operation is about to follow. */
export const SOON = { soon: 1 } as const;
export const isNotice = (frame: unknown): boolean =>
  typeof frame === 'object' && frame !== null && (frame as { soon?: unknown }).soon === SOON.soon;

/** `new`: no masking keys yet, it is to be founded or joined; `member`: it serves. */
export type HsmPhase = 'new' | 'member';

const GCM_TAG_BYTES = 16;

const maskingKeyId = id(isMaskingKeyId);
const password = text({ max: LIMITS.hsm_password_max_chars });
const newPassword = text({
  min: LIMITS.hsm_password_min_chars,
  max: LIMITS.hsm_password_max_chars,
  pattern: /^[^:]+$/,
});
/** what `data` seals to */
const sealed = bytes({ min: 1, max: LIMITS.hsm_data_max_bytes + GCM_TAG_BYTES });
const aad = bytes({ max: LIMITS.hsm_data_max_bytes });
const iv = bytes({ min: 12, max: 12 });
/** an AES-256 key */
const material = bytes({ min: 32, max: 32 });
const wrappedKey = bytes({ min: 64, max: 1_024 });
const wrappedKeys = object({ wrap: wrappedKey, seal: wrappedKey, auth: wrappedKey });
const pem = text({ max: 8_192 });
const certificates = list(pem, { min: 1, max: 4 });
const page = {
  after: text({ min: 0, max: 32 }),
  limit: int({ min: 1, max: LIMITS.hsm_inventory_page_max }),
};
const storeSeen = object({ store: text({ max: 128 }), stamp: int({ min: 0 }) });
const randomLength = int({ min: 1, max: LIMITS.hsm_random_max_bytes });

export const hello = object({
  hello: oneOf(FRAME_VERSION),
  recordVersion: int({ min: 1 }),
  hsm: id<HsmId>(isHsmId),
  cluster: id<ClusterId>(isClusterId),
  /** the HSM's side: its boot, the newest epoch on its token, and its phase */
  boot: optional(id<BootId>(isBootId)),
  epoch: optional(int({ min: 0 })),
  phase: optional(oneOf('new', 'member')),
});
export type Hello = FormOf<typeof hello>;

interface Operation {
  readonly fields: Form<unknown>;
  /** who may ask for it; `anyone` needs no session */
  readonly roles: readonly HsmRole[] | 'anyone';
  readonly phase: HsmPhase;
  /** changes what is on the token: the frame's epoch is compared with the token's */
  readonly mutating: boolean;
}

const operation = <T extends Form<unknown>>(
  fields: T,
  roles: readonly HsmRole[] | 'anyone',
  options: { phase?: HsmPhase; mutating?: boolean } = {},
): {
  fields: T;
  roles: readonly HsmRole[] | 'anyone';
  phase: HsmPhase;
  mutating: boolean;
} => ({
  fields,
  roles,
  phase: options.phase ?? 'member',
  mutating: options.mutating ?? false,
});

const none = object({});
const CU = ['crypto-user'] as const;
const AU = ['appliance-user'] as const;
const ADMIN = ['admin'] as const;
const NAMED = ['admin', 'crypto-user'] as const;
const SYNC = ['appliance-user', 'crypto-user'] as const;
const CARRIERS = ['appliance-user', 'crypto-user', 'admin'] as const;
const KEEPERS = ['crypto-user', 'admin'] as const;
const ANY_USER = HSM_ROLES;

const newcomer = { phase: 'new', mutating: true } as const;
const change = { mutating: true } as const;

/** Every operation of an HSM: the form of its fields and who may ask for it. */
export const HSM_OPERATIONS = {
  // any phase's first questions
  info: operation(none, 'anyone'),
  // faults: in any phase, and only when the process was started with them
  'fault-add': operation(object({ rule: faultRule }), 'anyone'),
  'fault-list': operation(none, 'anyone'),
  'fault-clear': operation(none, 'anyone'),
  // phase `new`
  identity: operation(none, 'anyone', newcomer),
  found: operation(
    object({
      maskingKeyId,
      certificates,
      root: pem,
      appUser: object({ username, password: newPassword }),
      /** until the activation it is the installation's: `random` as in `user-create` */
      admin: object({ username, password: newPassword, random: optional(flag) }),
    }),
    'anyone',
    newcomer,
  ),
  'join-offer': operation(none, 'anyone', newcomer),
  join: operation(
    object({
      maskingKeyId,
      wrapped: wrappedKeys,
      certificates,
      root: pem,
      users: bytes({ min: 16, max: LIMITS.frame_size_max_bytes - 65_536 }),
    }),
    'anyone',
    newcomer,
  ),
  handover: operation(
    object({
      hsm: id<HsmId>(isHsmId),
      certificates,
      publicKey: bytes({ min: 64, max: 2_048 }),
      signature: bytes({ min: 32, max: 512 }),
    }),
    AU,
  ),
  /** the masking keys and the users for a recovery key that the hardware certified */
  backup: operation(object({ certificates }), AU),
  /** keys for a backup; one that is not here, or fails its proof, is passed over */
  'backup-keys': operation(
    object({ keyIds: list(keyId, { min: 1, max: LIMITS.backup_batch_keys_max }) }),
    AU,
  ),
  // users
  login: operation(object({ username, password, mfa: factor }), 'anyone'),
  /** what a user signs who logs in with a second factor */
  'mfa-challenge': operation(QUORUM_FIELDS['mfa-challenge'], 'anyone'),
  logout: operation(none, ANY_USER),
  activate: operation(object({ password: newPassword }), ['unactivated-admin'], change),
  'user-list': operation(none, 'anyone'),
  'user-create': operation(
    object({
      username,
      role: oneOf('admin', 'crypto-user'),
      password: newPassword,
      approval,
      /** a machine made it of at least 128 random bits */
      random: optional(flag),
    }),
    ADMIN,
    change,
  ),
  'user-delete': operation(QUORUM_FIELDS['user-delete'], ADMIN, change),
  'user-change-password': operation(
    object({
      username,
      role: oneOf(...HSM_ROLES),
      password: newPassword,
      approval,
      deregisterMfa: optional(flag),
      deregisterQuorum: optional(flag),
    }),
    ['admin', 'crypto-user', 'appliance-user'],
    change,
  ),
  'user-change-mfa': operation(QUORUM_FIELDS['user-change-mfa'], NAMED, change),
  'user-change-quorum': operation(QUORUM_FIELDS['user-change-quorum'], NAMED, change),
  /** a user for a cluster of the same family, and what such a cluster is given */
  'user-extract': operation(QUORUM_FIELDS['user-extract'], ADMIN),
  'user-insert': operation(QUORUM_FIELDS['user-insert'], ADMIN, change),
  // quorum authentication
  'token-create': operation(QUORUM_FIELDS['token-create'], NAMED),
  'token-list': operation(none, 'anyone'),
  'token-delete': operation(QUORUM_FIELDS['token-delete'], NAMED),
  'quorum-values': operation(none, 'anyone'),
  'quorum-set': operation(QUORUM_FIELDS['quorum-set'], ADMIN, change),
  // keys
  generate: operation(
    object({
      keyId,
      kind: oneOf('aes-256', 'cluster-key'),
      label,
      /** how far the store had come: the key's record says it for ever */
      stamp,
    }),
    SYNC,
  ),
  /** as `generate` of an AES-256 key, from bytes that came from outside */
  import: operation(object({ keyId, material, label, stamp }), CU),
  insert: operation(object({ masked }), CARRIERS, change),
  extract: operation(object({ keyId }), CARRIERS),
  find: operation(object(page), CU),
  destroy: operation(object({ keyId }), CU, change),
  discard: operation(object({ keyId }), AU, change),
  /** `recorded`: what a copy is on record to prove is enough where the token was left in order */
  inventory: operation(object({ ...page, recorded: optional(flag) }), AU),
  /** decides a change of a key's record and vouches for what it comes to; changes nothing yet */
  'record-prepare': operation(
    object({
      keyId,
      change: recordChange,
      /** how far the store had come: the changed record says it */
      stamp,
      approval,
    }),
    KEEPERS,
  ),
  /** takes up a record that was committed */
  'record-apply': operation(object({ masked }), AU, change),
  'record-extract': operation(object({ keyId }), AU),
  'cluster-key': operation(object({ keyId }), AU),
  /** it is no member any more, and its token goes: the last entry of its audit log says so */
  leave: operation(none, AU),
  /** the newest store that this token saw; with `note`, from now on at least that one */
  'store-seen': operation(object({ note: optional(storeSeen) }), AU),
  // keys as objects with attributes
  'key-generate': operation(keyFields.keyGenerate, CU),
  'key-pair-generate': operation(keyFields.keyPairGenerate, CU),
  /** a public key; `der` is its SubjectPublicKeyInfo */
  'key-import': operation(keyFields.keyImport, CU),
  'key-unwrap': operation(keyFields.keyUnwrap, CU),
  /** a session key is to be one of the cluster: it is masked under another id */
  'key-keep': operation(keyFields.keyKeep, CU),
  'key-wrap': operation(keyFields.keyWrap, CU),
  /** keys that the user may see; an admin sees what they are called */
  'key-find': operation(keyFields.keyFind, KEEPERS),
  /** whether the user may end the key's life; changes nothing */
  'key-destroyable': operation(keyFields.keyDestroyable, CU),
  /** a key for a cluster of the same family, with its record as a first one */
  'key-export': operation(keyFields.keyExport, KEEPERS),
  /** whether the user may bring such a key here; changes nothing */
  'key-acceptable': operation(keyFields.keyAcceptable, KEEPERS),
  /** the end of a session key */
  'key-drop': operation(keyFields.keyDrop, CU),
  'key-sign': operation(keyFields.keySign, CU),
  'key-verify': operation(keyFields.keyVerify, CU),
  // PKCS #11's objects and cryptography
  'object-find': operation(objectFields.objectFind, CARRIERS),
  'object-create': operation(objectFields.objectCreate, CU),
  'object-copy': operation(objectFields.objectCopy, CU),
  'object-reveal': operation(objectFields.objectReveal, CARRIERS),
  'p11-cipher': operation(cryptoFields.p11Cipher, CARRIERS),
  'p11-sign': operation(cryptoFields.p11Sign, CU),
  'p11-verify': operation(cryptoFields.p11Verify, CARRIERS),
  'p11-derive': operation(cryptoFields.p11Derive, CU),
  digest: operation(cryptoFields.digest, CARRIERS),
  'stream-open': operation(cryptoFields.streamOpen, CARRIERS),
  'stream-update': operation(cryptoFields.streamUpdate, CARRIERS),
  'stream-final': operation(cryptoFields.streamFinal, CARRIERS),
  'stream-close': operation(cryptoFields.streamClose, CARRIERS),
  // work with keys
  random: operation(object({ length: randomLength }), CARRIERS),
  encrypt: operation(object({ keyId, aad, data }), CU),
  decrypt: operation(object({ keyId, iv, aad, data: sealed }), CU),
  reencrypt: operation(object({ keyId, iv, aad, data: sealed, toKeyId: keyId, toAad: aad }), CU),
  'data-key': operation(
    object({
      keyId,
      aad,
      length: randomLength,
      withPlaintext: flag,
    }),
    CU,
  ),
} as const satisfies Record<string, Operation>;

export type HsmOperation = keyof typeof HSM_OPERATIONS;
export type HsmFields<Op extends HsmOperation> = FormOf<(typeof HSM_OPERATIONS)[Op]['fields']>;

export interface WrappedMaskingKeys {
  readonly wrap: Uint8Array;
  readonly seal: Uint8Array;
  readonly auth: Uint8Array;
}

/** What makes a member of a newcomer, or of an HSM that is made from a backup. */
export interface HandedOver {
  readonly maskingKeyId: MaskingKeyId;
  /** under the RSA key of who gets them (OAEP) */
  readonly wrapped: WrappedMaskingKeys;
  /** the users and the newest epoch, under mask-seal */
  readonly users: Uint8Array;
}

export interface HsmUser {
  readonly username: string;
  readonly role: HsmRole;
  readonly locked: boolean;
  /** it logs in with a second factor */
  readonly mfa?: true;
  /** it can approve */
  readonly quorum?: true;
  /** of the key of either: the SHA-256 of its SubjectPublicKeyInfo, in hex */
  readonly keyHash?: string;
}

/** Items of keys with their first record, one behind the other: 16 bytes of id, 16 of proof. */
export interface PackedItems {
  readonly ids: Uint8Array;
  readonly proofs: Uint8Array;
}

export interface InventoryItem {
  readonly id: HsmKeyId;
  readonly revision: number;
  /** what this copy proved itself with; empty when its proof failed */
  readonly proof: Uint8Array;
  /** the digest of its record; empty for a first record: an attempt has one only */
  readonly digest: Uint8Array;
}

/** A key's record on its way between HSMs, with what the ledger says of it. */
export interface CarriedRecord {
  /** the record under mask-auth's CMAC */
  readonly masked: Uint8Array;
  readonly revision: number;
  readonly digest: Uint8Array;
}

export interface SealedData {
  readonly iv: Uint8Array;
  /** the ciphertext followed by the 16-byte tag */
  readonly data: Uint8Array;
}

/** What an HSM is made of, as its PKCS#11 module says. */
export interface Device {
  readonly vendor: string;
  readonly model: string;
  readonly hardware: Version;
  readonly firmware: Version;
}

export interface Version {
  readonly major: number;
  readonly minor: number;
}

/** What each operation answers. */
export interface HsmResults extends KeyResults, QuorumResults, ObjectResults, CryptoResults {
  info: {
    readonly serial: string;
    readonly device: Device;
    readonly keys: number;
    readonly users: number;
    readonly sessions: number;
    readonly hotKeys: number;
    readonly epoch: number;
    readonly phase: HsmPhase;
  };
  'fault-add': { readonly id: number };
  'fault-list': { readonly faults: readonly ListedFault[] };
  'fault-clear': Record<string, never>;
  identity: { readonly publicKey: Uint8Array };
  found: Record<string, never>;
  'join-offer': { readonly publicKey: Uint8Array; readonly signature: Uint8Array };
  join: Record<string, never>;
  handover: HandedOver;
  backup: HandedOver;
  'backup-keys': {
    readonly keys: readonly { readonly id: HsmKeyId; readonly masked: Uint8Array }[];
  };
  leave: Record<string, never>;
  login: { readonly session: number; readonly role: HsmRole };
  logout: Record<string, never>;
  activate: Record<string, never>;
  'user-list': { readonly users: readonly HsmUser[] };
  'user-create': Record<string, never>;
  'user-delete': Record<string, never>;
  'user-change-password': Record<string, never>;
  generate: { readonly masked: Uint8Array; readonly proof: Uint8Array };
  import: { readonly masked: Uint8Array; readonly proof: Uint8Array };
  insert: { readonly keyId: HsmKeyId; readonly revision: number; readonly proof: Uint8Array };
  extract: { readonly masked: Uint8Array };
  find: { readonly keys: readonly { readonly id: HsmKeyId; readonly label: string }[] };
  destroy: Record<string, never>;
  discard: Record<string, never>;
  inventory: {
    readonly items: readonly InventoryItem[];
    /** further items in two lists, where there are thousands */
    readonly packed?: PackedItems | undefined;
    /** the id that the next page begins behind; empty when nothing but secrets is here */
    readonly last: string;
    readonly more: boolean;
  };
  'record-prepare': CarriedRecord;
  'record-apply': { readonly revision: number; readonly digest: Uint8Array };
  'record-extract': CarriedRecord;
  'store-seen': { readonly store: string | null; readonly stamp: number };
  'cluster-key': { readonly privateKey: Uint8Array };
  random: { readonly data: Uint8Array };
  encrypt: SealedData;
  decrypt: { readonly data: Uint8Array };
  reencrypt: SealedData;
  'data-key': SealedData & { readonly plaintext?: Uint8Array };
}

/** The common name in the certificate of a key that an installation opens its backups with. */
export const RECOVERY_NAME = 'Keyspan backup recovery';

/**
 * What a joiner signs with its identity key, so that a member knows whom it wraps the masking
 * keys for.
 */
export function joinTranscript(cluster: ClusterId, hsm: HsmId, publicKey: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from(`keyspan join v1\0${cluster}\0${hsm}\0`), publicKey]);
}
