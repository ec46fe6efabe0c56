import { LIMITS } from '../core/limits.js';
import type { AdminService, QuorumService } from './hsm-session.js';
import { TOKEN_KEY_MAX_CHARS } from './hsm-token.js';
import { bytes, flag, int, list, object, oneOf, optional, text, type FormOf } from './form.js';

/** What crosses the wire of second factors, approvals, and users on their way to a relative. */
const username = text({ max: LIMITS.hsm_user_name_max_chars, pattern: /^[A-Za-z0-9_]+$/ });
const role = oneOf('admin', 'crypto-user');
const newPassword = text({
  min: LIMITS.hsm_password_min_chars,
  max: LIMITS.hsm_password_max_chars,
  pattern: /^[^:]+$/,
});
const signature = bytes({ min: 64, max: 1_024 });
/** SubjectPublicKeyInfo, DER */
const publicKey = bytes({ min: 64, max: 1_024 });
const key = text({ max: TOKEN_KEY_MAX_CHARS, pattern: /^[0-9A-Za-z-]+$/ });

/** Tokens of HSMs, one behind the other, and who signed them all (quorum authentication). */
const tokens = bytes({ min: 16, max: LIMITS.hsms_per_cluster_max * 1_024 });
const approvalMembers = object({
  data: tokens,
  signatures: list(object({ username, role: optional(role), signature }), {
    max: LIMITS.quorum_approvals_max,
  }),
});
export type HsmApproval = FormOf<typeof approvalMembers>;
export const approval = optional(approvalMembers);

/** A token that this HSM gave, and what its holder's key made of it. */
const signedToken = object({ token: bytes({ min: 16, max: 1_024 }), signature });
export type HsmSignedToken = FormOf<typeof signedToken>;
export const factor = optional(signedToken);

const ADMIN_SERVICES: readonly AdminService[] = ['user', 'quorum', 'cluster'];
const SERVICES: readonly QuorumService[] = [
  ...ADMIN_SERVICES,
  'registration',
  'key-usage',
  'key-management',
];

/** The fields of each operation. */
export const QUORUM_FIELDS = {
  'mfa-challenge': object({ username }),
  'user-delete': object({ username, role, approval }),
  'user-change-mfa': object({
    username,
    role,
    /** absent: the second factor is taken away */
    publicKey: optional(publicKey),
    /** that the key is there: a token of service `registration` */
    proof: factor,
    /** what is said of the second factor holds for approvals too */
    changeQuorum: optional(flag),
    password: optional(newPassword),
    approval,
  }),
  'user-change-quorum': object({ publicKey, proof: signedToken }),
  'user-extract': object({ username, role }),
  'user-insert': object({ sealed: bytes({ min: 64, max: 8_192 }), approval }),
  /** `key`: the id of the key, of the services of keys */
  'token-create': object({ service: oneOf(...SERVICES), key: optional(key) }),
  /** `among`: tokens of HSMs, one behind the other; no others are deleted */
  'token-delete': object({ scope: oneOf('user', 'all'), among: optional(tokens) }),
  'quorum-set': object({
    service: oneOf(...ADMIN_SERVICES),
    value: int({ min: 1, max: LIMITS.quorum_approvals_max }),
    approval,
  }),
} as const;

/** How many admins must approve what a service does. */
export type HsmQuorumValues = Readonly<Record<AdminService, number>>;

/** A token that an HSM keeps. */
export interface HsmToken {
  readonly username: string;
  readonly service: QuorumService;
  /** the id of the key, of the services of keys */
  readonly key?: string;
  readonly expiresInMs: number;
}

type Nothing = Record<string, never>;
/** Who was changed. */
interface NamedUser {
  readonly username: string;
  readonly role: 'admin' | 'crypto-user';
}

/** What each operation answers. */
export interface QuorumResults {
  'mfa-challenge': { readonly token: Uint8Array };
  'user-change-mfa': Nothing;
  'user-change-quorum': NamedUser;
  /** the user's record under mask-seal */
  'user-extract': { readonly sealed: Uint8Array };
  'user-insert': NamedUser;
  'token-create': { readonly token: Uint8Array };
  'token-list': { readonly tokens: readonly HsmToken[]; readonly values: HsmQuorumValues };
  'token-delete': Nothing;
  'quorum-values': HsmQuorumValues;
  'quorum-set': Nothing;
}
