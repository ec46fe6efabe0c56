import { LIMITS } from '../core/limits.js';
import { CKA } from '../core/pkcs11.js';
import { P11WireError, type P11Reader, type P11Version, type P11Writer } from './p11-wire.js';

/**
 * How the value of an attribute stands on the wire. Types that the protocol has no word for are
 * `bytes`: numbers among them come as the client's memory holds them (little-endian on all that
 * p11-kit is built for today).
 */
export type P11Kind = 'byte' | 'ulong' | 'bytes' | 'date' | 'mechanisms' | 'templates';

/**
 * By kind: `byte` a boolean, `ulong` a number (-1 is CK_UNAVAILABLE_INFORMATION), `bytes` and
 * `date` bytes, `mechanisms` a list of numbers, `templates` a list of attributes. `undefined` is an
 * attribute that has no value to show (its length is CK_UNAVAILABLE_INFORMATION); `null` is a
 * pointer that is NULL: of a template, nothing; of an answer, that only the length was asked for.
 */
export type P11Value =
  boolean | number | Uint8Array | readonly number[] | readonly P11Attribute[] | null | undefined;

/** One CK_ATTRIBUTE with its value. */
export interface P11Attribute {
  readonly type: number;
  readonly value: P11Value;
  /** declared length in bytes, where it is not the value's own: an answer about the length */
  readonly length?: number | undefined;
}

/** One CK_ATTRIBUTE that is to be filled. */
export interface P11AttributeRoom {
  readonly type: number;
  /** bytes that the caller has room for; 0 asks for the length alone */
  readonly room: number;
  /** of a template: what its own attributes have room for */
  readonly nested?: readonly P11AttributeRoom[] | undefined;
}

const BYTES: readonly number[] = [
  CKA.TOKEN,
  CKA.PRIVATE,
  CKA.TRUSTED,
  CKA.SENSITIVE,
  CKA.ENCRYPT,
  CKA.DECRYPT,
  CKA.WRAP,
  CKA.UNWRAP,
  CKA.SIGN,
  CKA.SIGN_RECOVER,
  CKA.VERIFY,
  CKA.VERIFY_RECOVER,
  CKA.DERIVE,
  CKA.EXTRACTABLE,
  CKA.LOCAL,
  CKA.NEVER_EXTRACTABLE,
  CKA.ALWAYS_SENSITIVE,
  CKA.MODIFIABLE,
  CKA.COPYABLE,
  0x200, // SECONDARY_AUTH
  CKA.ALWAYS_AUTHENTICATE,
  CKA.WRAP_WITH_TRUSTED,
  0x301, // RESET_ON_INIT
  0x302, // HAS_RESET
  0x405, // COLOR
];

const ULONGS: readonly number[] = [
  CKA.CLASS,
  CKA.CERTIFICATE_TYPE,
  CKA.CERTIFICATE_CATEGORY,
  CKA.JAVA_MIDP_SECURITY_DOMAIN,
  CKA.KEY_TYPE,
  CKA.MODULUS_BITS,
  0x133, // PRIME_BITS
  0x134, // SUB_PRIME_BITS
  CKA.VALUE_BITS,
  CKA.VALUE_LEN,
  CKA.KEY_GEN_MECHANISM,
  0x201, // AUTH_PIN_FLAGS
  CKA.HW_FEATURE_TYPE,
  CKA.MECHANISM_TYPE,
];

/** CKA_PIXEL_X to CKA_BITS_PER_PIXEL */
const DISPLAY_ULONGS: readonly number[] = [0x400, 0x401, 0x402, 0x403, 0x404, 0x406];

const IBM_BYTES: readonly number[] = [
  0x8001_0001, 0x8001_0002, 0x8001_0003, 0x8001_0004, 0x8001_0008, 0x8001_000c, 0x8001_000d,
];

const IBM_ULONGS: readonly number[] = [
  0x800d_0001, 0x800d_0101, 0x8001_000a, 0x8001_0005, 0x800d_0009,
];

const KINDS: ReadonlyMap<number, P11Kind> = new Map<number, P11Kind>([
  ...[...BYTES, ...IBM_BYTES].map((type) => [type, 'byte'] as const),
  ...[...ULONGS, ...DISPLAY_ULONGS, ...IBM_ULONGS].map((type) => [type, 'ulong'] as const),
  [CKA.WRAP_TEMPLATE, 'templates'],
  [CKA.UNWRAP_TEMPLATE, 'templates'],
  [CKA.DERIVE_TEMPLATE, 'templates'],
  [CKA.ALLOWED_MECHANISMS, 'mechanisms'],
  [CKA.START_DATE, 'date'],
  [CKA.END_DATE, 'date'],
]);

/** How values of this attribute are written and what they are in memory. */
export function attributeKind(type: number): P11Kind {
  return KINDS.get(type) ?? 'bytes';
}

const ULONG_BYTES = 8;
/** sizeof(CK_ATTRIBUTE) where a CK_ULONG has 64 bits */
const ATTRIBUTE_BYTES = 24;

/** The length of a value in a client's memory, in bytes: ulValueLen. */
export function attributeLength(value: P11Value): number {
  if (typeof value === 'boolean') return 1;
  if (typeof value === 'number') return ULONG_BYTES;
  if (value === null || value === undefined) return 0;
  if (value instanceof Uint8Array) return value.length;
  return value.length * (typeof value[0] === 'number' ? ULONG_BYTES : ATTRIBUTE_BYTES);
}

/** How many attributes a list and the templates within it may still have. */
interface Budget {
  left: number;
}

const ATTRIBUTE_MIN_BYTES = 5;
const ROOM_BYTES = 8;

function countWithin(reader: P11Reader, itemBytes: number, budget: Budget, depth: number): number {
  if (depth > LIMITS.p11_template_depth_max) throw new P11WireError('templates nest too deeply');
  const count = reader.count(itemBytes);
  if (count > budget.left) throw new P11WireError('too many attributes');
  budget.left -= count;
  return count;
}

/** Reads a list of attributes with their values (`aA`). @throws P11WireError */
export function readAttributes(reader: P11Reader): P11Attribute[] {
  return readTemplate(reader, { left: LIMITS.p11_attributes_max }, 1);
}

function readTemplate(reader: P11Reader, budget: Budget, depth: number): P11Attribute[] {
  const count = countWithin(reader, ATTRIBUTE_MIN_BYTES, budget, depth);
  const attributes: P11Attribute[] = [];
  for (let i = 0; i < count; i += 1) {
    const type = reader.u32();
    if (reader.u8() === 0) {
      attributes.push({ type, value: undefined, length: undefined });
      continue;
    }
    const declared = reader.u32();
    const value = readValue(reader, type, budget, depth);
    const own = attributeLength(value);
    attributes.push({ type, value, length: declared === own ? undefined : declared });
  }
  return attributes;
}

function readValue(reader: P11Reader, type: number, budget: Budget, depth: number): P11Value {
  switch (attributeKind(type)) {
    case 'byte':
      return reader.u8() !== 0;
    case 'ulong':
      return reader.u64();
    case 'mechanisms':
      return readMechanisms(reader);
    case 'templates':
      return readTemplate(reader, budget, depth + 1);
    case 'bytes':
    case 'date':
      return reader.array();
  }
}

function readMechanisms(reader: P11Reader): number[] {
  const count = reader.count(ULONG_BYTES);
  if (count > LIMITS.p11_mechanisms_max) throw new P11WireError('too many mechanisms');
  const types: number[] = [];
  for (let i = 0; i < count; i += 1) types.push(reader.u64());
  return types;
}

/** Writes a list of attributes with their values (`aA`). */
export function writeAttributes(writer: P11Writer, attributes: readonly P11Attribute[]): void {
  writer.u32(attributes.length);
  for (const { type, value, length } of attributes) {
    writer.u32(type);
    if (value === undefined) {
      writer.u8(0);
      continue;
    }
    writer.u8(1);
    writer.u32(length ?? attributeLength(value));
    writeValue(writer, type, value);
  }
}

function writeValue(writer: P11Writer, type: number, value: Exclude<P11Value, undefined>): void {
  switch (attributeKind(type)) {
    case 'byte':
      if (typeof value === 'boolean' || value === null) return writer.u8(value ? 1 : 0);
      break;
    case 'ulong':
      if (typeof value === 'number' || value === null) return writer.u64(value ?? 0);
      break;
    case 'mechanisms':
      if (Array.isArray(value) || value === null) return writeMechanisms(writer, value ?? []);
      break;
    case 'templates':
      if (Array.isArray(value) || value === null) return writeAttributes(writer, value ?? []);
      break;
    case 'bytes':
    case 'date':
      if (value instanceof Uint8Array || value === null) return writer.array(value);
  }
  throw new TypeError(`attribute 0x${type.toString(16)} has a value of another kind`);
}

function writeMechanisms(writer: P11Writer, types: readonly number[]): void {
  writer.u32(types.length);
  for (const one of types) writer.u64(one);
}

/**
 * Which attributes of a list to be filled are followed by the list of a template's own: those with
 * room for it, none (before 0.25.4), or all (0.25.4 and 0.25.5, by mistake also those without).
 */
type Nesting = 'withRoom' | 'none' | 'all';

/**
 * Reads what an attribute list has room for (`fA`), which is the last of a body. Clients that
 * agreed on version 1 nest templates in three ways: the one by which the list ends with the body is
 * theirs. @throws P11WireError
 */
export function readRooms(reader: P11Reader, version: P11Version): P11AttributeRoom[] {
  if (version === 0) return readRoomList(reader, 'none');
  if (version !== 1) return readRoomList(reader, 'withRoom');
  const start = reader.at;
  for (const nesting of ['withRoom', 'all', 'none'] as const) {
    const rooms = tryRooms(reader, nesting);
    if (rooms !== undefined) return rooms;
    reader.rewind(start);
  }
  return readRoomList(reader, 'withRoom');
}

/** The list, when it can be read so and nothing is left after it. */
function tryRooms(reader: P11Reader, nesting: Nesting): P11AttributeRoom[] | undefined {
  try {
    const rooms = readRoomList(reader, nesting);
    return reader.left === 0 ? rooms : undefined;
  } catch (error) {
    if (error instanceof P11WireError) return undefined;
    throw error;
  }
}

function readRoomList(reader: P11Reader, nesting: Nesting): P11AttributeRoom[] {
  return readRoomsWithin(reader, nesting, { left: LIMITS.p11_attributes_max }, 1);
}

function readRoomsWithin(
  reader: P11Reader,
  nesting: Nesting,
  budget: Budget,
  depth: number,
): P11AttributeRoom[] {
  const count = countWithin(reader, ROOM_BYTES, budget, depth);
  const rooms: P11AttributeRoom[] = [];
  for (let i = 0; i < count; i += 1) {
    const type = reader.u32();
    const room = reader.u32();
    const follows = nesting === 'all' || (nesting === 'withRoom' && room !== 0);
    const nested =
      follows && attributeKind(type) === 'templates'
        ? readRoomsWithin(reader, nesting, budget, depth + 1)
        : undefined;
    rooms.push({ type, room, nested });
  }
  return rooms;
}

/**
 * Writes what an attribute list has room for (`fA`), as clients do that agreed on `version`:
 * templates nest from 1 on (0.25.4).
 */
export function writeRooms(
  writer: P11Writer,
  rooms: readonly P11AttributeRoom[],
  version: P11Version,
): void {
  writer.u32(rooms.length);
  for (const { type, room, nested } of rooms) {
    writer.u32(type);
    writer.u32(room);
    const nests = version > 0 && room !== 0 && attributeKind(type) === 'templates';
    if (nests) writeRooms(writer, nested ?? [], version);
  }
}
