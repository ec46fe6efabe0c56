import { LIMITS } from '../core/limits.js';
import { HASHES, SIGN_MECHANISMS, UNWRAP_KINDS, WRAP_MECHANISMS } from './mechanisms.js';
import {
  FormError,
  flag,
  int,
  list,
  mapOf,
  object,
  oneOf,
  optional,
  text,
  type Form,
  type FormOf,
} from './form.js';
import { CURVES, LABEL_MAX_CHARS, RSA_BITS, SECRET_LENGTH_MAX, isKeyReference } from './objects.js';

/**
 * The data plane: what an HSM user does with a cluster, over the WebSocket and at the operator's
 * door alike. `UserLogin` gives the name of a session, which every other action of the user says;
 * blobs are bytes in CBOR and base64 in JSON.
 */
export const CLI_ROLES = ['admin', 'crypto-user'] as const;
export type CliRole = (typeof CLI_ROLES)[number];

/** Services of quorum authentication (M of N). */
export const QUORUM_SERVICES = [
  'user',
  'quorum',
  'cluster',
  'registration',
  'key-usage',
  'key-management',
] as const;
export type QuorumService = (typeof QUORUM_SERVICES)[number];
/** Those whose number of approvals an admin sets. */
export const ADMIN_SERVICES = ['user', 'quorum', 'cluster'] as const;
export type AdminService = (typeof ADMIN_SERVICES)[number];

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** Bytes, or their standard base64. */
export function blob({ min = 0, max }: { min?: number; max: number }): Form<Uint8Array> {
  return (value) => {
    const read = typeof value === 'string' && BASE64.test(value) ? base64(value) : value;
    const fits = read instanceof Uint8Array && read.length >= min && read.length <= max;
    if (!fits) throw new FormError(`must be ${min} to ${max} bytes`);
    return read;
  };
}

const base64 = (value: string): Uint8Array => Buffer.from(value, 'base64');

/** absent: the cluster that the installation made for itself */
const cluster = optional(text({ max: 64 }));
/** names a login; whoever says it keeps the login from its idle end */
const session = text({ max: 64 });
const username = text({ max: LIMITS.hsm_user_name_max_chars, pattern: /^[A-Za-z0-9_]+$/ });
const role = oneOf(...CLI_ROLES);
const password = text({ max: LIMITS.hsm_password_max_chars });
const newPassword = text({
  min: LIMITS.cli_password_min_chars,
  max: LIMITS.cli_password_max_chars,
  pattern: /^[^:]+$/,
});
const pem = text({ max: 8_192 });
const signature = blob({ min: 64, max: 1_024 });

/** A token of an HSM as it was given, and what its holder's key made of it. */
const signedToken = object({ token: blob({ min: 16, max: 1_024 }), signature });
export type SignedToken = FormOf<typeof signedToken>;
const signedTokens = list(signedToken, { min: 1, max: LIMITS.hsms_per_cluster_max });

/** Tokens of HSMs, one behind the other, and who signed them. */
export const approval = object({
  data: blob({ min: 16, max: LIMITS.hsms_per_cluster_max * 1_024 }),
  signatures: list(object({ username, role: optional(role), signature }), {
    max: LIMITS.quorum_approvals_max,
  }),
});
export type Approval = FormOf<typeof approval>;
const approved = optional(approval);

const reference: Form<string> = (value) => {
  if (typeof value === 'string' && isKeyReference(value)) return value;
  throw new FormError('is not 0x and 16 hex digits');
};
const label = text({ min: 0, max: LABEL_MAX_CHARS });
/** `label`, `id` (hex) and templates are texts; all others are true or false */
const attributeValue: Form<boolean | string> = (value) => {
  if (typeof value === 'boolean') return value;
  if (typeof value === 'string' && value.length <= LIMITS.attribute_value_max_chars) return value;
  throw new FormError('is neither true, false nor a text');
};
const attributes = optional(mapOf(attributeValue));
export type GivenAttributes = Readonly<Record<string, boolean | string>>;

const shares = optional(list(username, { min: 1, max: LIMITS.hsm_users_max }));
const quorumValue = int({ min: 0, max: LIMITS.quorum_approvals_max });
const keyQuorumMembers = object({ manage: quorumValue, use: quorumValue });
/** how many must approve a change of the key, and its use */
export type KeyQuorum = FormOf<typeof keyQuorumMembers>;
const keyQuorum = optional(keyQuorumMembers);

const data = blob({ min: 1, max: LIMITS.hsm_data_max_bytes });

const hash = oneOf(...HASHES);

/** `hash` where the mechanism has one; `mgf` and `saltLength` (bytes) of PSS alone */
export const signMechanism = object({
  name: oneOf(...SIGN_MECHANISMS),
  hash: optional(hash),
  mgf: optional(hash),
  saltLength: optional(int({ min: 0, max: 512 })),
});
export type SignMechanism = FormOf<typeof signMechanism>;

/** `tagBits`, `aad` and (to unwrap) `iv` of GCM; `hash` and `mgf` of OAEP */
export const wrapMechanism = object({
  name: oneOf(...WRAP_MECHANISMS),
  tagBits: optional(int({ min: 32, max: 128 })),
  aad: optional(blob({ max: LIMITS.wrap_aad_max_bytes })),
  iv: optional(blob({ min: 1, max: 128 })),
  hash: optional(hash),
  mgf: optional(hash),
});
export type WrapMechanism = FormOf<typeof wrapMechanism>;

/** `length` in bytes */
export const secretSpec = object({
  type: oneOf('aes', 'generic-secret'),
  length: int({ min: 1, max: SECRET_LENGTH_MAX }),
});
export type SecretSpec = FormOf<typeof secretSpec>;
/** `bits` and `exponent` of RSA, `curve` of EC */
export const pairSpec = object({
  type: oneOf('rsa', 'ec'),
  bits: optional(int({ min: RSA_BITS.min, max: RSA_BITS.max })),
  exponent: optional(int({ min: 65_537, max: 2 ** 32 - 1 })),
  curve: optional(oneOf(...CURVES)),
});
export type PairSpec = FormOf<typeof pairSpec>;

const named = object({ label, attributes });
/** it is on one HSM and ends with the session */
const sessionKey = optional(flag);
/** false: one HSM is enough for a new key, and it may be lost with it */
const availabilityCheck = optional(flag);

const filterMembers = object({
  reference: optional(reference),
  attributes: optional(mapOf(attributeValue)),
});
export type KeyFilter = FormOf<typeof filterMembers>;
const filter = optional(filterMembers);

/** The actions with the form of their requests. */
export const HSM_SESSION_ACTIONS = {
  // without a login, or with one
  HsmInfo: object({ cluster, session: optional(session) }),
  UserList: object({ cluster, session: optional(session) }),
  ClusterActivate: object({ cluster, password: newPassword }),
  QuorumList: object({ cluster, session: optional(session) }),
  QuorumListValues: object({ cluster, session: optional(session) }),
  /** for a login with a second factor: a token of each HSM for the user to sign */
  UserMfaTokens: object({ cluster, username, role }),
  UserLogin: object({ cluster, username, role, password, mfa: optional(signedTokens) }),
  UserLogout: object({ session }),
  // users: an admin's, but for one's own password, factor and key
  UserCreate: object({ session, username, role, password: newPassword, approval: approved }),
  UserDelete: object({ session, username, role, approval: approved }),
  UserChangePassword: object({
    session,
    username,
    role,
    password: newPassword,
    approval: approved,
    deregisterMfa: optional(flag),
    deregisterQuorum: optional(flag),
  }),
  /** registers a key as second factor, or takes it away: without `publicKey` */
  UserChangeMfa: object({
    session,
    username,
    role,
    publicKey: optional(pem),
    tokens: optional(signedTokens),
    password: optional(newPassword),
    approval: approved,
    /** the key also approves */
    changeQuorum: optional(flag),
  }),
  /** registers the key that one approves with */
  UserChangeQuorum: object({ session, publicKey: pem, tokens: signedTokens }),
  /** to a cluster of the same family; `destination`: an admin's session there */
  UserReplicate: object({ session, destination: session, username, role }),
  // quorum
  QuorumGenerate: object({
    session,
    service: oneOf(...QUORUM_SERVICES),
    /** of the services of keys */
    key: optional(reference),
  }),
  QuorumSetValue: object({
    session,
    service: oneOf(...ADMIN_SERVICES),
    value: int({ min: 1, max: LIMITS.quorum_approvals_max }),
    approval: approved,
  }),
  QuorumDelete: object({ session, scope: oneOf('user', 'all') }),
  // keys: a crypto-user's
  /** what the user may see, in the order of references; an admin sees references and labels */
  KeyFind: object({
    session,
    filter,
    /** the reference that the page begins behind */
    after: optional(reference),
    limit: optional(int({ min: 1, max: LIMITS.key_page_max })),
    /** false: the references alone are asked of one HSM; true: all of them, to compare */
    verbose: optional(flag),
    /** false: also while fewer HSMs serve than the key-availability rule asks for */
    availabilityCheck: optional(flag),
  }),
  KeyGenerate: object({
    session,
    spec: secretSpec,
    key: named,
    sessionKey,
    availabilityCheck,
    share: shares,
    quorum: keyQuorum,
  }),
  KeyGeneratePair: object({
    session,
    spec: pairSpec,
    publicKey: named,
    privateKey: named,
    sessionKey,
    availabilityCheck,
    share: shares,
    quorum: keyQuorum,
  }),
  /** a public key: SubjectPublicKeyInfo in PEM */
  KeyImport: object({
    session,
    pem,
    type: oneOf('rsa', 'ec'),
    key: named,
    sessionKey,
    availabilityCheck,
    share: shares,
  }),
  /** the public half: SubjectPublicKeyInfo in PEM */
  KeyPublic: object({ session, key: reference }),
  KeyDelete: object({ session, key: reference }),
  KeySetAttribute: object({
    session,
    key: reference,
    name: text({ max: 64 }),
    value: attributeValue,
    approval: approved,
  }),
  KeyShare: object({ session, key: reference, username, approval: approved }),
  KeyUnshare: object({ session, key: reference, username, approval: approved }),
  KeyWrap: object({
    session,
    payload: reference,
    wrapping: reference,
    mechanism: wrapMechanism,
    payloadApproval: approved,
    wrappingApproval: approved,
  }),
  KeyUnwrap: object({
    session,
    wrapping: reference,
    mechanism: wrapMechanism,
    data,
    kind: oneOf(...UNWRAP_KINDS),
    key: named,
    sessionKey,
    availabilityCheck,
    share: shares,
    quorum: keyQuorum,
    approval: approved,
  }),
  /** to a cluster of the same family; `destination`: the user's session there, or an admin's */
  KeyReplicate: object({ session, destination: session, key: reference }),
  KeySign: object({
    session,
    key: reference,
    mechanism: signMechanism,
    data,
    /** `data` is the digest already (of `rsa-pkcs` its DigestInfo, RFC 8017) */
    digested: optional(flag),
    approval: approved,
  }),
  KeyVerify: object({
    session,
    key: reference,
    mechanism: signMechanism,
    data,
    digested: optional(flag),
    signature: blob({ min: 1, max: 1_024 }),
  }),
} as const;

export type HsmSessionAction = keyof typeof HSM_SESSION_ACTIONS;
export type HsmSessionParams<A extends HsmSessionAction> = FormOf<(typeof HSM_SESSION_ACTIONS)[A]>;
export const isHsmSessionAction = (name: string): name is HsmSessionAction =>
  Object.hasOwn(HSM_SESSION_ACTIONS, name);

/** Those that name a cluster, where others name a session. */
const OF_CLUSTER: ReadonlySet<HsmSessionAction> = new Set<HsmSessionAction>([
  'HsmInfo',
  'UserList',
  'ClusterActivate',
  'QuorumList',
  'QuorumListValues',
  'UserMfaTokens',
  'UserLogin',
]);
export const isOfCluster = (action: HsmSessionAction): boolean => OF_CLUSTER.has(action);

/** What may be done twice: nothing is other afterwards than after the first time. */
const READING: ReadonlySet<string> = new Set<HsmSessionAction>([
  'HsmInfo',
  'UserList',
  'QuorumList',
  'QuorumListValues',
  'UserMfaTokens',
  'KeyFind',
  'KeyPublic',
  'KeyWrap',
  'KeySign',
  'KeyVerify',
]);

/** Whether an action does something, for which a request carries an idempotency token. */
export const isChange = (action: HsmSessionAction): boolean => !READING.has(action);

/** Whether a request has the approval of others, which counts once. */
export const isApproved = (params: object): boolean =>
  'approval' in params || 'payloadApproval' in params || 'wrappingApproval' in params;

/** One HSM as CloudHSM's CLI shows it; `hsm-id` is ours. */
export interface HsmInfo {
  readonly 'hsm-id': string;
  readonly vendor: string;
  readonly model: string;
  readonly 'serial-number': string;
  readonly 'hardware-version-major': string;
  readonly 'hardware-version-minor': string;
  readonly 'firmware-version-major': string;
  readonly 'firmware-version-minor': string;
  readonly 'firmware-build-number': string;
  readonly 'firmware-id': string;
  readonly 'fips-state': string;
}

type Coverage = 'full' | 'inconsistent';

/** `token-sign` is the one strategy that there is. */
export interface UserStrategy {
  readonly strategy: 'token-sign';
  readonly status: 'enabled' | 'disabled' | 'inconsistent';
}

/** One user over all HSMs of a cluster; `inconsistent` where they differ. */
export interface ListedUser {
  readonly username: string;
  readonly role: string;
  readonly locked: 'true' | 'false' | 'inconsistent';
  readonly mfa: readonly UserStrategy[];
  readonly quorum: readonly UserStrategy[];
  readonly 'cluster-coverage': Coverage;
}

/** Whom a command was about. */
export interface CliUser {
  readonly username: string;
  readonly role: CliRole;
}

/** A token of one HSM, for somebody to sign (SHA-256, PKCS #1 v1.5, RSA-2048). */
export interface UnsignedToken {
  readonly hsm: string;
  /** what is signed */
  readonly token: Uint8Array;
}

/** A token over all HSMs of a cluster. */
export type ListedToken =
  | {
      readonly username: string;
      readonly service: AdminService;
      readonly 'approvals-required': number | 'inconsistent';
      readonly 'number-of-approvals': number;
      readonly 'token-timeout-seconds': number;
      readonly 'cluster-coverage': Coverage;
    }
  | {
      readonly username: string;
      readonly service: 'key-usage' | 'key-management';
      readonly 'key-reference': string;
      readonly 'minimum-token-count': number;
    };

export type QuorumValues = Readonly<Record<AdminService, number | 'inconsistent'>>;

/** With whom a key is, on how many of the HSMs. */
export interface KeyUser {
  readonly username: string;
  readonly 'key-coverage': Coverage;
}

export type AttributeValue = boolean | string | number;

/** A key as CloudHSM's CLI shows it; any attribute may be `inconsistent`. */
export interface DescribedKey {
  readonly 'key-reference': string;
  readonly 'key-info': {
    readonly 'key-owners': readonly KeyUser[];
    readonly 'shared-users': readonly KeyUser[];
    readonly 'key-quorum-values': {
      readonly 'manage-key-quorum-value': number;
      readonly 'use-key-quorum-value': number;
    };
    readonly 'cluster-coverage': Coverage;
  };
  readonly attributes: Readonly<Record<string, AttributeValue>>;
}

/** A key where nobody asked for all that is known of it. */
export interface BriefKey {
  readonly 'key-reference': string;
  readonly attributes: { readonly label: string };
}

type Nothing = Record<string, never>;

/** What each action answers. */
export interface HsmSessionResults {
  HsmInfo: { readonly hsms: readonly HsmInfo[] };
  UserList: { readonly users: readonly ListedUser[] };
  ClusterActivate: Nothing;
  QuorumList: { readonly tokens: readonly ListedToken[] };
  QuorumListValues: QuorumValues;
  UserMfaTokens: { readonly tokens: readonly UnsignedToken[] };
  UserLogin: { readonly session: string; readonly username: string; readonly role: CliRole };
  UserLogout: Nothing;
  UserCreate: CliUser;
  UserDelete: CliUser;
  UserChangePassword: CliUser;
  UserChangeMfa: CliUser;
  UserChangeQuorum: CliUser;
  UserReplicate: { readonly user: ListedUser };
  QuorumGenerate: { readonly tokens: readonly UnsignedToken[] };
  QuorumSetValue: Nothing;
  QuorumDelete: Nothing;
  KeyFind: {
    /** `DescribedKey` where `verbose` was asked */
    readonly keys: readonly (DescribedKey | BriefKey)[];
    /** how many keys there are that the filter fits */
    readonly total: number;
    /** there are more behind the last one */
    readonly more: boolean;
  };
  KeyGenerate: { readonly key: DescribedKey };
  KeyGeneratePair: { readonly publicKey: DescribedKey; readonly privateKey: DescribedKey };
  KeyImport: { readonly key: DescribedKey };
  KeyPublic: { readonly pem: string };
  KeyDelete: Nothing;
  KeySetAttribute: Nothing;
  KeyShare: Nothing;
  KeyUnshare: Nothing;
  KeyWrap: { readonly data: Uint8Array; readonly iv?: Uint8Array };
  KeyUnwrap: { readonly key: DescribedKey };
  KeyReplicate: { readonly key: DescribedKey };
  KeySign: { readonly signature: Uint8Array };
  KeyVerify: { readonly valid: boolean };
}
