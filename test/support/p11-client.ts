import { once } from 'node:events';
import { createConnection } from 'node:net';
import type { Duplex } from 'node:stream';
import { CKA, CKF, CKR, CKU, ckrName } from '../../src/core/pkcs11.js';
import {
  attributeKind,
  type P11Attribute,
  type P11AttributeRoom,
} from '../../src/protocol/p11-attributes.js';
import {
  P11_HANDSHAKE,
  type P11Args,
  type P11CallName,
  type P11Room,
  type P11Values,
} from '../../src/protocol/p11-calls.js';
import { readReply, writeRequest } from '../../src/protocol/p11-codec.js';
import { P11FrameReader } from '../../src/protocol/p11-frames.js';
import type { P11Mechanism } from '../../src/protocol/p11-mechanism.js';
import type { P11Version } from '../../src/protocol/p11-wire.js';

/** A call that failed, with the CKR_ code that was answered. */
export class P11Error extends Error {
  override readonly name = 'P11Error';
  readonly rv: number;

  constructor(call: string, rv: number) {
    super(`${call}: ${ckrName(rv)}`);
    this.rv = rv;
  }
}

interface Waiting {
  readonly call: P11CallName;
  readonly resolve: (values: unknown) => void;
  readonly reject: (error: Error) => void;
}

export interface P11ClientSettings {
  /** the version that is offered; the newest unless given */
  readonly offer?: P11Version;
  /** false: C_Initialize is left to the caller */
  readonly initialize?: boolean;
}

/** Ways to run an operation: whole, or in pieces of so many bytes. */
export interface P11Pieces {
  readonly pieceBytes?: number;
}

const FIRST_CODE = 0x10;
/** more than any result of a test */
const ROOM_BYTES = 65_536;

/**
 * A client of p11-kit's RPC protocol, as far as tests need one. Calls may be made while others are
 * in flight; replies are told apart by their codes.
 */
export class P11Client {
  readonly stream: Duplex;
  readonly offer: P11Version;
  /** what the server answered to the offer; the offer until then */
  version: P11Version;
  readonly #frames = new P11FrameReader();
  readonly #waiting = new Map<number, Waiting>();
  #code = FIRST_CODE;
  #greeted = false;
  #ended: Error | undefined;

  private constructor(stream: Duplex, offer: P11Version) {
    this.stream = stream;
    this.offer = offer;
    this.version = offer;
    stream.on('data', (chunk: Buffer) => this.#receive(chunk));
    stream.on('error', (error: Error) => this.#end(error));
    stream.on('close', () => this.#end(new Error('the connection is closed')));
    stream.on('end', () => this.#end(new Error('the server ended the connection')));
    stream.write(Buffer.from([offer]));
  }

  /** Connects to a unix socket, agrees on a version and calls C_Initialize. */
  static async connect(path: string, settings: P11ClientSettings = {}): Promise<P11Client> {
    const socket = createConnection(path);
    await once(socket, 'connect');
    return P11Client.over(socket, settings);
  }

  /** The same over a stream that is connected. */
  static async over(stream: Duplex, settings: P11ClientSettings = {}): Promise<P11Client> {
    const client = new P11Client(stream, settings.offer ?? 2);
    if (settings.initialize !== false) await client.initialize();
    return client;
  }

  /** whether the connection is over */
  get ended(): boolean {
    return this.#ended !== undefined;
  }

  async initialize(): Promise<void> {
    await this.call('C_Initialize', [Buffer.from(P11_HANDSHAKE), 0, Buffer.from([0])]);
  }

  /** @throws P11Error with the code that was answered */
  call<N extends P11CallName>(name: N, args: P11Args<N>): Promise<P11Values<N>> {
    if (this.#ended) return Promise.reject(this.#ended);
    const code = this.#code;
    this.#code += 1;
    // Mechanisms are written by the offer, as every client does
    const frame = writeRequest(code, name, args, this.offer);
    return new Promise((resolve, reject) => {
      const settle = resolve as (values: unknown) => void;
      this.#waiting.set(code, { call: name, resolve: settle, reject });
      this.stream.write(frame);
    });
  }

  /** The code that a call is answered with; CKR_OK when it succeeds. */
  async code<N extends P11CallName>(name: N, args: P11Args<N>): Promise<number> {
    try {
      await this.call(name, args);
      return CKR.OK;
    } catch (error) {
      if (error instanceof P11Error) return error.rv;
      throw error;
    }
  }

  /** Sends bytes as they are. Replies to calls that are not known are not looked at. */
  raw(bytes: Uint8Array): void {
    this.stream.write(bytes);
  }

  async close(): Promise<void> {
    if (this.stream.destroyed) return;
    const closed = once(this.stream, 'close');
    this.stream.destroy();
    await closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** What cannot be read ends the connection, as p11-kit's client does. */
  #receive(chunk: Buffer): void {
    try {
      this.#read(chunk);
    } catch (error) {
      this.stream.destroy(error as Error);
    }
  }

  #read(chunk: Buffer): void {
    let bytes = chunk;
    if (!this.#greeted && chunk.length > 0) {
      this.#greeted = true;
      this.version = Math.min(chunk[0] ?? 0, this.offer) as P11Version;
      bytes = chunk.subarray(1);
    }
    for (const { code, body } of this.#frames.push(bytes)) {
      const waiting = this.#waiting.get(code);
      if (waiting === undefined) continue;
      this.#waiting.delete(code);
      const { call, rv, values } = readReply(body);
      if (rv !== CKR.OK) waiting.reject(new P11Error(waiting.call, rv));
      else if (call !== waiting.call) waiting.reject(new Error(`${waiting.call} got ${call}`));
      else waiting.resolve(values);
    }
  }

  #end(error: Error): void {
    this.#ended ??= error;
    for (const { reject } of this.#waiting.values()) reject(this.#ended);
    this.#waiting.clear();
  }

  // Slots and sessions

  async slots(tokenPresent = true): Promise<readonly number[]> {
    const present = tokenPresent ? 1 : 0;
    const [count] = await this.call('C_GetSlotList', [present, 0]);
    const [slots] = await this.call('C_GetSlotList', [present, lengthOf(count)]);
    return listOf(slots);
  }

  async mechanisms(slot: number): Promise<readonly number[]> {
    const [count] = await this.call('C_GetMechanismList', [slot, 0]);
    const [types] = await this.call('C_GetMechanismList', [slot, lengthOf(count)]);
    return listOf(types);
  }

  /** A session for reading and writing, unless `flags` say otherwise. */
  async open(slot: number, flags = CKF.SERIAL_SESSION | CKF.RW_SESSION): Promise<number> {
    return (await this.call('C_OpenSession', [slot, flags]))[0];
  }

  async login(session: number, pin: string, user: number = CKU.USER): Promise<void> {
    await this.call('C_Login', [session, user, Buffer.from(pin)]);
  }

  async logout(session: number): Promise<void> {
    await this.call('C_Logout', [session]);
  }

  // Objects

  async find(
    session: number,
    template: readonly P11Attribute[] = [],
    max = 1_000,
  ): Promise<number[]> {
    await this.call('C_FindObjectsInit', [session, template]);
    const found: number[] = [];
    for (;;) {
      const [some] = await this.call('C_FindObjects', [session, max]);
      const objects = listOf(some);
      found.push(...objects);
      if (objects.length === 0) break;
    }
    await this.call('C_FindObjectsFinal', [session]);
    return found;
  }

  create(session: number, template: readonly P11Attribute[]): Promise<number> {
    return this.call('C_CreateObject', [session, template]).then(first);
  }

  copy(session: number, object: number, template: readonly P11Attribute[]): Promise<number> {
    return this.call('C_CopyObject', [session, object, template]).then(first);
  }

  async destroy(session: number, object: number): Promise<void> {
    await this.call('C_DestroyObject', [session, object]);
  }

  async setAttributes(
    session: number,
    object: number,
    template: readonly P11Attribute[],
  ): Promise<void> {
    await this.call('C_SetAttributeValue', [session, object, template]);
  }

  /** One C_GetAttributeValue as it is answered: the attributes and the call's own code. */
  async attributesInto(
    session: number,
    object: number,
    rooms: readonly P11AttributeRoom[],
  ): Promise<{ attributes: readonly P11Attribute[]; rv: number }> {
    const [attributes, rv] = await this.call('C_GetAttributeValue', [session, object, rooms]);
    return { attributes, rv };
  }

  /**
   * Values of attributes, as applications read them: first their lengths, then the values. What is
   * sensitive or absent has the value `undefined`.
   */
  async getAttributes(
    session: number,
    object: number,
    types: readonly number[],
  ): Promise<P11Attribute[]> {
    const asked = types.map((type) => ({ type, room: 0 }));
    const sizes = await this.attributesInto(session, object, asked);
    const rooms = sizes.attributes
      .filter(({ value }) => value !== undefined)
      .map((attribute) => ({ type: attribute.type, room: sizeOf(attribute) }));
    const filled = rooms.length === 0 ? [] : await this.#fill(session, object, rooms);
    return types.map(
      (type) => filled.find((one) => one.type === type) ?? { type, value: undefined },
    );
  }

  async #fill(
    session: number,
    object: number,
    rooms: readonly P11AttributeRoom[],
  ): Promise<readonly P11Attribute[]> {
    const wanted = rooms.filter(({ room }) => room > 0);
    const empty = rooms.filter(({ room }) => room === 0);
    const none = empty.map(({ type }) => ({ type, value: new Uint8Array(0) }));
    if (wanted.length === 0) return none;
    const { attributes } = await this.attributesInto(session, object, wanted);
    return [...attributes, ...none];
  }

  /** The value of one attribute, read in one call with room for `room` bytes. */
  async attribute(session: number, object: number, type: number, room = ROOM_BYTES) {
    const fixed = { byte: 1, ulong: 8, date: 8, bytes: room, mechanisms: room, templates: room };
    const rooms = [{ type, room: fixed[attributeKind(type)] }];
    return (await this.attributesInto(session, object, rooms)).attributes[0]?.value;
  }

  label(session: number, object: number): Promise<string> {
    return this.attribute(session, object, CKA.LABEL).then((value) =>
      value instanceof Uint8Array ? Buffer.from(value).toString() : '',
    );
  }

  // Keys

  generateKey(
    session: number,
    mechanism: P11Mechanism,
    template: readonly P11Attribute[],
  ): Promise<number> {
    return this.call('C_GenerateKey', [session, mechanism, template]).then(first);
  }

  async generateKeyPair(
    session: number,
    mechanism: P11Mechanism,
    templates: {
      readonly publicKey: readonly P11Attribute[];
      readonly privateKey: readonly P11Attribute[];
    },
  ): Promise<{ publicKey: number; privateKey: number }> {
    const { publicKey, privateKey } = templates;
    const args: P11Args<'C_GenerateKeyPair'> = [session, mechanism, publicKey, privateKey];
    const [ofPublic, ofPrivate] = await this.call('C_GenerateKeyPair', args);
    return { publicKey: ofPublic, privateKey: ofPrivate };
  }

  async wrap(
    session: number,
    mechanism: P11Mechanism,
    keys: { readonly wrapping: number; readonly key: number },
    room: P11Room = ROOM_BYTES,
  ): Promise<Uint8Array> {
    const { wrapping, key } = keys;
    return bytesOf((await this.call('C_WrapKey', [session, mechanism, wrapping, key, room]))[0]);
  }

  unwrap(
    session: number,
    mechanism: P11Mechanism,
    given: { readonly unwrapping: number; readonly wrapped: Uint8Array },
    template: readonly P11Attribute[],
  ): Promise<number> {
    const { unwrapping, wrapped } = given;
    const args: P11Args<'C_UnwrapKey'> = [session, mechanism, unwrapping, wrapped, template];
    return this.call('C_UnwrapKey', args).then(first);
  }

  /** C_DeriveKey, or C_DeriveKey2 where that was agreed on. */
  async derive(
    session: number,
    mechanism: P11Mechanism,
    baseKey: number,
    template: readonly P11Attribute[],
  ): Promise<number> {
    const args: P11Args<'C_DeriveKey'> = [session, mechanism, baseKey, template];
    if (this.version < 2) return (await this.call('C_DeriveKey', args))[0];
    const [rv, , key] = await this.call('C_DeriveKey2', args);
    if (rv !== CKR.OK) throw new P11Error('C_DeriveKey2', rv);
    return key;
  }

  // Work with keys

  async sign(
    session: number,
    mechanism: P11Mechanism,
    key: number,
    data: Uint8Array,
    { pieceBytes }: P11Pieces = {},
  ): Promise<Uint8Array> {
    await this.call('C_SignInit', [session, mechanism, key]);
    if (pieceBytes === undefined) {
      return bytesOf((await this.call('C_Sign', [session, data, ROOM_BYTES]))[0]);
    }
    for (const piece of pieces(data, pieceBytes)) {
      await this.call('C_SignUpdate', [session, piece]);
    }
    return bytesOf((await this.call('C_SignFinal', [session, ROOM_BYTES]))[0]);
  }

  /** @throws P11Error CKR_SIGNATURE_INVALID */
  async verify(
    session: number,
    mechanism: P11Mechanism,
    key: number,
    signed: { readonly data: Uint8Array; readonly signature: Uint8Array },
    { pieceBytes }: P11Pieces = {},
  ): Promise<void> {
    const { data, signature } = signed;
    await this.call('C_VerifyInit', [session, mechanism, key]);
    if (pieceBytes === undefined) {
      await this.call('C_Verify', [session, data, signature]);
      return;
    }
    for (const piece of pieces(data, pieceBytes)) {
      await this.call('C_VerifyUpdate', [session, piece]);
    }
    await this.call('C_VerifyFinal', [session, signature]);
  }

  async encrypt(
    session: number,
    mechanism: P11Mechanism,
    key: number,
    data: Uint8Array,
    pieces: P11Pieces = {},
  ): Promise<Uint8Array> {
    await this.call('C_EncryptInit', [session, mechanism, key]);
    return this.#cipher('C_Encrypt', session, data, pieces);
  }

  async decrypt(
    session: number,
    mechanism: P11Mechanism,
    key: number,
    data: Uint8Array,
    pieces: P11Pieces = {},
  ): Promise<Uint8Array> {
    await this.call('C_DecryptInit', [session, mechanism, key]);
    return this.#cipher('C_Decrypt', session, data, pieces);
  }

  async digest(
    session: number,
    mechanism: P11Mechanism,
    data: Uint8Array,
    { pieceBytes }: P11Pieces = {},
  ): Promise<Uint8Array> {
    await this.call('C_DigestInit', [session, mechanism]);
    if (pieceBytes === undefined) {
      return bytesOf((await this.call('C_Digest', [session, data, ROOM_BYTES]))[0]);
    }
    for (const piece of pieces(data, pieceBytes)) {
      await this.call('C_DigestUpdate', [session, piece]);
    }
    return bytesOf((await this.call('C_DigestFinal', [session, ROOM_BYTES]))[0]);
  }

  async #cipher(
    call: 'C_Encrypt' | 'C_Decrypt',
    session: number,
    data: Uint8Array,
    { pieceBytes }: P11Pieces,
  ): Promise<Uint8Array> {
    const room = data.length + ROOM_BYTES;
    if (pieceBytes === undefined) {
      return bytesOf((await this.call(call, [session, data, room]))[0]);
    }
    const parts: Uint8Array[] = [];
    for (const piece of pieces(data, pieceBytes)) {
      parts.push(bytesOf((await this.call(`${call}Update`, [session, piece, room]))[0]));
    }
    parts.push(bytesOf((await this.call(`${call}Final`, [session, room]))[0]));
    return Buffer.concat(parts);
  }

  async random(session: number, length: number): Promise<Uint8Array> {
    const room = length === 0 ? 'none' : length;
    return bytesOf((await this.call('C_GenerateRandom', [session, room]))[0]);
  }
}

const first = ([value]: readonly [number, ...unknown[]]): number => value;

/** The bytes of a result that had room. */
export function bytesOf(value: Uint8Array | number): Uint8Array {
  if (typeof value !== 'number') return value;
  throw new Error(`the result is only said to have ${value} bytes`);
}

function listOf(value: readonly number[] | number): readonly number[] {
  if (typeof value !== 'number') return value;
  throw new Error(`the list is only said to have ${value} items`);
}

const lengthOf = (value: readonly number[] | number): number =>
  typeof value === 'number' ? value : value.length;

/** What an answer about lengths says of one attribute. */
function sizeOf({ type, value, length }: P11Attribute): number {
  const fixed = { byte: 1, ulong: 8 } as const;
  const kind = attributeKind(type);
  if (kind === 'byte' || kind === 'ulong') return fixed[kind];
  return length ?? (value instanceof Uint8Array ? value.length : 0);
}

function* pieces(data: Uint8Array, pieceBytes: number): Generator<Uint8Array> {
  for (let at = 0; at < data.length; at += pieceBytes) yield data.subarray(at, at + pieceBytes);
}
