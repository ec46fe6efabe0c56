import { CKA, CKO } from '../core/pkcs11.js';

/**
 * The file of one object as SoftHSM 2 writes it. All numbers are 8 bytes, big-endian: a generation,
 * then attributes in ascending order of type until the end of the file, each {type, kind, value}.
 *
 * | kind | value |
 * |---|---|
 * | 1 | one byte: 0x00 or 0xff |
 * | 2 | a number |
 * | 3 | a length and that many bytes (encrypted when CKA_PRIVATE is true and they are not empty) |
 * | 4 | a length in bytes and that many bytes of attributes |
 * | 5 | a count and that many mechanism numbers |
 */
const KIND = { BOOLEAN: 1, NUMBER: 2, BYTES: 3, ATTRIBUTES: 4, MECHANISMS: 5 } as const;

const WORD = 8;
const TEMPLATE_DEPTH_MAX = 2;
/** numbers are compared as doubles: what is over 2^53 is garbage anyway */
const HIGH_WORD = 2 ** 32;

/** What the check needs of an object's attributes. */
interface Outline {
  objectClass?: number;
  keyType?: number;
  lastType: number;
  /** types of byte strings that are not empty */
  readonly filled: Set<number>;
}

/**
 * The attribute that SoftHSM writes last: a file that ends before it was cut between
 * attributes.
 */
const LAST_ATTRIBUTE: ReadonlyMap<number, number> = new Map([
  [CKO.DATA, CKA.DESTROYABLE],
  [CKO.SECRET_KEY, CKA.ALLOWED_MECHANISMS],
  [CKO.PRIVATE_KEY, CKA.ALLOWED_MECHANISMS],
]);

const CKK_RSA = 0;

/**
 * Why an object file is torn, or `undefined` when it is whole. It reads structure alone; whether
 * the key in it is the right one only its proof can tell.
 */
export function tornReason(file: Buffer): string | undefined {
  if (file.length < 2 * WORD) return 'the file ends before its first attribute';
  const outline: Outline = { lastType: -1, filled: new Set() };
  const end = scanAttributes(file, WORD, file.length, { outline, depth: 0 });
  if (end !== file.length) return 'the file does not consist of whole attributes';
  if (outline.objectClass === undefined) return 'CKA_CLASS is missing';
  return missingPart(outline.objectClass, outline);
}

function missingPart(objectClass: number, outline: Outline): string | undefined {
  const last = LAST_ATTRIBUTE.get(objectClass);
  if (last === undefined) return undefined;
  if (outline.lastType < last) return 'attributes at the end are missing';
  if (objectClass === CKO.DATA) return outline.filled.has(CKA.VALUE) ? undefined : 'no CKA_VALUE';
  if (!outline.filled.has(CKA.ID)) return 'no CKA_ID';
  const isRsa = objectClass === CKO.PRIVATE_KEY && outline.keyType === CKK_RSA;
  const parts = isRsa ? [CKA.MODULUS, CKA.PRIVATE_EXPONENT] : [CKA.VALUE];
  return parts.every((type) => outline.filled.has(type)) ? undefined : 'no key value';
}

/** @returns where the attributes end, or -1 when they are not well-formed before `end` */
function scanAttributes(
  file: Buffer,
  start: number,
  end: number,
  into: { outline?: Outline; depth: number },
): number {
  let at = start;
  while (at < end) {
    if (at + 2 * WORD > end) return -1;
    const type = readWord(file, at);
    const kind = readWord(file, at + WORD);
    const value = at + 2 * WORD;
    at = skipValue(file, value, end, { kind, depth: into.depth });
    if (at < 0 || at > end) return -1;
    if (into.outline) {
      if (type <= into.outline.lastType) return -1;
      note(into.outline, file, { type, kind, value });
    }
  }
  return at;
}

function note(
  outline: Outline,
  file: Buffer,
  attribute: { type: number; kind: number; value: number },
): void {
  const { type, kind, value } = attribute;
  outline.lastType = type;
  if (kind === KIND.NUMBER && type === CKA.CLASS) outline.objectClass = readWord(file, value);
  if (kind === KIND.NUMBER && type === CKA.KEY_TYPE) outline.keyType = readWord(file, value);
  if (kind === KIND.BYTES && readWord(file, value) > 0) outline.filled.add(type);
}

/** @returns the offset behind a value, or -1 when it is not well-formed */
function skipValue(
  file: Buffer,
  at: number,
  end: number,
  of: { kind: number; depth: number },
): number {
  if (of.kind === KIND.BOOLEAN) {
    const byte = file[at];
    return at < end && (byte === 0x00 || byte === 0xff) ? at + 1 : -1;
  }
  if (at + WORD > end) return -1;
  if (of.kind === KIND.NUMBER) return at + WORD;
  const count = readWord(file, at);
  const body = at + WORD;
  if (of.kind === KIND.BYTES) return body + count;
  if (of.kind === KIND.MECHANISMS) return body + count * WORD;
  if (of.kind !== KIND.ATTRIBUTES || of.depth >= TEMPLATE_DEPTH_MAX) return -1;
  if (body + count > end) return -1;
  return scanAttributes(file, body, body + count, { depth: of.depth + 1 });
}

function readWord(file: Buffer, at: number): number {
  return file.readUInt32BE(at) * HIGH_WORD + file.readUInt32BE(at + 4);
}
