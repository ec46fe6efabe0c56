import { z } from 'zod';
import {
  isBootId,
  isClusterId,
  isHsmId,
  isHsmKeyId,
  isMaskingKeyId,
  type BootId,
  type ClusterId,
  type HsmId,
  type HsmKeyId,
  type MaskingKeyId,
} from '../core/ids.js';
import { LIMITS } from '../core/limits.js';

/**
 * What crosses the wire between the daemon and an HSM (ARCHITECTURE §8). After one `hello` each
 * way a request is
 * `[id, timeoutMs, epoch, operation, session, fields]`, an answer `[id, 0, result]` or `[id, 1,
 * code, message]`.
 */
export const FRAME_VERSION = 1;
export const RECORD_VERSION = 1;

export const HSM_ROLES = ['unactivated-admin', 'admin', 'crypto-user', 'appliance-user'] as const;
export type HsmRole = (typeof HSM_ROLES)[number];

/** `new`: no masking keys yet, it is to be founded or joined; `member`: it serves. */
export type HsmPhase = 'new' | 'member';

const text = (max: number): z.ZodString => z.string().min(1).max(max);
const bytes = (max: number, min = 0): z.ZodType<Uint8Array> =>
  z.custom<Uint8Array>(
    (value) => value instanceof Uint8Array && value.length >= min && value.length <= max,
    { message: `must be ${min} to ${max} bytes` },
  );
const id = <T extends string>(check: (value: string) => value is T): z.ZodType<T> =>
  z.custom<T>((value) => typeof value === 'string' && check(value), { message: 'is not an id' });

const keyId = id<HsmKeyId>(isHsmKeyId);
const username = text(LIMITS.hsm_user_name_max_chars).regex(/^[A-Za-z0-9_]+$/);
const password = z.string().min(1).max(LIMITS.hsm_password_max_chars);
const newPassword = password.min(LIMITS.hsm_password_min_chars).regex(/^[^:]+$/);
const data = bytes(LIMITS.hsm_data_max_bytes, 1);
const aad = bytes(LIMITS.hsm_data_max_bytes);
const iv = bytes(12, 12);
const masked = bytes(16_384, 64);
const wrappedKeys = z.strictObject({
  wrap: bytes(1024, 64),
  seal: bytes(1024, 64),
  auth: bytes(1024, 64),
});
const certificates = z.array(text(8_192)).min(1).max(4);

export const hello = z.strictObject({
  hello: z.literal(FRAME_VERSION),
  recordVersion: z.int(),
  hsm: id<HsmId>(isHsmId),
  cluster: id<ClusterId>(isClusterId),
  /** the HSM's side: its boot, the newest epoch on its token, and its phase */
  boot: id<BootId>(isBootId).optional(),
  epoch: z.int().min(0).optional(),
  phase: z.enum(['new', 'member']).optional(),
});
export type Hello = z.infer<typeof hello>;

interface Operation {
  readonly fields: z.ZodType;
  /** who may ask for it; `anyone` needs no session */
  readonly roles: readonly HsmRole[] | 'anyone';
  readonly phase: HsmPhase;
  /** changes what is on the token: the frame's epoch is compared with the token's */
  readonly mutating: boolean;
}

const operation = <T extends z.ZodType>(
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

const none = z.strictObject({});
const CU = ['crypto-user'] as const;
const AU = ['appliance-user'] as const;
const ADMIN = ['admin'] as const;
const SYNC = ['appliance-user', 'crypto-user'] as const;
const ANY_USER = HSM_ROLES;

const newcomer = { phase: 'new', mutating: true } as const;
const change = { mutating: true } as const;

/** Every operation of an HSM: the form of its fields and who may ask for it. */
export const HSM_OPERATIONS = {
  // any phase's first questions
  info: operation(none, 'anyone'),
  // phase `new`
  identity: operation(none, 'anyone', newcomer),
  found: operation(
    z.strictObject({
      maskingKeyId: id<MaskingKeyId>(isMaskingKeyId),
      certificates,
      root: text(8_192),
      appUser: z.strictObject({ username, password: newPassword }),
      admin: z.strictObject({ username, password: newPassword }),
    }),
    'anyone',
    newcomer,
  ),
  'join-offer': operation(none, 'anyone', newcomer),
  join: operation(
    z.strictObject({
      maskingKeyId: id<MaskingKeyId>(isMaskingKeyId),
      wrapped: wrappedKeys,
      certificates,
      root: text(8_192),
      users: bytes(LIMITS.frame_size_max_bytes - 65_536, 16),
    }),
    'anyone',
    newcomer,
  ),
  handover: operation(
    z.strictObject({
      hsm: id<HsmId>(isHsmId),
      certificates,
      publicKey: bytes(2_048, 64),
      signature: bytes(512, 32),
    }),
    AU,
  ),
  // users
  login: operation(z.strictObject({ username, password }), 'anyone'),
  logout: operation(none, ANY_USER),
  activate: operation(z.strictObject({ password: newPassword }), ['unactivated-admin'], change),
  'user-list': operation(none, 'anyone'),
  'user-create': operation(
    z.strictObject({
      username,
      role: z.enum(['admin', 'crypto-user']),
      password: newPassword,
    }),
    ADMIN,
    change,
  ),
  'user-delete': operation(
    z.strictObject({ username, role: z.enum(['admin', 'crypto-user']) }),
    ADMIN,
    change,
  ),
  'user-change-password': operation(
    z.strictObject({ username, role: z.enum(HSM_ROLES), password: newPassword }),
    ['admin', 'crypto-user', 'appliance-user'],
    change,
  ),
  // keys
  generate: operation(
    z.strictObject({ keyId, kind: z.enum(['aes-256', 'cluster-key']), label: z.string().max(127) }),
    SYNC,
  ),
  insert: operation(z.strictObject({ masked }), SYNC, change),
  extract: operation(z.strictObject({ keyId }), SYNC),
  find: operation(
    z.strictObject({
      after: z.string().max(32),
      limit: z.int().min(1).max(LIMITS.hsm_inventory_page_max),
    }),
    CU,
  ),
  destroy: operation(z.strictObject({ keyId }), CU, change),
  discard: operation(z.strictObject({ keyId }), AU, change),
  inventory: operation(
    z.strictObject({
      after: z.string().max(32),
      limit: z.int().min(1).max(LIMITS.hsm_inventory_page_max),
    }),
    AU,
  ),
  'cluster-key': operation(z.strictObject({ keyId }), AU),
  // work with keys
  random: operation(
    z.strictObject({ length: z.int().min(1).max(LIMITS.hsm_random_max_bytes) }),
    CU,
  ),
  encrypt: operation(z.strictObject({ keyId, aad, data }), CU),
  decrypt: operation(z.strictObject({ keyId, iv, aad, data }), CU),
  reencrypt: operation(z.strictObject({ keyId, iv, aad, data, toKeyId: keyId, toAad: aad }), CU),
  'data-key': operation(
    z.strictObject({
      keyId,
      aad,
      length: z.int().min(1).max(LIMITS.hsm_random_max_bytes),
      withPlaintext: z.boolean(),
    }),
    CU,
  ),
} as const satisfies Record<string, Operation>;

export type HsmOperation = keyof typeof HSM_OPERATIONS;
export type HsmFields<Op extends HsmOperation> = z.infer<(typeof HSM_OPERATIONS)[Op]['fields']>;

export interface WrappedMaskingKeys {
  readonly wrap: Uint8Array;
  readonly seal: Uint8Array;
  readonly auth: Uint8Array;
}

export interface HsmUser {
  readonly username: string;
  readonly role: HsmRole;
  readonly locked: boolean;
}

export interface InventoryItem {
  readonly id: HsmKeyId;
  readonly revision: number;
  /** what this copy proved itself with; empty when its proof failed */
  readonly proof: Uint8Array;
}

export interface SealedData {
  readonly iv: Uint8Array;
  /** the ciphertext followed by the 16-byte tag */
  readonly data: Uint8Array;
}

/** What each operation answers. */
export interface HsmResults {
  info: {
    readonly serial: string;
    readonly keys: number;
    readonly users: number;
    readonly sessions: number;
    readonly hotKeys: number;
    readonly epoch: number;
    readonly phase: HsmPhase;
  };
  identity: { readonly publicKey: Uint8Array };
  found: Record<string, never>;
  'join-offer': { readonly publicKey: Uint8Array; readonly signature: Uint8Array };
  join: Record<string, never>;
  handover: {
    readonly maskingKeyId: MaskingKeyId;
    readonly wrapped: WrappedMaskingKeys;
    readonly users: Uint8Array;
  };
  login: { readonly session: number; readonly role: HsmRole };
  logout: Record<string, never>;
  activate: Record<string, never>;
  'user-list': { readonly users: readonly HsmUser[] };
  'user-create': Record<string, never>;
  'user-delete': Record<string, never>;
  'user-change-password': Record<string, never>;
  generate: { readonly masked: Uint8Array; readonly proof: Uint8Array };
  insert: { readonly keyId: HsmKeyId; readonly revision: number; readonly proof: Uint8Array };
  extract: { readonly masked: Uint8Array };
  find: { readonly keys: readonly { readonly id: HsmKeyId; readonly label: string }[] };
  destroy: Record<string, never>;
  discard: Record<string, never>;
  inventory: { readonly items: readonly InventoryItem[]; readonly more: boolean };
  'cluster-key': { readonly privateKey: Uint8Array };
  random: { readonly data: Uint8Array };
  encrypt: SealedData;
  decrypt: { readonly data: Uint8Array };
  reencrypt: SealedData;
  'data-key': SealedData & { readonly plaintext?: Uint8Array };
}

/**
 * What a joiner signs with its identity key, so that a member knows whom it wraps the masking
 * keys for.
 */
export function joinTranscript(cluster: ClusterId, hsm: HsmId, publicKey: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from(`keyspan join v1\0${cluster}\0${hsm}\0`), publicKey]);
}
