/**
 * The primitives of p11-kit's RPC protocol: big-endian integers and byte arrays that are preceded
 * by their length. Nothing is allocated for a length that is claimed but not there.
 */

/** Bytes that no client of the protocol sends: the connection cannot be read on. */
export class P11WireError extends Error {
  override readonly name = 'P11WireError';
}

/** What a peer offers or what was agreed on, in the byte before the first frame. */
export type P11Version = 0 | 1 | 2;

/** CK_UNAVAILABLE_INFORMATION, all ones of 64 bits, as it is known here. */
export const UNAVAILABLE = -1;

/** An integer of 64 bits above 2^53 other than all ones: no handle, size or id has such a value. */
export const BEYOND = -2;

/** The length of a byte array that is not there at all, which is not the same as an empty one. */
const NULL_LENGTH = 0xffff_ffff;
const ARRAY_MAX_BYTES = 0x7fff_ffff;
const WORD = 0x1_0000_0000;

/** Reads a body from its start to its end. Byte arrays share memory with the body. */
export class P11Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  /** where the next byte is read */
  get at(): number {
    return this.#at;
  }

  /** bytes that are not read yet */
  get left(): number {
    return this.#bytes.length - this.#at;
  }

  /** Reads again from a place where `at` once was. */
  rewind(at: number): void {
    this.#at = at;
  }

  u8(): number {
    return this.#bytes[this.#skip(1)] ?? 0;
  }

  u32(): number {
    return this.#bytes.readUInt32BE(this.#skip(4));
  }

  /** All ones read as UNAVAILABLE, what a number cannot hold otherwise as BEYOND. */
  u64(): number {
    const at = this.#skip(8);
    const high = this.#bytes.readUInt32BE(at);
    const low = this.#bytes.readUInt32BE(at + 4);
    if (high < 0x20_0000) return high * WORD + low;
    return high === 0xffff_ffff && low === 0xffff_ffff ? UNAVAILABLE : BEYOND;
  }

  /** How many items of at least `itemBytes` follow, which must have room in what is left. */
  count(itemBytes: number): number {
    const count = this.u32();
    if (count * itemBytes > this.left) {
      throw new P11WireError(`${count} items do not fit into ${this.left} bytes`);
    }
    return count;
  }

  /** A byte array; `null` is one that is not there. */
  array(): Buffer | null {
    const length = this.u32();
    if (length === NULL_LENGTH) return null;
    if (length >= ARRAY_MAX_BYTES) {
      throw new P11WireError(`no byte array has the length ${length}`);
    }
    const at = this.#skip(length);
    return this.#bytes.subarray(at, at + length);
  }

  /** Reads a byte array that must be these ASCII characters. */
  expect(text: string): void {
    const length = this.u32();
    if (length !== text.length) throw new P11WireError(`a signature is not ${text}`);
    const at = this.#skip(length);
    for (let i = 0; i < length; i += 1) {
      if (this.#bytes[at + i] !== text.charCodeAt(i)) {
        throw new P11WireError(`a signature is not ${text}`);
      }
    }
  }

  /** Goes past `count` bytes. @returns where they begin */
  #skip(count: number): number {
    const at = this.#at;
    if (count > this.#bytes.length - at) {
      throw new P11WireError(`${count} bytes are wanted where ${this.left} are left`);
    }
    this.#at = at + count;
    return at;
  }
}

/** Most frames are smaller than this and cost one allocation, from Node's pool. */
const FRAME_FIRST_BYTES = 256;

const HEAD_BYTES = 12;

/** Writes one frame: its head, which `end` completes, then its options and its body. */
export class P11Writer {
  #bytes = Buffer.allocUnsafe(FRAME_FIRST_BYTES);
  #at = HEAD_BYTES;
  readonly #bodyAt: number;

  /** `code` is the call's number on its connection, from 1 to 2^32 - 1. */
  constructor(code: number, options?: Uint8Array) {
    this.#bytes.writeUInt32BE(code, 0);
    this.#bytes.writeUInt32BE(options?.length ?? 0, 4);
    if (options) this.bytes(options);
    this.#bodyAt = this.#at;
  }

  u8(value: number): void {
    this.#reserve(1);
    this.#bytes[this.#at] = value;
    this.#at += 1;
  }

  u32(value: number): void {
    this.#reserve(4);
    this.#bytes.writeUInt32BE(value, this.#at);
    this.#at += 4;
  }

  /** Negative numbers are written in two's complement, so that UNAVAILABLE is all ones. */
  u64(value: number): void {
    this.#reserve(8);
    this.#bytes.writeUInt32BE(Math.floor(value / WORD) >>> 0, this.#at);
    this.#bytes.writeUInt32BE(value >>> 0, this.#at + 4);
    this.#at += 8;
  }

  /** Bytes without their length. */
  bytes(value: Uint8Array): void {
    this.#reserve(value.length);
    this.#bytes.set(value, this.#at);
    this.#at += value.length;
  }

  /** A byte array, or one that is not there. */
  array(value: Uint8Array | null): void {
    if (value === null) {
      this.u32(NULL_LENGTH);
      return;
    }
    this.u32(value.length);
    this.bytes(value);
  }

  /** ASCII characters, as a byte array. */
  ascii(text: string): void {
    this.u32(text.length);
    this.#reserve(text.length);
    this.#at += this.#bytes.write(text, this.#at, 'latin1');
  }

  /** The whole frame. Nothing may be written after it. */
  end(): Buffer {
    this.#bytes.writeUInt32BE(this.#at - this.#bodyAt, 8);
    return this.#bytes.subarray(0, this.#at);
  }

  #reserve(count: number): void {
    const needed = this.#at + count;
    if (needed <= this.#bytes.length) return;
    const grown = Buffer.allocUnsafe(Math.max(needed, this.#bytes.length * 2));
    grown.set(this.#bytes.subarray(0, this.#at));
    this.#bytes = grown;
  }
}
