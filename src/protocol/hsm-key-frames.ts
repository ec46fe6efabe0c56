import type { HsmKeyId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import {
  FormError,
  anything,
  bytes,
  flag,
  int,
  mapOf,
  object,
  oneOf,
  optional,
  text,
  type Form,
  type FormOf,
} from './form.js';
import { data, keyId, label, masked, stamp, userNames } from './hsm-frame-forms.js';
import { approval } from './quorum-frames.js';
import { HASHES, SIGN_MECHANISMS, UNWRAP_KINDS, WRAP_MECHANISMS } from './mechanisms.js';
import {
  CURVES,
  FLAGS_MAX,
  FLAG_NAMES,
  OBJECT_CLASSES,
  OBJECT_TYPES,
  RSA_BITS,
  SECRET_LENGTH_MAX,
} from './objects.js';

/** The part of an HSM's frames that is about keys as their users see them. */
export const keyReference = text({ min: 18, max: 18, pattern: /^0x[0-9a-f]{16}$/ });
const flags = int({ min: 0, max: FLAGS_MAX });
/** what another key must be, or becomes: the flags of `mask` are those of `flags` */
const template = object({ mask: flags, flags });
export type FlagTemplate = FormOf<typeof template>;
/** attributes that are kept as they were given: PKCS #11's number in decimal, and its value */
const extra = optional(mapOf(bytes({ max: LIMITS.p11_extra_max_bytes })));
const approvals = int({ min: 0, max: LIMITS.quorum_approvals_max });
/** A key as its users see it (protocol/objects), or a certificate or data beside keys. */
export const keyObject = object({
  class: oneOf(...OBJECT_CLASSES),
  type: oneOf(...OBJECT_TYPES),
  reference: keyReference,
  flags,
  /** CKA_ID */
  id: bytes({ max: 128 }),
  /**
   * in bytes: of a secret, of the DER of a private key (to a multiple of 8), of a modulus, of the
   * content of what is no key
   */
  length: int({ min: 0, max: LIMITS.p11_object_max_bytes }),
  curve: optional(oneOf(...CURVES)),
  /** the public half: SubjectPublicKeyInfo, DER */
  public: optional(bytes({ min: 16, max: 1_024 })),
  /** CKA_CHECK_VALUE */
  check: optional(bytes({ min: 3, max: 3 })),
  /** how many must approve a change of the key, and its use; 0: nobody */
  manage: approvals,
  use: approvals,
  wrapTemplate: optional(template),
  unwrapTemplate: optional(template),
  extra,
});
export type KeyObject = FormOf<typeof keyObject>;
const changeMembers = object({
  share: optional(userNames),
  unshare: optional(userNames),
  label: optional(label),
  usage: optional(object({ encrypt: optional(flag), decrypt: optional(flag) })),
  /** one attribute of an object, with its new value */
  set: optional(object({ name: oneOf(...FLAG_NAMES), value: flag })),
  id: optional(bytes({ max: 128 })),
  wrapTemplate: optional(template),
  unwrapTemplate: optional(template),
  /** each replaces the one of its number */
  extra,
});
export type RecordChange = FormOf<typeof changeMembers>;
/** What its owner changes of a key's record: at least one thing. */
export const recordChange: Form<RecordChange> = (value) => {
  const change = changeMembers(value);
  if (Object.keys(change).length === 0) throw new FormError('names nothing');
  return change;
};
/** What is said of an object that is made: what is not given is as CloudHSM has it. */
const making = {
  keyId,
  reference: keyReference,
  label,
  /** flags that were given, by name */
  given: mapOf(flag),
  /**
   * By PKCS #11's rules instead of CloudHSM's: `given` names all flags that are true, but for
   * `private` of a secret or private key, which is so in any case, and what the HSM computes
   */
  pkcs11: optional(flag),
  extra,
  id: optional(bytes({ max: 128 })),
  wrapTemplate: optional(template),
  unwrapTemplate: optional(template),
};
export const keyMaking = object(making);
export type KeyMaking = FormOf<typeof keyMaking>;
const common = {
  share: optional(userNames),
  quorum: optional(object({ manage: approvals, use: approvals })),
  /** it stays on this HSM and ends with the session */
  isSession: optional(flag),
  stamp,
};
const hash = optional(oneOf(...HASHES));
const signMechanism = object({
  name: oneOf(...SIGN_MECHANISMS),
  hash,
  mgf: hash,
  saltLength: optional(int({ min: 0, max: 512 })),
});
const wrapMechanism = object({
  name: oneOf(...WRAP_MECHANISMS),
  tagBits: optional(int({ min: 32, max: 128 })),
  aad: optional(bytes({ max: LIMITS.wrap_aad_max_bytes })),
  iv: optional(bytes({ min: 1, max: 128 })),
  hash,
  mgf: hash,
});
/** the attribute values that a key must have: flags by name, all else as its users see it */
const keyFilter = object({
  reference: optional(keyReference),
  attributes: mapOf(anything),
});
export type HsmKeyFilter = FormOf<typeof keyFilter>;

/** The fields of each operation. */
export const keyFields = {
  keyGenerate: object({
    key: keyMaking,
    spec: object({
      type: oneOf('aes', 'generic-secret'),
      length: int({ min: 1, max: SECRET_LENGTH_MAX }),
    }),
    ...common,
  }),
  keyPairGenerate: object({
    privateKey: keyMaking,
    publicKey: keyMaking,
    spec: object({
      type: oneOf('rsa', 'ec'),
      bits: optional(int({ min: RSA_BITS.min, max: RSA_BITS.max })),
      exponent: optional(int({ min: 65_537, max: 2 ** 32 - 1 })),
      curve: optional(oneOf(...CURVES)),
    }),
    ...common,
  }),
  keyImport: object({
    key: keyMaking,
    type: oneOf('rsa', 'ec'),
    der: bytes({ max: 1_024 }),
    ...common,
  }),
  keyUnwrap: object({
    key: keyMaking,
    wrappingId: keyId,
    mechanism: wrapMechanism,
    data,
    kind: oneOf(...UNWRAP_KINDS),
    approval,
    ...common,
  }),
  keyKeep: object({ fromId: keyId, keyId, stamp: optional(int({ min: 0 })) }),
  keyWrap: object({
    payloadId: keyId,
    wrappingId: keyId,
    mechanism: wrapMechanism,
    payloadApproval: approval,
    wrappingApproval: approval,
  }),
  keyFind: object({
    filter: keyFilter,
    after: optional(keyReference),
    limit: int({ min: 1, max: LIMITS.key_page_max }),
    verbose: flag,
  }),
  keyDestroyable: object({ keyId }),
  keyExport: object({ keyId }),
  keyAcceptable: object({ masked }),
  keyDrop: object({ keyId }),
  keySign: object({ keyId, mechanism: signMechanism, data, digested: flag, approval }),
  keyVerify: object({
    keyId,
    mechanism: signMechanism,
    data,
    digested: flag,
    signature: bytes({ min: 1, max: 1_024 }),
  }),
} as const;

/** A key that was made and is on no token yet; `masked` is missing of a session key. */
export interface MadeKey {
  readonly masked?: Uint8Array | undefined;
  readonly proof: Uint8Array;
}

/** What an HSM says of a key to who may see it. */
export interface KeyFacts {
  readonly id: HsmKeyId;
  readonly owner: string;
  readonly sharedWith: readonly string[];
  readonly label: string;
  readonly revision: number;
  readonly object: KeyObject;
}

export interface BriefKeyFacts {
  readonly id: HsmKeyId;
  readonly reference: string;
  readonly label: string;
}

/** What each operation answers. */
export interface KeyResults {
  'key-generate': MadeKey;
  'key-pair-generate': { readonly privateKey: MadeKey; readonly publicKey: MadeKey };
  'key-import': MadeKey;
  'key-unwrap': MadeKey;
  'key-keep': MadeKey;
  'key-wrap': { readonly data: Uint8Array; readonly iv?: Uint8Array | undefined };
  /** `KeyFacts` where `verbose` was asked */
  'key-find': {
    readonly keys: readonly (KeyFacts | BriefKeyFacts)[];
    readonly total: number;
    readonly more: boolean;
  };
  'key-destroyable': Record<string, never>;
  'key-export': { readonly masked: Uint8Array; readonly proof: Uint8Array };
  /** `isHere`: the very same key is on this HSM already */
  'key-acceptable': { readonly isHere: boolean };
  'key-drop': Record<string, never>;
  'key-sign': { readonly signature: Uint8Array };
  'key-verify': { readonly valid: boolean };
}
