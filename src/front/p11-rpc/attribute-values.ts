import { createPublicKey } from 'node:crypto';
import { asBuffer } from '../../core/bytes.js';
import { CKA, CKK, CKO } from '../../core/pkcs11.js';
import { octetString, pointOf, rsaPartsOf } from '../../core/spki.js';
import { attributeKind, type P11Attribute, type P11Value } from '../../protocol/p11-attributes.js';
import type { KeyObject } from '../../protocol/hsm-key-frames.js';
import { FLAGS, hasFlag, type Curve, type FlagName } from '../../protocol/objects.js';
import type { HeldObject, Unreadable } from './held-object.js';

/** The attributes of objects, read from what an HSM says of them (PKCS #11 2.40, section 4). */

const CLASSES: Readonly<Record<KeyObject['class'], number>> = {
  'secret-key': CKO.SECRET_KEY,
  'private-key': CKO.PRIVATE_KEY,
  'public-key': CKO.PUBLIC_KEY,
  certificate: CKO.CERTIFICATE,
  data: CKO.DATA,
};

/** CKA_EC_PARAMS of each curve: its object identifier, or its name, in DER. */
export const CURVE_PARAMETERS: Readonly<Record<Curve, Buffer>> = {
  secp224r1: Buffer.from('06052b81040021', 'hex'),
  secp256r1: Buffer.from('06082a8648ce3d030107', 'hex'),
  secp384r1: Buffer.from('06052b81040022', 'hex'),
  secp256k1: Buffer.from('06052b8104000a', 'hex'),
  secp521r1: Buffer.from('06052b81040023', 'hex'),
  ed25519: Buffer.from('130c656477617264733235353139', 'hex'),
};

const EMPTY = new Uint8Array(0);
const UNAVAILABLE = -1;

type Read = (object: HeldObject) => P11Value | Unreadable;
type Table = ReadonlyMap<number, Read>;

const flag =
  (name: FlagName): Read =>
  (object) =>
    object.has(name);
const flags = (...names: readonly FlagName[]): [number, Read][] =>
  names.map((name) => [FLAGS[name].cka, flag(name)]);
const constant =
  (value: P11Value): Read =>
  () =>
    value;

/** An attribute that is kept as it was given. */
export function extraOf({ facts }: HeldObject, type: number): Uint8Array | undefined {
  return facts.object.extra?.[String(type)];
}

const kept =
  (type: number, otherwise: P11Value | Unreadable = EMPTY): Read =>
  (object) => {
    const bytes = extraOf(object, type);
    return bytes === undefined ? otherwise : decodeExtra(type, bytes);
  };
const keep = (...types: readonly number[]): [number, Read][] =>
  types.map((type) => [type, kept(type)]);

/** A value as `extra` keeps it: numbers little-endian in 8 bytes, as a client's memory has them. */
export function encodeExtra(value: P11Value): Uint8Array {
  if (value instanceof Uint8Array) return value;
  if (typeof value === 'boolean') return Uint8Array.of(value ? 1 : 0);
  const numbers = typeof value === 'number' ? [value] : ((value ?? []) as readonly number[]);
  const bytes = Buffer.alloc(8 * numbers.length);
  for (const [at, one] of numbers.entries()) bytes.writeBigInt64LE(BigInt(one), 8 * at);
  return bytes;
}

function decodeExtra(type: number, bytes: Uint8Array): P11Value {
  const kind = attributeKind(type);
  if (kind === 'byte') return bytes[0] === 1;
  if (kind !== 'ulong' && kind !== 'mechanisms') return bytes;
  const numbers = Array.from({ length: bytes.length >> 3 }, (_, at) =>
    Number(asBuffer(bytes).readBigInt64LE(8 * at)),
  );
  return kind === 'ulong' ? (numbers[0] ?? UNAVAILABLE) : numbers;
}

const templateOf =
  (name: 'wrapTemplate' | 'unwrapTemplate'): Read =>
  ({ facts }) => {
    const template = facts.object[name];
    if (!template) return 'absent';
    const set = Object.entries(FLAGS).filter(([one]) => hasFlag(template.mask, one as FlagName));
    return set.map(([one, { cka }]): P11Attribute => ({
      type: cka,
      value: hasFlag(template.flags, one as FlagName),
    }));
  };

const spkiOf = ({ facts }: HeldObject): Uint8Array | undefined => facts.object.public;
const fromSpki =
  (read: (spki: Uint8Array) => P11Value): Read =>
  (object) => {
    const spki = spkiOf(object);
    return spki ? read(spki) : 'absent';
  };

function keyType({ facts }: HeldObject): number {
  const { type, curve } = facts.object;
  if (type === 'ec') return curve === 'ed25519' ? CKK.EC_EDWARDS : CKK.EC;
  if (type === 'rsa') return CKK.RSA;
  return type === 'aes' ? CKK.AES : CKK.GENERIC_SECRET;
}

/** The key's own bytes: an HSM gives them only of keys that are no secret. */
const secretValue: Read = (object) =>
  object.has('sensitive') || !object.has('extractable') ? 'sensitive' : 'content';

function modulusBits(spki: Uint8Array): number {
  const key = createPublicKey({ key: asBuffer(spki), format: 'der', type: 'spki' });
  return key.asymmetricKeyDetails?.modulusLength ?? 0;
}

const COMMON: readonly [number, Read][] = [
  [CKA.CLASS, ({ facts }) => CLASSES[facts.object.class]],
  ...flags('token', 'private', 'modifiable', 'destroyable'),
  [CKA.COPYABLE, kept(CKA.COPYABLE, true)],
  [CKA.LABEL, ({ facts }) => extraLabel(facts.object) ?? Buffer.from(facts.label, 'utf8')],
];

const extraLabel = ({ extra }: KeyObject): Uint8Array | undefined => extra?.[String(CKA.LABEL)];

const KEY: readonly [number, Read][] = [
  ...COMMON,
  [CKA.KEY_TYPE, keyType],
  [CKA.ID, ({ facts }) => facts.object.id],
  ...keep(CKA.START_DATE, CKA.END_DATE),
  ...flags('derive', 'local'),
  [CKA.KEY_GEN_MECHANISM, kept(CKA.KEY_GEN_MECHANISM, UNAVAILABLE)],
  [CKA.ALLOWED_MECHANISMS, kept(CKA.ALLOWED_MECHANISMS, [])],
];

const RSA_PUBLIC: readonly [number, Read][] = [
  [CKA.MODULUS, fromSpki((spki) => rsaPartsOf(spki).n)],
  [CKA.PUBLIC_EXPONENT, fromSpki((spki) => rsaPartsOf(spki).e)],
];
const EC_PARAMS: [number, Read] = [
  CKA.EC_PARAMS,
  ({ facts }) => (facts.object.curve ? CURVE_PARAMETERS[facts.object.curve] : 'absent'),
];

const PUBLIC: readonly [number, Read][] = [
  ...KEY,
  ...keep(CKA.SUBJECT),
  ...flags('encrypt', 'verify', 'wrap', 'trusted'),
  [CKA.VERIFY_RECOVER, constant(false)],
  [CKA.WRAP_TEMPLATE, templateOf('wrapTemplate')],
  [CKA.PUBLIC_KEY_INFO, fromSpki((spki) => spki)],
];
const SECRETS = ['sensitive', 'extractable', 'always-sensitive', 'never-extractable'] as const;
const PRIVATE: readonly [number, Read][] = [
  ...KEY,
  ...keep(CKA.SUBJECT),
  ...flags(...SECRETS, 'decrypt', 'sign', 'unwrap', 'wrap-with-trusted'),
  [CKA.SIGN_RECOVER, constant(false)],
  [CKA.ALWAYS_AUTHENTICATE, constant(false)],
  [CKA.UNWRAP_TEMPLATE, templateOf('unwrapTemplate')],
  [CKA.PUBLIC_KEY_INFO, fromSpki((spki) => spki)],
];
const SECRET: readonly [number, Read][] = [
  ...KEY,
  ...flags(...SECRETS, 'encrypt', 'decrypt', 'sign', 'verify', 'wrap', 'unwrap'),
  ...flags('trusted', 'wrap-with-trusted'),
  [CKA.CHECK_VALUE, ({ facts }) => facts.object.check ?? EMPTY],
  [CKA.WRAP_TEMPLATE, templateOf('wrapTemplate')],
  [CKA.UNWRAP_TEMPLATE, templateOf('unwrapTemplate')],
  [CKA.VALUE, secretValue],
  [CKA.VALUE_LEN, ({ facts }) => facts.object.length],
];
const RSA_SECRETS = [
  CKA.PRIVATE_EXPONENT,
  CKA.PRIME_1,
  CKA.PRIME_2,
  CKA.EXPONENT_1,
  CKA.EXPONENT_2,
  CKA.COEFFICIENT,
];
const CERTIFICATE: readonly [number, Read][] = [
  ...COMMON,
  [CKA.CERTIFICATE_TYPE, kept(CKA.CERTIFICATE_TYPE, 0)],
  [CKA.TRUSTED, constant(false)],
  [CKA.CERTIFICATE_CATEGORY, kept(CKA.CERTIFICATE_CATEGORY, 0)],
  [CKA.JAVA_MIDP_SECURITY_DOMAIN, kept(CKA.JAVA_MIDP_SECURITY_DOMAIN, 0)],
  [CKA.ID, ({ facts }) => facts.object.id],
  [CKA.VALUE, () => 'content'],
  ...keep(CKA.START_DATE, CKA.END_DATE, CKA.SUBJECT, CKA.ISSUER, CKA.SERIAL_NUMBER, CKA.URL),
  ...keep(CKA.CHECK_VALUE, CKA.HASH_OF_SUBJECT_PUBLIC_KEY, CKA.HASH_OF_ISSUER_PUBLIC_KEY),
  [CKA.PUBLIC_KEY_INFO, kept(CKA.PUBLIC_KEY_INFO)],
];
const DATA: readonly [number, Read][] = [
  ...COMMON,
  ...keep(CKA.APPLICATION, CKA.OBJECT_ID),
  [CKA.VALUE, () => 'content'],
];

/** Attributes of each kind of object, by `kindOf`. */
const TABLES: Readonly<Record<string, Table>> = {
  'public-key rsa': new Map([...PUBLIC, ...RSA_PUBLIC, [CKA.MODULUS_BITS, fromSpki(modulusBits)]]),
  'public-key ec': new Map([
    ...PUBLIC,
    EC_PARAMS,
    [CKA.EC_POINT, fromSpki((spki) => octetString(pointOf(spki)))],
  ]),
  'private-key rsa': new Map([
    ...PRIVATE,
    ...RSA_PUBLIC,
    ...RSA_SECRETS.map((type): [number, Read] => [type, secretValue]),
  ]),
  'private-key ec': new Map([...PRIVATE, EC_PARAMS, [CKA.VALUE, secretValue]]),
  'secret-key aes': new Map(SECRET),
  'secret-key generic-secret': new Map(SECRET),
  'certificate none': new Map(CERTIFICATE),
  'data none': new Map(DATA),
};

const tableOf = ({ facts }: HeldObject): Table =>
  TABLES[`${facts.object.class} ${facts.object.type}`] ?? new Map();

/**
 * The value of an attribute. `absent`: this kind of object has none such; `sensitive`: it is never
 * told; `content`: an HSM is to be asked for the object's bytes.
 */
export function attributeOf(object: HeldObject, type: number): P11Value | Unreadable {
  const known = object.values.get(type);
  if (known !== undefined) return known;
  const read = tableOf(object).get(type);
  const value = read ? read(object) : (vendorOf(object, type) ?? 'absent');
  object.values.set(type, value);
  return value;
}

/** What an application keeps with an object under a number of its own. */
const VENDOR = 0x8000_0000;
const vendorOf = (object: HeldObject, type: number): P11Value | undefined =>
  type >= VENDOR ? extraOf(object, type) : undefined;

/** Whether an object of this kind can have such an attribute. */
export const isAttributeOf = (object: HeldObject, type: number): boolean =>
  tableOf(object).has(type) || type >= VENDOR;

/** Whether two values of one attribute are the same. */
export function sameValue(a: P11Value, b: P11Value): boolean {
  if (a instanceof Uint8Array && b instanceof Uint8Array) return Buffer.compare(a, b) === 0;
  if (Array.isArray(a) && Array.isArray(b)) return JSON.stringify(a) === JSON.stringify(b);
  // an empty value may come as a pointer that is NULL
  if (b === null) return a instanceof Uint8Array && a.length === 0;
  return a === b;
}
