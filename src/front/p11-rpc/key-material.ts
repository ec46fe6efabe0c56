import { createPrivateKey, createPublicKey } from 'node:crypto';
import { asBuffer, wipe } from '../../core/bytes.js';
import { CKA, CKK } from '../../core/pkcs11.js';
import type { HsmFields } from '../../protocol/hsm-frames.js';
import type { Curve, KeyType } from '../../protocol/objects.js';
import { CURVE_PARAMETERS } from './attribute-values.js';
import { fail } from './failure.js';
import {
  curveOf,
  secretTypeOf,
  type Consumed,
  type ObjectClass,
  type Template,
} from './template.js';

/** What an application brings of a key, in the forms that an HSM takes. */

export type Content = HsmFields<'object-create'>['content'];

/** An object that is brought, apart from its attributes. */
export interface Material {
  readonly content: Content;
  readonly type: KeyType | 'none';
  /** the attributes that were read for it */
  readonly consumed: Consumed;
}

const base64 = (bytes: Uint8Array): string => asBuffer(bytes).toString('base64url');

/** @throws P11Failure TEMPLATE_INCOMPLETE, TEMPLATE_INCONSISTENT, ATTRIBUTE_VALUE_INVALID */
export function materialOf(template: Template, kind: ObjectClass): Material {
  switch (kind) {
    case 'secret-key':
      return secretKey(template);
    case 'public-key':
      return publicKey(template);
    case 'private-key':
      return privateKey(template);
    case 'certificate':
      return certificate(template);
    case 'data':
      return {
        content: { kind, value: template.bytes(CKA.VALUE) ?? new Uint8Array(0) },
        type: 'none',
        consumed: new Set([CKA.VALUE]),
      };
  }
}

function secretKey(template: Template): Material {
  const type = secretTypeOf(template);
  const value = template.need(CKA.VALUE);
  template.agree(CKA.VALUE_LEN, value.length);
  if (type === 'aes' && ![16, 24, 32].includes(value.length)) throw fail('ATTRIBUTE_VALUE_INVALID');
  const content = { kind: 'secret-key', type, value } as const;
  return { content, type, consumed: new Set([CKA.VALUE, CKA.VALUE_LEN]) };
}

/** CKC_X_509 */
const X_509 = 0;

function certificate(template: Template): Material {
  const type = template.number(CKA.CERTIFICATE_TYPE);
  if (type === undefined) throw fail('TEMPLATE_INCOMPLETE');
  if (type !== X_509) throw fail('ATTRIBUTE_VALUE_INVALID');
  const content = { kind: 'certificate', value: template.need(CKA.VALUE) } as const;
  return { content, type: 'none', consumed: new Set([CKA.VALUE]) };
}

const RSA_PUBLIC = [CKA.MODULUS, CKA.MODULUS_BITS, CKA.PUBLIC_EXPONENT] as const;
const EC_PUBLIC = [CKA.EC_PARAMS, CKA.EC_POINT] as const;

/** The type of keys of pairs. */
function pairType(template: Template): 'rsa' | 'ec' {
  const type = template.number(CKA.KEY_TYPE);
  if (type === undefined) throw fail('TEMPLATE_INCOMPLETE');
  if (type === CKK.RSA) return 'rsa';
  if (type === CKK.EC || type === CKK.EC_EDWARDS) return 'ec';
  throw fail('ATTRIBUTE_VALUE_INVALID');
}

function publicKey(template: Template): Material {
  const type = pairType(template);
  const consumed = new Set<number>([...RSA_PUBLIC, ...EC_PUBLIC, CKA.PUBLIC_KEY_INFO]);
  const value = type === 'rsa' ? rsaPublic(template) : ecPublic(template);
  return { content: { kind: 'public-key', value }, type, consumed };
}

function rsaPublic(template: Template): Buffer {
  const n = base64(template.need(CKA.MODULUS));
  const e = base64(template.need(CKA.PUBLIC_EXPONENT));
  return exported(() => createPublicKey({ format: 'jwk', key: { kty: 'RSA', n, e } }).export(SPKI));
}

const SPKI = { format: 'der', type: 'spki' } as const;
const PKCS8 = { format: 'der', type: 'pkcs8' } as const;

/** @throws P11Failure ATTRIBUTE_VALUE_INVALID */
function exported(make: () => Buffer): Buffer {
  try {
    return make();
  } catch {
    // no cause: it might tell of the key
    throw fail('ATTRIBUTE_VALUE_INVALID');
  }
}

function ecPublic(template: Template): Buffer {
  const curve = curveOf(template.need(CKA.EC_PARAMS));
  const point = rawPoint(template.need(CKA.EC_POINT));
  const prefix = curve === 'ed25519' ? ED25519_ALGORITHM : ecAlgorithm(curve);
  const spki = sequence(Buffer.concat([prefix, bitString(point)]));
  return exported(() => createPublicKey({ key: spki, ...SPKI }).export(SPKI));
}

/** CKA_EC_POINT is the point in a DER OCTET STRING; some applications leave that out. */
export function rawPoint(value: Uint8Array): Buffer {
  const bytes = asBuffer(value);
  const long = bytes[1] === 0x81 ? 1 : 0;
  const length = bytes[1 + long] ?? 0;
  const isWrapped = bytes[0] === 0x04 && bytes.length === 2 + long + length;
  return isWrapped ? bytes.subarray(2 + long) : bytes;
}

const EC_PUBLIC_KEY = Buffer.from('06072a8648ce3d0201', 'hex');
const ED25519_ALGORITHM = Buffer.from('300506032b6570', 'hex');

const ecAlgorithm = (curve: Curve): Buffer =>
  sequence(Buffer.concat([EC_PUBLIC_KEY, CURVE_PARAMETERS[curve]]));

function der(tag: number, value: Buffer): Buffer {
  const { length } = value;
  const size =
    length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...size]), value]);
}

const sequence = (value: Buffer): Buffer => der(0x30, value);
const bitString = (value: Buffer): Buffer => der(0x03, Buffer.concat([Buffer.of(0), value]));
const octets = (value: Uint8Array): Buffer => der(0x04, asBuffer(value));

const RSA_PRIVATE = [
  ['d', CKA.PRIVATE_EXPONENT],
  ['p', CKA.PRIME_1],
  ['q', CKA.PRIME_2],
  ['dp', CKA.EXPONENT_1],
  ['dq', CKA.EXPONENT_2],
  ['qi', CKA.COEFFICIENT],
] as const;

function privateKey(template: Template): Material {
  const type = pairType(template);
  const value = type === 'rsa' ? rsaPrivate(template) : ecPrivate(template);
  const consumed = new Set<number>([
    CKA.VALUE,
    ...RSA_PUBLIC,
    ...EC_PUBLIC,
    CKA.PUBLIC_KEY_INFO,
    ...RSA_PRIVATE.map(([, one]) => one),
  ]);
  return { content: { kind: 'private-key', value }, type, consumed };
}

function rsaPrivate(template: Template): Buffer {
  const n = base64(template.need(CKA.MODULUS));
  const e = base64(template.need(CKA.PUBLIC_EXPONENT));
  const parts = RSA_PRIVATE.map(([name, type]) => [name, base64(template.need(type))] as const);
  if (!isConsistent(template)) throw fail('ATTRIBUTE_VALUE_INVALID');
  const key = { kty: 'RSA', n, e, ...Object.fromEntries(parts) };
  return exported(() => createPrivateKey({ format: 'jwk', key }).export(PKCS8));
}

/** Whether the numbers of an RSA key belong together (RFC 8017, 3.2): OpenSSL looks at none. */
function isConsistent(template: Template): boolean {
  const number = (type: number): bigint =>
    BigInt(`0x${asBuffer(template.need(type)).toString('hex')}`);
  const [p, q, d] = [number(CKA.PRIME_1), number(CKA.PRIME_2), number(CKA.PRIVATE_EXPONENT)];
  if (p < 3n || q < 3n || p * q !== number(CKA.MODULUS)) return false;
  const e = number(CKA.PUBLIC_EXPONENT);
  return (
    (d * e) % (p - 1n) === 1n &&
    (d * e) % (q - 1n) === 1n &&
    number(CKA.EXPONENT_1) === d % (p - 1n) &&
    number(CKA.EXPONENT_2) === d % (q - 1n) &&
    (number(CKA.COEFFICIENT) * q) % p === 1n
  );
}

const VERSION_0 = Buffer.from('020100', 'hex');
const VERSION_1 = Buffer.from('020101', 'hex');

/** The private value alone is enough: OpenSSL finds the point. */
function ecPrivate(template: Template): Buffer {
  const curve = curveOf(template.need(CKA.EC_PARAMS));
  const value = template.need(CKA.VALUE);
  const isEdwards = curve === 'ed25519';
  const algorithm = isEdwards ? ED25519_ALGORITHM : ecAlgorithm(curve);
  const inner = isEdwards ? octets(value) : sequence(Buffer.concat([VERSION_1, octets(value)]));
  const pkcs8 = sequence(Buffer.concat([VERSION_0, algorithm, octets(inner)]));
  try {
    return exported(() => createPrivateKey({ key: pkcs8, ...PKCS8 }).export(PKCS8));
  } finally {
    wipe(pkcs8, inner);
  }
}

/** What stands in a key that an HSM gave: the attributes of its secret half. */
export function secretsOf(type: KeyType, value: Uint8Array): ReadonlyMap<number, Uint8Array> {
  if (type !== 'rsa' && type !== 'ec') return new Map([[CKA.VALUE, value]]);
  const key = createPrivateKey({ key: asBuffer(value), ...PKCS8 });
  const jwk = key.export({ format: 'jwk' }) as Readonly<Record<string, string | undefined>>;
  const part = (name: string): Buffer => Buffer.from(jwk[name] ?? '', 'base64url');
  if (type === 'ec') return new Map([[CKA.VALUE, part('d')]]);
  return new Map(RSA_PRIVATE.map(([name, one]) => [one, part(name)]));
}
