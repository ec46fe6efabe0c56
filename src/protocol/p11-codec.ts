import { asBuffer } from '../core/bytes.js';
import { CKR } from '../core/pkcs11.js';
import {
  readAttributes,
  readRooms,
  writeAttributes,
  writeRooms,
  type P11Attribute,
  type P11AttributeRoom,
} from './p11-attributes.js';
import {
  callNamed,
  callOfId,
  type P11Arg,
  type P11Args,
  type P11CallName,
  type P11CkVersion,
  type P11Field,
  type P11ReplyValue,
  type P11Room,
  type P11Values,
} from './p11-calls.js';
import { isOpaque, readMechanism, writeMechanism, type P11Mechanism } from './p11-mechanism.js';
import { P11Reader, P11WireError, P11Writer, type P11Version } from './p11-wire.js';

/** A request as it was read. */
export interface P11Request {
  /** undefined: the protocol has no call of this number */
  readonly call: P11CallName | undefined;
  readonly id: number;
  /** in the order of the call's signature: `P11Args` of its name */
  readonly args: readonly P11Arg[];
  /** a CKR_ code that must be answered: `args` end with what could not be read further */
  readonly refusal?: number | undefined;
}

/** A reply as it was read: `values` count when `rv` is CKR_OK. */
export interface P11Reply {
  readonly call: P11CallName | undefined;
  readonly rv: number;
  /** in the order of the call's signature: `P11Values` of its name */
  readonly values: readonly P11ReplyValue[];
}

const ERROR_ID = 0;

/** A buffer of no bytes that a caller does have, in clients from version 1. */
const EMPTY_ROOM = 0xffff_ffff;

/**
 * Reads a request's body. `version` is the lesser of what the client offered and what we know:
 * the form of mechanisms goes by it.
 * @throws P11WireError what no client sends: the connection must be dropped
 */
export function readRequest(body: Buffer, version: P11Version): P11Request {
  const reader = new P11Reader(body);
  const id = reader.u32();
  const known = callOfId(id);
  if (known === undefined) return { call: undefined, id, args: [], refusal: undefined };
  reader.expect(known.request);
  const args: P11Arg[] = [];
  for (const field of known.requestFields) {
    const arg = readArg(reader, field, version);
    args.push(arg);
    if (field.token === 'M' && arg !== null && isOpaque(arg as P11Mechanism)) {
      return { call: known.name, id, args, refusal: CKR.MECHANISM_INVALID };
    }
  }
  return { call: known.name, id, args, refusal: undefined };
}

function readArg(reader: P11Reader, field: P11Field, version: P11Version): P11Arg {
  switch (field.token) {
    case 'u':
      return reader.u64();
    case 'ay':
      return readBytesArg(reader);
    case 'fy':
      return roomOf(reader.u32());
    case 'M':
      return readMechanism(reader, version);
    case 'aA':
      return readAttributes(reader);
    case 'fA':
      return readRooms(reader, version);
    case 'fu':
      return reader.u32();
    case 'y':
      return reader.u8();
    case 's':
      return readText(reader, field.size);
    case 'z':
      return readText(reader);
    case 'v':
    case 'au':
    case 'P':
      throw new TypeError(`no request has a ${field.token}`);
  }
}

/** Both forms of a pointer that is NULL; a length that comes without bytes says nothing. */
function readBytesArg(reader: P11Reader): Uint8Array | null {
  if (reader.u8() !== 0) return reader.array();
  reader.u32();
  return null;
}

function roomOf(given: number): P11Room {
  if (given === 0) return 'none';
  return given === EMPTY_ROOM ? 0 : given;
}

/** A text without what follows a NUL in it and without the blanks at its end. */
function readText(reader: P11Reader, size?: number): string {
  const bytes = reader.array();
  if (size !== undefined && bytes?.length !== size) {
    throw new P11WireError(`a text has not its ${size} bytes`);
  }
  if (bytes === null) return '';
  const nul = bytes.indexOf(0);
  return bytes.toString('utf8', 0, nul === -1 ? bytes.length : nul).replace(/ +$/, '');
}

/**
 * The frame of a request, as a client writes it that offers `version`.
 * @param code the number of the call on its connection, from 1
 */
export function writeRequest<N extends P11CallName>(
  code: number,
  call: N,
  args: P11Args<N>,
  version: P11Version,
): Buffer {
  const { id, request, requestFields } = callNamed(call);
  const writer = new P11Writer(code, CLIENT);
  writer.u32(id);
  writer.ascii(request);
  const values: readonly P11Arg[] = args;
  for (const [i, field] of requestFields.entries()) {
    writeArg(writer, field, values[i] as P11Arg, version);
  }
  return writer.end();
}

/** How p11-kit-client.so calls itself. */
const CLIENT = Buffer.from('client');

function writeArg(writer: P11Writer, field: P11Field, arg: P11Arg, version: P11Version): void {
  switch (field.token) {
    case 'u':
      return writer.u64(arg as number);
    case 'ay':
      return writeBytesArg(writer, arg as Uint8Array | null, version);
    case 'fy':
      return writer.u32(roomWord(arg as P11Room, version));
    case 'M':
      return writeMechanism(writer, arg as P11Mechanism | null, version);
    case 'aA':
      return writeAttributes(writer, arg as readonly P11Attribute[]);
    case 'fA':
      return writeRooms(writer, arg as readonly P11AttributeRoom[], version);
    case 'fu':
      return writer.u32(arg as number);
    case 'y':
      return writer.u8(arg as number);
    case 's':
      return writeText(writer, arg as string, field.size);
    case 'z':
      return writer.array(Buffer.from(arg as string));
    case 'v':
    case 'au':
    case 'P':
      throw new TypeError(`no request has a ${field.token}`);
  }
}

function writeBytesArg(writer: P11Writer, bytes: Uint8Array | null, version: P11Version): void {
  if (bytes === null && version === 0) {
    writer.u8(0);
    writer.u32(0);
    return;
  }
  writer.u8(1);
  writer.array(bytes);
}

function roomWord(room: P11Room, version: P11Version): number {
  if (room === 'none') return 0;
  return room === 0 && version > 0 ? EMPTY_ROOM : room;
}

/** Blanks fill a text up to its size; a letter that does not fit whole is left out. */
function writeText(writer: P11Writer, text: string, size: number): void {
  const bytes = Buffer.alloc(size, ' ');
  bytes.write(text);
  writer.array(bytes);
}

/** The frame of a call's reply. `code` is that of its request. */
export function writeReply<N extends P11CallName>(
  code: number,
  call: N,
  values: P11Values<N>,
): Buffer {
  const { id, response, responseFields } = callNamed(call);
  const writer = new P11Writer(code);
  writer.u32(id);
  writer.ascii(response);
  const given: readonly P11ReplyValue[] = values;
  for (let i = 0; i < responseFields.length; i += 1) {
    writeValue(writer, responseFields[i] as P11Field, given[i] as P11ReplyValue);
  }
  return writer.end();
}

/** The frame that says that a call failed, with a CKR_ code other than CKR_OK. */
export function writeError(code: number, rv: number): Buffer {
  const writer = new P11Writer(code);
  writer.u32(ERROR_ID);
  writer.ascii('u');
  writer.u64(rv);
  return writer.end();
}

function writeValue(writer: P11Writer, field: P11Field, value: P11ReplyValue): void {
  switch (field.token) {
    case 'u':
      return writer.u64(value as number);
    case 'ay':
      return writeBytes(writer, value as Uint8Array | number);
    case 'au':
      return writeNumbers(writer, value as readonly number[] | number);
    case 'aA':
      return writeAttributes(writer, value as readonly P11Attribute[]);
    case 's':
      return writeText(writer, value as string, field.size);
    case 'v': {
      const { major, minor } = value as P11CkVersion;
      writer.u8(major);
      writer.u8(minor);
      return;
    }
    case 'P':
      if (value !== null) writer.u8(value === true ? 1 : 0);
      return;
    case 'y':
    case 'z':
    case 'fy':
    case 'fu':
    case 'fA':
    case 'M':
      throw new TypeError(`no reply has a ${field.token}`);
  }
}

function writeBytes(writer: P11Writer, value: Uint8Array | number): void {
  if (typeof value === 'number') {
    writer.u8(0);
    writer.u32(value);
    return;
  }
  writer.u8(1);
  writer.array(value);
}

function writeNumbers(writer: P11Writer, value: readonly number[] | number): void {
  if (typeof value === 'number') {
    writer.u8(0);
    writer.u32(value);
    return;
  }
  writer.u8(1);
  writer.u32(value.length);
  for (const one of value) writer.u64(one);
}

/** Reads a reply's body, as a client does. @throws P11WireError */
export function readReply(body: Uint8Array): P11Reply {
  const reader = new P11Reader(asBuffer(body));
  const id = reader.u32();
  if (id === ERROR_ID) {
    reader.expect('u');
    return { call: undefined, rv: reader.u64(), values: [] };
  }
  const known = callOfId(id);
  if (known === undefined) throw new P11WireError(`no call has the number ${id}`);
  reader.expect(known.response);
  const values = known.responseFields.map((field) => readValue(reader, field));
  return { call: known.name, rv: CKR.OK, values };
}

function readValue(reader: P11Reader, field: P11Field): P11ReplyValue {
  switch (field.token) {
    case 'u':
      return reader.u64();
    case 'ay':
      return reader.u8() === 0 ? reader.u32() : (reader.array() ?? new Uint8Array(0));
    case 'au':
      return readNumbers(reader);
    case 'aA':
      return readAttributes(reader);
    case 's':
      return readText(reader, field.size);
    case 'v':
      return { major: reader.u8(), minor: reader.u8() };
    case 'P':
      return reader.left > KEY_BYTES ? reader.u8() !== 0 : null;
    case 'y':
    case 'z':
    case 'fy':
    case 'fu':
    case 'fA':
    case 'M':
      throw new TypeError(`no reply has a ${field.token}`);
  }
}

/** what follows `P` in the one reply that has it */
const KEY_BYTES = 8;

function readNumbers(reader: P11Reader): number[] | number {
  if (reader.u8() === 0) return reader.u32();
  const count = reader.count(8);
  const numbers: number[] = [];
  for (let i = 0; i < count; i += 1) numbers.push(reader.u64());
  return numbers;
}
