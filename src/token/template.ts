import { asBuffer } from '../core/bytes.js';
import { CKA, CKK, CKO } from '../core/pkcs11.js';
import type { Template } from './cryptoki.js';
import type { KeyKind } from './key-kind.js';

/** Where an object lives: on the token, or in memory until its session closes. */
export type Place = 'token' | 'session';

export interface StoredKey {
  readonly place: Place;
  /** the key's first record; it rides in CKA_ID, because objects are written once */
  readonly recordBytes?: Uint8Array;
  readonly label?: string;
}

const AES_256_BYTES = 32;

/**
 * A user's AES key as the token has it. Whatever users see, it is sensitive, extractable and
 * wrapped
 * by trusted keys alone: so that it can travel under `mask-wrap` and under no other key. Verifying
 * and wrapping are the authority's to allow, by other objects.
 */
export function storedAesKey(key: StoredKey): Template {
  const template: Template = [
    { type: CKA.CLASS, value: CKO.SECRET_KEY },
    { type: CKA.KEY_TYPE, value: CKK.AES },
    { type: CKA.TOKEN, value: key.place === 'token' },
    { type: CKA.PRIVATE, value: true },
    { type: CKA.SENSITIVE, value: true },
    { type: CKA.EXTRACTABLE, value: true },
    { type: CKA.WRAP_WITH_TRUSTED, value: true },
    { type: CKA.ENCRYPT, value: true },
    { type: CKA.DECRYPT, value: true },
    { type: CKA.SIGN, value: true },
    { type: CKA.VERIFY, value: true },
    { type: CKA.WRAP, value: false },
    { type: CKA.UNWRAP, value: false },
    { type: CKA.DERIVE, value: false },
  ];
  if (key.recordBytes) template.push({ type: CKA.ID, value: asBuffer(key.recordBytes) });
  if (key.label !== undefined) template.push({ type: CKA.LABEL, value: key.label });
  return template;
}

/** The uses of a private key that the token must know; what users may do is the authority's. */
const PRIVATE_USES = {
  rsa: { keyType: CKK.RSA, uses: [CKA.SIGN, CKA.DECRYPT, CKA.UNWRAP] },
  ec: { keyType: CKK.EC, uses: [CKA.SIGN, CKA.DERIVE] },
} as const;

/** A user's private key as the token has it: as `storedAesKey`. */
function storedPrivateKey(type: 'rsa' | 'ec', key: StoredKey): Template {
  const { keyType, uses } = PRIVATE_USES[type];
  const template: Template = [
    { type: CKA.CLASS, value: CKO.PRIVATE_KEY },
    { type: CKA.KEY_TYPE, value: keyType },
    { type: CKA.TOKEN, value: key.place === 'token' },
    { type: CKA.PRIVATE, value: true },
    { type: CKA.SENSITIVE, value: true },
    { type: CKA.EXTRACTABLE, value: true },
    { type: CKA.WRAP_WITH_TRUSTED, value: true },
    ...uses.map((use) => ({ type: use, value: true })),
  ];
  if (key.recordBytes) template.push({ type: CKA.ID, value: asBuffer(key.recordBytes) });
  if (key.label !== undefined) template.push({ type: CKA.LABEL, value: key.label });
  return template;
}

/** Any user's key as the token has it. */
export const storedKey = (kind: KeyKind, key: StoredKey): Template =>
  kind.class === 'secret-key' ? storedAesKey(key) : storedPrivateKey(kind.type, key);

/** Adds the length that making an AES key needs and unwrapping one forbids. */
export function ofAes256(template: Template): Template {
  return ofLength(template, AES_256_BYTES);
}

export const ofLength = (template: Template, lengthBytes: number): Template => [
  ...template,
  { type: CKA.VALUE_LEN, value: lengthBytes },
];

/** A key in memory that may leave it under any key: on its way in or out of this process. */
export const openly = (template: Template): Template =>
  template.filter(({ type }) => type !== CKA.WRAP_WITH_TRUSTED);

/**
 * A key in memory to work with. It is no private object: SoftHSM keeps the values of those sealed,
 * under a key beside them in the same memory, and opens each at each use.
 */
export const working = (template: Template): Template =>
  template.map((one) => (one.type === CKA.PRIVATE ? { type: CKA.PRIVATE, value: false } : one));

/** A private data object in memory; a copy of it goes to the token. */
export function storedData(data: {
  application: string;
  label: string;
  value: Uint8Array;
}): Template {
  return [
    { type: CKA.CLASS, value: CKO.DATA },
    { type: CKA.TOKEN, value: false },
    { type: CKA.PRIVATE, value: true },
    { type: CKA.APPLICATION, value: data.application },
    { type: CKA.LABEL, value: data.label },
    { type: CKA.VALUE, value: asBuffer(data.value) },
  ];
}

/** The value of CKA_ALLOWED_MECHANISMS: mechanism numbers as CK_ULONG of this machine. */
export function allowedMechanisms(...mechanisms: number[]): Buffer {
  return Buffer.from(BigUint64Array.from(mechanisms, BigInt).buffer);
}
