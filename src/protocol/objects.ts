import { CKA } from '../core/pkcs11.js';

/**
 * The keys of a cluster as its users see them: one table of their attributes, with CloudHSM's
 * names, defaults and rules (AWS CloudHSM User Guide, "Key attributes for CloudHSM CLI").
 */
export const KEY_CLASSES = ['secret-key', 'private-key', 'public-key'] as const;
export type KeyClass = (typeof KEY_CLASSES)[number];

export const KEY_TYPES = ['aes', 'generic-secret', 'rsa', 'ec'] as const;
export type KeyType = (typeof KEY_TYPES)[number];

/** What PKCS #11 keeps besides keys; lists of keys are without it. */
export const OBJECT_CLASSES = [...KEY_CLASSES, 'certificate', 'data'] as const;
export type ObjectClass = (typeof OBJECT_CLASSES)[number];
/** `none`: it is no key. */
export const OBJECT_TYPES = [...KEY_TYPES, 'none'] as const;
export type ObjectType = (typeof OBJECT_TYPES)[number];

export const isKeyClass = (of: ObjectClass): of is KeyClass =>
  of !== 'certificate' && of !== 'data';

/** Curves of EC keys; `ed25519` is that of Ed25519 keys. */
export const CURVES = [
  'secp224r1',
  'secp256r1',
  'secp384r1',
  'secp256k1',
  'secp521r1',
  'ed25519',
] as const;
export type Curve = (typeof CURVES)[number];

/** Other names of curves. */
export const CURVE_ALIASES: Readonly<Record<string, Curve>> = { prime256v1: 'secp256r1' };

/** Who may set a flag after the making of a key, and to what. */
type FlagRule = 'never' | 'any' | 'to-true' | 'from-false' | 'to-false' | 'admin';

interface FlagAttribute {
  readonly cka: number;
  /** whether whoever makes a key may say what it is to be */
  readonly given: boolean;
  readonly set: FlagRule;
  /** classes whose keys may have it true, where it is not for all */
  readonly only?: readonly KeyClass[];
  /** classes of what is no key that may have it true */
  readonly beside?: readonly ObjectClass[];
}

const SECRET_OR_PUBLIC = ['secret-key', 'public-key'] as const;
const SECRET_OR_PRIVATE = ['secret-key', 'private-key'] as const;
const BESIDE = ['certificate', 'data'] as const;

/**
 * Attributes that are true or false. Their order is that of their bits in a key's record: new
 * ones go to the end.
 */
export const FLAGS = {
  encrypt: { cka: CKA.ENCRYPT, given: true, set: 'any', only: SECRET_OR_PUBLIC },
  decrypt: { cka: CKA.DECRYPT, given: true, set: 'any', only: SECRET_OR_PRIVATE },
  sign: { cka: CKA.SIGN, given: true, set: 'any', only: SECRET_OR_PRIVATE },
  verify: { cka: CKA.VERIFY, given: true, set: 'any', only: SECRET_OR_PUBLIC },
  wrap: { cka: CKA.WRAP, given: true, set: 'any', only: SECRET_OR_PUBLIC },
  unwrap: { cka: CKA.UNWRAP, given: true, set: 'any', only: SECRET_OR_PRIVATE },
  derive: { cka: CKA.DERIVE, given: true, set: 'any' },
  token: { cka: CKA.TOKEN, given: false, set: 'to-true', beside: BESIDE },
  private: { cka: CKA.PRIVATE, given: true, set: 'never', beside: BESIDE },
  // what CloudHSM's rules make is sensitive from the beginning
  sensitive: { cka: CKA.SENSITIVE, given: false, set: 'from-false', only: SECRET_OR_PRIVATE },
  'always-sensitive': { cka: CKA.ALWAYS_SENSITIVE, given: false, set: 'never' },
  extractable: { cka: CKA.EXTRACTABLE, given: true, set: 'to-false' },
  'never-extractable': { cka: CKA.NEVER_EXTRACTABLE, given: false, set: 'never' },
  modifiable: { cka: CKA.MODIFIABLE, given: true, set: 'to-false', beside: BESIDE },
  destroyable: { cka: CKA.DESTROYABLE, given: true, set: 'any', beside: BESIDE },
  local: { cka: CKA.LOCAL, given: false, set: 'never' },
  trusted: {
    cka: CKA.TRUSTED,
    given: false,
    set: 'admin',
    only: SECRET_OR_PUBLIC,
    beside: ['certificate'],
  },
  'wrap-with-trusted': {
    cka: CKA.WRAP_WITH_TRUSTED,
    given: true,
    set: 'to-true',
    only: SECRET_OR_PRIVATE,
  },
} as const satisfies Record<string, FlagAttribute>;

export type FlagName = keyof typeof FLAGS;
export const FLAG_NAMES = Object.keys(FLAGS) as readonly FlagName[];

/** The highest value of a set of flags. */
export const FLAGS_MAX = 2 ** FLAG_NAMES.length - 1;

const BITS = Object.fromEntries(FLAG_NAMES.map((name, at) => [name, 1 << at])) as Readonly<
  Record<FlagName, number>
>;

export const hasFlag = (flags: number, name: FlagName): boolean => (flags & BITS[name]) !== 0;

export const withFlag = (flags: number, name: FlagName, value: boolean): number =>
  value ? flags | BITS[name] : flags & ~BITS[name];

export const flagsOf = (...names: readonly FlagName[]): number =>
  names.reduce((flags, name) => flags | BITS[name], 0);

export const isFlagName = (name: string): name is FlagName => Object.hasOwn(FLAGS, name);

/** Attributes with another kind of value. */
export const VALUES = {
  'key-type': { given: false, set: 'never' },
  label: { given: false, set: 'any' },
  id: { given: true, set: 'any' },
  'check-value': { given: false, set: 'never' },
  class: { given: false, set: 'never' },
  'key-length-bytes': { given: false, set: 'never' },
  'public-exponent': { given: false, set: 'never' },
  modulus: { given: false, set: 'never' },
  'modulus-size-bits': { given: false, set: 'never' },
  'ec-point': { given: false, set: 'never' },
  curve: { given: false, set: 'never' },
  /** what a key that this one wraps must be, as `{"name": true}` */
  'wrap-template': { given: true, set: 'any' },
  /** what a key that this one unwraps becomes */
  'unwrap-template': { given: true, set: 'any' },
} as const satisfies Record<string, { given: boolean; set: FlagRule }>;
export type ValueName = keyof typeof VALUES;
export const isValueName = (name: string): name is ValueName => Object.hasOwn(VALUES, name);

export type AttributeName = FlagName | ValueName;
export const isAttributeName = (name: string): name is AttributeName =>
  isFlagName(name) || isValueName(name);

/** The sentence for an attribute that may not have this value (AWS's). */
export const mayNotSet = (name: string, value: unknown): string =>
  `Attribute ${name} cannot be set to the value ${String(value)} by the user for this operation`;

/** The flags of a key that nobody gave attributes: CloudHSM's defaults, also those that bite. */
export function defaultFlags(keyClass: KeyClass): number {
  const common = flagsOf('token', 'private', 'extractable', 'modifiable', 'destroyable');
  if (keyClass === 'public-key') return common;
  const secret = common | flagsOf('sensitive', 'always-sensitive');
  return keyClass === 'secret-key' ? secret | flagsOf('sign', 'verify') : secret;
}

/** Flags of a key with what those who made it said of them. */
export interface GivenFlags {
  readonly flags: number;
  /** the first that may not be as it was given */
  readonly refused?: { readonly name: FlagName; readonly value: boolean };
}

/** What the maker of a key may say of its flags. Pure. */
export function giveFlags(
  keyClass: KeyClass,
  given: Readonly<Record<string, boolean>>,
  made: { readonly local: boolean; readonly token: boolean },
): GivenFlags {
  let flags = defaultFlags(keyClass);
  for (const [name, value] of Object.entries(given)) {
    if (!isFlagName(name)) continue;
    if (hasFlag(flags, name) === value) continue;
    if (!FLAGS[name].given || (value && !isFor(name, keyClass))) {
      return { flags, refused: { name, value } };
    }
    flags = withFlag(flags, name, value);
  }
  flags = withFlag(flags, 'local', made.local);
  flags = withFlag(flags, 'token', made.token);
  if (!made.local) flags = withFlag(flags, 'always-sensitive', false);
  const never = made.local && keyClass !== 'public-key' && !hasFlag(flags, 'extractable');
  return { flags: withFlag(flags, 'never-extractable', never) };
}

/** The HSM says what they are, whoever makes an object. */
const COMPUTED: ReadonlySet<FlagName> = new Set<FlagName>([
  'token',
  'local',
  'always-sensitive',
  'never-extractable',
]);

/** What holds a secret is private. */
const isSecret = (of: ObjectClass): boolean => of === 'secret-key' || of === 'private-key';

/**
 * What the maker of an object may say of its flags by PKCS #11's rules: those that are not named
 * are false, but that a secret or private key is private in any case. Pure.
 */
export function giveFlagsAsPkcs11(
  of: ObjectClass,
  given: Readonly<Record<string, boolean>>,
  made: { readonly local: boolean; readonly token: boolean },
): GivenFlags {
  let flags = isSecret(of) ? flagsOf('private') : 0;
  const named = Object.entries(given).filter((one): one is [FlagName, boolean] =>
    isFlagName(one[0]),
  );
  for (const [name, value] of named) {
    if (COMPUTED.has(name)) continue;
    const mayBe = value
      ? isFor(name, of) && name !== 'trusted'
      : !(name === 'private' && isSecret(of));
    if (!mayBe) return { flags, refused: { name, value } };
    flags = withFlag(flags, name, value);
  }
  flags = computeFlags(of, flags, made);
  // those that the HSM computes may be named as they are
  const wrong = named.find(([name, value]) => hasFlag(flags, name) !== value);
  return wrong ? { flags, refused: { name: wrong[0], value: wrong[1] } } : { flags };
}

function computeFlags(
  of: ObjectClass,
  flags: number,
  { local, token }: { readonly local: boolean; readonly token: boolean },
): number {
  const from = local && isSecret(of);
  const said = {
    local,
    token,
    'always-sensitive': from && hasFlag(flags, 'sensitive'),
    'never-extractable': from && !hasFlag(flags, 'extractable'),
  } as const;
  return Object.entries(said).reduce(
    (all, [name, is]) => withFlag(all, name as FlagName, is),
    flags,
  );
}

/** The flags that the maker of an object of this class may set, himself or by a template. */
export const settableFlags = (of: ObjectClass): number =>
  flagsOf(
    ...FLAG_NAMES.filter((name) => !COMPUTED.has(name) && name !== 'trusted' && isFor(name, of)),
  );

function isFor(name: FlagName, of: ObjectClass): boolean {
  const { only, beside = [] }: FlagAttribute = FLAGS[name];
  if (!isKeyClass(of)) return beside.includes(of);
  return only === undefined || only.includes(of);
}

/**
 * Whether a flag may become this value. Pure.
 * @param by who asks
 */
export function maySetFlag(
  key: { readonly class: ObjectClass; readonly flags: number },
  name: FlagName,
  value: boolean,
  by: 'owner' | 'admin',
): boolean {
  const { set }: FlagAttribute = FLAGS[name];
  if (value && !isFor(name, key.class)) return false;
  if (set === 'admin') return by === 'admin';
  if (by === 'admin' || set === 'never') return false;
  if (!hasFlag(key.flags, 'modifiable')) return false;
  if (set === 'to-true') return value;
  if (set === 'from-false') return value && !hasFlag(key.flags, name);
  if (set === 'to-false') return !value;
  return true;
}

/** CloudHSM's limits: AES 128 to 256, generic secrets, RSA in steps of 256 bits. */
export const AES_LENGTHS = [16, 24, 32] as const;
export const SECRET_LENGTH_MAX = 800;
export const RSA_BITS = { min: 2_048, max: 4_096, step: 256 } as const;
export const LABEL_MAX_CHARS = 127;

/** `0x` and 16 hex digits. */
const REFERENCE = /^0x[0-9a-f]{16}$/;
export type KeyReference = string;
export const isKeyReference = (text: string): text is KeyReference => REFERENCE.test(text);

/** A reference as somebody may write it: any number of hex digits. */
export function readReference(text: string): KeyReference | undefined {
  const digits = /^0x([0-9a-fA-F]{1,16})$/.exec(text)?.[1];
  return digits === undefined ? undefined : `0x${digits.toLowerCase().padStart(16, '0')}`;
}
