import { CKA, CKK, CKO } from '../../core/pkcs11.js';
import type { P11Attribute, P11Value } from '../../protocol/p11-attributes.js';
import type { FlagTemplate, KeyObject } from '../../protocol/hsm-key-frames.js';
import {
  FLAGS,
  FLAG_NAMES,
  LABEL_MAX_CHARS,
  withFlag,
  type Curve,
  type FlagName,
} from '../../protocol/objects.js';
import type { Named } from '../../cluster/user-keys.js';
import { CURVE_PARAMETERS, encodeExtra } from './attribute-values.js';
import { fail } from './failure.js';
import type { Profile } from './mechanism-table.js';

/** The templates by which applications make objects, and what they come to. */

export type ObjectClass = KeyObject['class'];

const FLAG_OF: ReadonlyMap<number, FlagName> = new Map(
  FLAG_NAMES.map((name) => [FLAGS[name].cka, name]),
);
/** What an HSM finds out for itself. */
const READ_ONLY: ReadonlySet<number> = new Set([
  CKA.LOCAL,
  CKA.ALWAYS_SENSITIVE,
  CKA.NEVER_EXTRACTABLE,
  CKA.KEY_GEN_MECHANISM,
]);
/** Attributes that are kept as they were given. */
const EXTRAS: ReadonlySet<number> = new Set([
  CKA.SUBJECT,
  CKA.ISSUER,
  CKA.SERIAL_NUMBER,
  CKA.START_DATE,
  CKA.END_DATE,
  CKA.ALLOWED_MECHANISMS,
  CKA.COPYABLE,
  CKA.CERTIFICATE_TYPE,
  CKA.CERTIFICATE_CATEGORY,
  CKA.JAVA_MIDP_SECURITY_DOMAIN,
  CKA.URL,
  CKA.HASH_OF_SUBJECT_PUBLIC_KEY,
  CKA.HASH_OF_ISSUER_PUBLIC_KEY,
  CKA.NAME_HASH_ALGORITHM,
  CKA.APPLICATION,
  CKA.OBJECT_ID,
  CKA.OWNER,
  CKA.AC_ISSUER,
  CKA.ATTR_TYPES,
]);
/** Attributes of ours that may be false, and are nothing else. */
const NEVER_TRUE: ReadonlySet<number> = new Set([
  CKA.SIGN_RECOVER,
  CKA.VERIFY_RECOVER,
  CKA.ALWAYS_AUTHENTICATE,
  0x200,
]);
const VENDOR = 0x8000_0000;
const EXTRA_LABEL = String(CKA.LABEL);

/** A template, taken apart. */
export class Template {
  readonly #values = new Map<number, P11Value>();

  /** @throws P11Failure TEMPLATE_INCONSISTENT for an attribute that is there with two values */
  constructor(attributes: readonly P11Attribute[]) {
    for (const { type, value } of attributes) {
      if (value === undefined) throw fail('ATTRIBUTE_VALUE_INVALID');
      if (this.#values.has(type)) throw fail('TEMPLATE_INCONSISTENT');
      this.#values.set(type, value);
    }
  }

  get types(): Iterable<number> {
    return this.#values.keys();
  }

  has(type: number): boolean {
    return this.#values.has(type);
  }

  value(type: number): P11Value {
    return this.#values.get(type);
  }

  number(type: number): number | undefined {
    const value = this.#values.get(type);
    if (value === undefined) return undefined;
    if (typeof value !== 'number' || value < 0) throw fail('ATTRIBUTE_VALUE_INVALID');
    return value;
  }

  flag(type: number): boolean | undefined {
    const value = this.#values.get(type);
    if (value === undefined) return undefined;
    // CKA_DESTROYABLE has no word on this wire and comes as its one byte
    if (value instanceof Uint8Array && value.length === 1) return value[0] === 1;
    if (typeof value !== 'boolean') throw fail('ATTRIBUTE_VALUE_INVALID');
    return value;
  }

  /** @returns undefined where it is not given; an empty one for a pointer that is NULL */
  bytes(type: number): Uint8Array | undefined {
    const value = this.#values.get(type);
    if (value === undefined) return undefined;
    if (value === null) return new Uint8Array(0);
    if (!(value instanceof Uint8Array)) throw fail('ATTRIBUTE_VALUE_INVALID');
    return value;
  }

  /** @throws P11Failure TEMPLATE_INCOMPLETE */
  need(type: number): Uint8Array {
    const bytes = this.bytes(type);
    if (bytes === undefined || bytes.length === 0) throw fail('TEMPLATE_INCOMPLETE');
    return bytes;
  }

  /** @throws P11Failure TEMPLATE_INCONSISTENT when it says something else */
  agree(type: number, value: number): void {
    const given = this.number(type);
    if (given !== undefined && given !== value) throw fail('TEMPLATE_INCONSISTENT');
  }
}

const CLASS_OF: Readonly<Record<number, ObjectClass>> = {
  [CKO.DATA]: 'data',
  [CKO.CERTIFICATE]: 'certificate',
  [CKO.PUBLIC_KEY]: 'public-key',
  [CKO.PRIVATE_KEY]: 'private-key',
  [CKO.SECRET_KEY]: 'secret-key',
};
export const CLASS_NUMBERS: Readonly<Record<ObjectClass, number>> = {
  data: CKO.DATA,
  certificate: CKO.CERTIFICATE,
  'public-key': CKO.PUBLIC_KEY,
  'private-key': CKO.PRIVATE_KEY,
  'secret-key': CKO.SECRET_KEY,
};

/** @throws P11Failure TEMPLATE_INCOMPLETE, ATTRIBUTE_VALUE_INVALID */
export function classOf(template: Template): ObjectClass {
  const given = template.number(CKA.CLASS);
  if (given === undefined) throw fail('TEMPLATE_INCOMPLETE');
  const kind = CLASS_OF[given];
  if (kind === undefined) throw fail('ATTRIBUTE_VALUE_INVALID');
  return kind;
}

/** The curve of CKA_EC_PARAMS. @throws P11Failure CURVE_NOT_SUPPORTED */
export function curveOf(parameters: Uint8Array): Curve {
  for (const [curve, known] of Object.entries(CURVE_PARAMETERS)) {
    if (Buffer.compare(known, parameters) === 0) return curve as Curve;
  }
  // other ways to write Ed25519: its object identifier, and a name
  const hex = Buffer.from(parameters).toString('hex');
  if (hex === '06032b6570' || hex === '130765643235353139') return 'ed25519';
  throw fail('CURVE_NOT_SUPPORTED');
}

/** What keys of a class are for, where their maker does not say it. */
const USES: Readonly<Record<ObjectClass, readonly FlagName[]>> = {
  'secret-key': ['encrypt', 'decrypt', 'sign', 'verify', 'wrap', 'unwrap'],
  'private-key': ['decrypt', 'sign', 'unwrap'],
  'public-key': ['encrypt', 'verify', 'wrap'],
  certificate: [],
  data: [],
};

/** Flags of keys of one kind that would say what they cannot do. */
const NOT_FOR: Readonly<Record<string, readonly FlagName[]>> = {
  ec: ['encrypt', 'decrypt', 'wrap', 'unwrap'],
  'generic-secret': ['encrypt', 'decrypt', 'wrap', 'unwrap'],
};

function defaultsOf(kind: ObjectClass, type: KeyObject['type']): Set<FlagName> {
  const isSecret = kind === 'secret-key' || kind === 'private-key';
  const never = NOT_FOR[type] ?? [];
  return new Set<FlagName>([
    ...USES[kind].filter((use) => !never.includes(use)),
    'modifiable',
    'destroyable',
    ...(isSecret ? (['private', 'sensitive'] as const) : []),
  ]);
}

/** Attributes that say what the object is made of or is: whoever makes it reads them himself. */
export type Consumed = ReadonlySet<number>;

const MAKING: readonly number[] = [CKA.CLASS, CKA.KEY_TYPE, CKA.TOKEN, CKA.LABEL, CKA.ID];

/**
 * What an HSM is told of an object that is made by a template.
 * @param consumed attributes that the caller reads himself
 * @throws P11Failure for attributes that the object cannot have, or not so
 */
export function namedBy(
  template: Template,
  as: {
    readonly class: ObjectClass;
    readonly type: KeyObject['type'];
    readonly consumed: Consumed;
    readonly profile: Profile;
  },
): Named {
  const flags = defaultsOf(as.class, as.type);
  const said: Record<string, boolean> = {};
  const extra: Record<string, Uint8Array> = {};
  let wrapTemplate: FlagTemplate | undefined;
  let unwrapTemplate: FlagTemplate | undefined;
  for (const type of template.types) {
    if (MAKING.includes(type) || as.consumed.has(type)) continue;
    if (READ_ONLY.has(type)) throw fail('ATTRIBUTE_READ_ONLY');
    const name = FLAG_OF.get(type);
    if (name !== undefined) {
      said[name] = template.flag(type) ?? false;
      setFlag(flags, name, said[name]);
    } else if (type === CKA.WRAP_TEMPLATE) wrapTemplate = flagTemplate(template.value(type));
    else if (type === CKA.UNWRAP_TEMPLATE) unwrapTemplate = flagTemplate(template.value(type));
    else if (NEVER_TRUE.has(type)) refuseTrue(template.flag(type));
    else if (isExtra(type)) extra[String(type)] = encodeExtra(template.value(type));
    else throw fail('ATTRIBUTE_TYPE_INVALID');
  }
  const { label, raw } = labelOf(template);
  if (raw) extra[EXTRA_LABEL] = raw;
  const id = template.bytes(CKA.ID);
  if (id && id.length > 128) throw fail('ATTRIBUTE_VALUE_INVALID');
  // CloudHSM's own defaults, also those that bite, are the HSM's to fill in
  const isPlain = as.profile === 'pkcs11' || as.class === 'certificate' || as.class === 'data';
  const given = isPlain ? Object.fromEntries([...flags].map((flag) => [flag, true])) : said;
  return {
    label,
    given,
    ...(isPlain && { pkcs11: true }),
    ...(id && { id }),
    ...(Object.keys(extra).length > 0 && { extra }),
    ...(wrapTemplate && { wrapTemplate }),
    ...(unwrapTemplate && { unwrapTemplate }),
  };
}

function setFlag(flags: Set<FlagName>, name: FlagName, value: boolean): void {
  // only an administrator says whom to trust
  if (name === 'trusted' && value) throw fail('ATTRIBUTE_READ_ONLY');
  if (value) flags.add(name);
  else flags.delete(name);
}

function refuseTrue(value: boolean | undefined): void {
  if (value === true) throw fail('ATTRIBUTE_VALUE_INVALID');
}

export const isExtra = (type: number): boolean => EXTRAS.has(type) || type >= VENDOR;

/** CKA_LABEL is UTF-8 text; what is none, or is longer than an HSM's labels, is kept beside it. */
function labelOf(template: Template): { readonly label: string; readonly raw?: Uint8Array } {
  const bytes = template.bytes(CKA.LABEL);
  if (!bytes) return { label: '' };
  return splitLabel(bytes);
}

export function splitLabel(bytes: Uint8Array): { label: string; raw?: Uint8Array } {
  const label = Buffer.from(bytes).toString('utf8');
  const isText = Buffer.compare(Buffer.from(label, 'utf8'), bytes) === 0;
  if (isText && label.length <= LABEL_MAX_CHARS && isPrintable(label)) return { label };
  const shown = label.replaceAll(UNPRINTABLE, '');
  return { label: shown.slice(0, LABEL_MAX_CHARS), raw: bytes };
}

// eslint-disable-next-line no-control-regex -- they are what is looked for
const UNPRINTABLE = /[\u0000-\u001f\u007f\ufffd]/g;
const isPrintable = (text: string): boolean => text.search(UNPRINTABLE) < 0;

/** Templates within templates say flags alone. @throws P11Failure ATTRIBUTE_VALUE_INVALID */
export function flagTemplate(value: P11Value): FlagTemplate {
  let mask = 0;
  let flags = 0;
  if (!Array.isArray(value)) throw fail('ATTRIBUTE_VALUE_INVALID');
  for (const one of value as readonly P11Attribute[]) {
    const name = FLAG_OF.get(one.type);
    if (name === undefined || typeof one.value !== 'boolean') throw fail('ATTRIBUTE_VALUE_INVALID');
    mask = withFlag(mask, name, true);
    flags = withFlag(flags, name, one.value);
  }
  return { mask, flags };
}

/** Whether an object that a template makes is to be on the tokens. */
export const isToken = (template: Template): boolean => template.flag(CKA.TOKEN) ?? false;

/** Whether it is seen by those alone who logged in. */
export function isPrivate(template: Template, kind: ObjectClass): boolean {
  const byDefault = kind === 'secret-key' || kind === 'private-key';
  return template.flag(CKA.PRIVATE) ?? byDefault;
}

/** The changes of an object that C_SetAttributeValue asks for, in the order of the template. */
export function flagNamed(type: number): FlagName | undefined {
  return FLAG_OF.get(type);
}

/** The type of secret keys. @throws P11Failure TEMPLATE_INCOMPLETE, ATTRIBUTE_VALUE_INVALID */
export function secretTypeOf(template: Template): 'aes' | 'generic-secret' {
  const given = template.number(CKA.KEY_TYPE);
  if (given === undefined) throw fail('TEMPLATE_INCOMPLETE');
  if (given === CKK.AES) return 'aes';
  if (GENERIC.has(given)) return 'generic-secret';
  throw fail('ATTRIBUTE_VALUE_INVALID');
}

/** Keys of HMACs are secrets like others. */
const GENERIC: ReadonlySet<number> = new Set([
  CKK.GENERIC_SECRET,
  CKK.SHA_1_HMAC,
  CKK.SHA224_HMAC,
  CKK.SHA256_HMAC,
  CKK.SHA384_HMAC,
  CKK.SHA512_HMAC,
]);
