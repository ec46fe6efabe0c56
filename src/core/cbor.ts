/**
 * CBOR (RFC 8949) as far as our messages, records and stored values need it: numbers, texts, bytes,
 * lists, maps with names, true, false, null and undefined. Nothing that a peer sends makes the
 * reader do more than its bytes ask for: there are no shared values and no classes, tags stand only
 * before maps and integers that are not long, and the nesting is bounded. Libraries for all of CBOR
 * act on tags by which a short message takes minutes, so that each message had to be looked
 * through before; and both took a quarter of the time of a request.
 */

/** How deep lists and maps may stand in one another; our own messages need five levels. */
const DEPTH_MAX = 64;
const MAJOR = { uint: 0, negative: 1, bytes: 2, text: 3, list: 4, map: 5, tag: 6 } as const;
const SIMPLE = { false: 0xf4, true: 0xf5, null: 0xf6, undefined: 0xf7, float64: 0xfb } as const;
const FLOAT16 = 25;
const FLOAT32 = 26;
const FLOAT64 = 27;
const INDEFINITE = 31;
const BREAK = 0xff;
/** A map whose names need not be text: what other encoders make of a JavaScript Map. */
const MAP_TAG = 259;
/** Integers beyond 64 bits, in bytes of which so few are no trouble: a request of wrong type. */
const BIG_INTEGER_TAG = 2;
const BIG_NEGATIVE_TAG = 3;
const BIG_INTEGER_MAX_BYTES = 23;
const UINT32 = 2 ** 32;

/**
 * Reads one item. Bytes in it share memory with `bytes`.
 * @throws Error when the bytes are not one plain item
 */
export function decodeCborItem(bytes: Uint8Array): unknown {
  const reader = new Reader(bytes);
  const item = reader.item(0);
  if (reader.at !== bytes.length) throw new Error('there is more than one item');
  return item;
}

/** Names of maps that were read before, by a hash of their bytes: most names are few. */
interface KnownName {
  readonly bytes: Uint8Array;
  readonly name: string;
}
const NAME_SLOTS = 512;
const names: (KnownName | undefined)[] = Array.from({ length: NAME_SLOTS }, () => undefined);

class Reader {
  readonly #bytes: Buffer;
  at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.isBuffer(bytes)
      ? bytes
      : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  item(depth: number): unknown {
    if (depth > DEPTH_MAX) throw new Error('the nesting is too deep');
    const head = this.#byte();
    const major = head >> 5;
    const info = head & 31;
    switch (major) {
      case MAJOR.uint:
        return this.#argument(info);
      case MAJOR.negative:
        return negative(this.#argument(info));
      case MAJOR.bytes:
        return this.#slice(this.#length(info));
      case MAJOR.text:
        return this.#text(this.#length(info));
      case MAJOR.list:
        return this.#list(info, depth);
      case MAJOR.map:
        return this.#map(info, depth);
      case MAJOR.tag:
        return this.#tagged(this.#length(info), depth);
      default:
        return this.#simple(head, info);
    }
  }

  #byte(): number {
    const byte = this.#bytes[this.at];
    if (byte === undefined) throw endsEarly();
    this.at += 1;
    return byte;
  }

  /** Goes on by `length` bytes. @returns where they begin */
  #skip(length: number): number {
    const start = this.at;
    this.at += length;
    if (this.at > this.#bytes.length) throw endsEarly();
    return start;
  }

  #argument(info: number): number | bigint {
    if (info < 24) return info;
    if (info === 24) return this.#byte();
    if (info === 25) return this.#bytes.readUInt16BE(this.#skip(2));
    if (info === 26) return this.#bytes.readUInt32BE(this.#skip(4));
    if (info !== 27) throw new Error('a head of an unknown form');
    const start = this.#skip(8);
    const high = this.#bytes.readUInt32BE(start);
    const value = high * UINT32 + this.#bytes.readUInt32BE(start + 4);
    return Number.isSafeInteger(value) ? value : this.#bytes.readBigUInt64BE(start);
  }

  /** A length beyond all memory ends early. */
  #length(info: number): number {
    if (info === INDEFINITE) throw new Error('a length is missing');
    return Number(this.#argument(info));
  }

  #slice(length: number): Buffer {
    const start = this.#skip(length);
    return this.#bytes.subarray(start, this.at);
  }

  #text(length: number): string {
    const start = this.#skip(length);
    return this.#bytes.toString('utf8', start, this.at);
  }

  #list(info: number, depth: number): unknown[] {
    const items: unknown[] = [];
    if (info === INDEFINITE) {
      while (!this.#isBreak()) items.push(this.item(depth + 1));
    } else {
      // each item has a byte at least: a wrong count ends with the bytes
      for (let left = this.#length(info); left > 0; left -= 1) items.push(this.item(depth + 1));
    }
    return items;
  }

  #map(info: number, depth: number): Record<string, unknown> {
    const members: Record<string, unknown> = {};
    if (info === INDEFINITE) {
      while (!this.#isBreak()) this.#member(members, depth + 1);
    } else {
      for (let left = this.#length(info); left > 0; left -= 1) this.#member(members, depth + 1);
    }
    return members;
  }

  #isBreak(): boolean {
    if (this.#bytes[this.at] !== BREAK) return false;
    this.at += 1;
    return true;
  }

  #member(members: Record<string, unknown>, depth: number): void {
    const name = this.#name(depth);
    const value = this.item(depth);
    if (name === '__proto__') {
      const settings = { enumerable: true, configurable: true, writable: true };
      Object.defineProperty(members, name, { ...settings, value });
    } else {
      members[name] = value;
    }
  }

  #name(depth: number): string {
    const head = this.#bytes[this.at] ?? 0;
    const length = head & 31;
    if (head >> 5 === MAJOR.text && length < 24 && length > 0) {
      this.at += 1;
      return this.#knownName(length);
    }
    const name = this.item(depth);
    if (typeof name !== 'string' && typeof name !== 'number') {
      throw new Error('a name is not a text');
    }
    return String(name);
  }

  /** Names, other than values, are no secrets: they may be kept. */
  #knownName(length: number): string {
    const start = this.#skip(length);
    const bytes = this.#bytes;
    const first = bytes[start] ?? 0;
    const last = bytes[this.at - 1] ?? 0;
    const slot = (length * 37 + first * 5 + last * 3) % NAME_SLOTS;
    const known = names[slot];
    if (known && holds(bytes, start, known.bytes, length)) return known.name;
    const name = bytes.toString('utf8', start, this.at);
    names[slot] = { bytes: Uint8Array.prototype.slice.call(bytes, start, this.at), name };
    return name;
  }

  #simple(head: number, info: number): unknown {
    if (head === SIMPLE.false) return false;
    if (head === SIMPLE.true) return true;
    if (head === SIMPLE.null) return null;
    if (head === SIMPLE.undefined) return undefined;
    if (info === FLOAT64) return this.#bytes.readDoubleBE(this.#skip(8));
    if (info === FLOAT32) return this.#bytes.readFloatBE(this.#skip(4));
    if (info === FLOAT16) return float16(this.#bytes.readUInt16BE(this.#skip(2)));
    throw new Error('a simple value that is not known');
  }

  #tagged(tag: number, depth: number): unknown {
    const next = this.#bytes[this.at] ?? 0;
    if (tag === MAP_TAG && next >> 5 === MAJOR.map) return this.item(depth);
    const isInteger = tag === BIG_INTEGER_TAG || tag === BIG_NEGATIVE_TAG;
    const isShort = next >> 5 === MAJOR.bytes && (next & 31) <= BIG_INTEGER_MAX_BYTES;
    if (!isInteger || !isShort) throw new Error(`the tag ${tag} is not plain`);
    this.at += 1;
    const digits = this.#slice(next & 31).toString('hex');
    const value = BigInt(`0x0${digits}`);
    return tag === BIG_INTEGER_TAG ? value : -1n - value;
  }
}

const endsEarly = (): Error => new Error('the item ends early');

function negative(value: number | bigint): number | bigint {
  if (typeof value === 'bigint') return -1n - value;
  const negated = -1 - value;
  return Number.isSafeInteger(negated) ? negated : -1n - BigInt(value);
}

function holds(bytes: Uint8Array, start: number, wanted: Uint8Array, length: number): boolean {
  if (wanted.length !== length) return false;
  for (let i = 0; i < length; i += 1) if (bytes[start + i] !== wanted[i]) return false;
  return true;
}

/** IEEE 754 binary16, as in RFC 8949, appendix D. */
function float16(bits: number): number {
  const sign = bits & 0x80_00 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3_ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent !== 0x1f) return sign * (fraction + 1_024) * 2 ** (exponent - 25);
  return fraction === 0 ? sign * Infinity : NaN;
}

const SCRATCH_BYTES = 32_768;
/** room for a head and for what is written without a look at the room that is left */
const MARGIN_BYTES = 16;
/** Texts that are no longer are tried as ASCII, without a call out of JavaScript. */
const ASCII_MAX_CHARS = 96;
const SHORT_BYTES = 32;

/**
 * Writes items into memory of its own, which the next item overwrites: who sends an item copies it
 * to where it leaves from, and nothing is allocated in between.
 */
export class CborWriter {
  #bytes: Buffer = Buffer.allocUnsafeSlow(SCRATCH_BYTES);
  #at = 0;

  /** where the item stands that was written last */
  get bytes(): Buffer {
    return this.#bytes;
  }

  /**
   * @returns the length of the item in bytes
   * @throws TypeError for what has no form here: functions, symbols, dates and the like
   */
  write(item: unknown): number {
    // what was large once need not be kept
    if (this.#bytes.length > 8 * SCRATCH_BYTES) this.#bytes = Buffer.allocUnsafeSlow(SCRATCH_BYTES);
    this.#at = 0;
    this.#item(item, 0);
    return this.#at;
  }

  #item(item: unknown, depth: number): void {
    if (this.#at + MARGIN_BYTES > this.#bytes.length) this.#grow(MARGIN_BYTES);
    switch (typeof item) {
      case 'string':
        return this.#text(item);
      case 'number':
        return this.#number(item);
      case 'object':
        return this.#object(item, depth);
      case 'boolean':
        return this.#put(item ? SIMPLE.true : SIMPLE.false);
      case 'undefined':
        return this.#put(SIMPLE.undefined);
      case 'bigint':
        return this.#bigint(item);
      default:
        throw new TypeError(`a ${typeof item} cannot be written`);
    }
  }

  #grow(more: number): void {
    const grown = Buffer.allocUnsafeSlow(2 * Math.max(this.#bytes.length, this.#at + more));
    this.#bytes.copy(grown, 0, 0, this.#at);
    this.#bytes = grown;
  }

  #put(byte: number): void {
    this.#bytes[this.#at] = byte;
    this.#at += 1;
  }

  /** A head of the shortest form; its argument is a whole number below 2^53. */
  #head(major: number, argument: number): void {
    const bytes = this.#bytes;
    const first = major << 5;
    if (argument < 24) {
      this.#put(first | argument);
    } else if (argument < 0x1_00) {
      bytes[this.#at] = first | 24;
      bytes[this.#at + 1] = argument;
      this.#at += 2;
    } else if (argument < 0x1_00_00) {
      bytes[this.#at] = first | 25;
      bytes[this.#at + 1] = argument >> 8;
      bytes[this.#at + 2] = argument & 0xff;
      this.#at += 3;
    } else if (argument < UINT32) {
      bytes[this.#at] = first | 26;
      this.#at = bytes.writeUInt32BE(argument, this.#at + 1);
    } else {
      bytes[this.#at] = first | 27;
      bytes.writeUInt32BE(Math.floor(argument / UINT32), this.#at + 1);
      this.#at = bytes.writeUInt32BE(argument % UINT32, this.#at + 5);
    }
  }

  #number(value: number): void {
    if (Number.isSafeInteger(value)) {
      if (value >= 0) this.#head(MAJOR.uint, value);
      else this.#head(MAJOR.negative, -1 - value);
      return;
    }
    this.#put(SIMPLE.float64);
    this.#at = this.#bytes.writeDoubleBE(value, this.#at);
  }

  #bigint(value: bigint): void {
    const isNegative = value < 0n;
    const rest = isNegative ? -1n - value : value;
    if (rest <= 0xffff_ffff_ffff_ffffn) {
      this.#put(((isNegative ? MAJOR.negative : MAJOR.uint) << 5) | 27);
      this.#at = this.#bytes.writeBigUInt64BE(rest, this.#at);
      return;
    }
    const hex = rest.toString(16);
    this.#head(MAJOR.tag, isNegative ? BIG_NEGATIVE_TAG : BIG_INTEGER_TAG);
    this.#blob(Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, 'hex'));
  }

  #text(text: string): void {
    const { length } = text;
    if (length <= ASCII_MAX_CHARS && this.#ascii(text, length)) return;
    const size = Buffer.byteLength(text, 'utf8');
    this.#head(MAJOR.text, size);
    if (this.#at + size + MARGIN_BYTES > this.#bytes.length) this.#grow(size + MARGIN_BYTES);
    this.#at += this.#bytes.write(text, this.#at, 'utf8');
  }

  /** @returns false when the text is not all ASCII; then nothing is written */
  #ascii(text: string, length: number): boolean {
    const start = this.#at;
    if (start + length + MARGIN_BYTES > this.#bytes.length) this.#grow(length + MARGIN_BYTES);
    this.#head(MAJOR.text, length);
    const bytes = this.#bytes;
    let at = this.#at;
    for (let i = 0; i < length; i += 1) {
      const unit = text.charCodeAt(i);
      if (unit > 0x7f) {
        this.#at = start;
        return false;
      }
      bytes[at] = unit;
      at += 1;
    }
    this.#at = at;
    return true;
  }

  #blob(blob: Uint8Array): void {
    const { length } = blob;
    this.#head(MAJOR.bytes, length);
    if (this.#at + length + MARGIN_BYTES > this.#bytes.length) this.#grow(length + MARGIN_BYTES);
    if (length > SHORT_BYTES) {
      this.#bytes.set(blob, this.#at);
    } else {
      const bytes = this.#bytes;
      const at = this.#at;
      for (let i = 0; i < length; i += 1) bytes[at + i] = blob[i] as number;
    }
    this.#at += length;
  }

  #object(item: object | null, depth: number): void {
    if (item === null) return this.#put(SIMPLE.null);
    if (depth >= DEPTH_MAX) throw new TypeError('the nesting is too deep');
    if (item instanceof Uint8Array) return this.#blob(item);
    if (Array.isArray(item)) {
      this.#head(MAJOR.list, item.length);
      for (const one of item) this.#item(one, depth + 1);
      return;
    }
    if (item instanceof Map) return this.#entries([...item], depth);
    if (!isRecord(item)) throw new TypeError('an object of this kind cannot be written');
    this.#members(item as Record<string, unknown>, depth);
  }

  #members(item: Readonly<Record<string, unknown>>, depth: number): void {
    const own = Object.keys(item);
    this.#head(MAJOR.map, own.length);
    for (const name of own) {
      this.#text(name);
      this.#item(item[name], depth + 1);
    }
  }

  #entries(entries: readonly (readonly [unknown, unknown])[], depth: number): void {
    this.#head(MAJOR.map, entries.length);
    for (const [name, value] of entries) {
      if (typeof name !== 'string') throw new TypeError('a name is not a text');
      this.#text(name);
      this.#item(value, depth + 1);
    }
  }
}

/** Whether an object is what its members are: a plain one, or one of a class of somebody's own. */
function isRecord(item: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(item);
  if (prototype === Object.prototype || prototype === null) return true;
  return Object.prototype.toString.call(item) === '[object Object]';
}

const writer = new CborWriter();

/** One item in memory of its own. @throws TypeError as `CborWriter.write` */
export function encodeCborItem(item: unknown): Buffer {
  const length = writer.write(item);
  const copy = Buffer.allocUnsafe(length);
  writer.bytes.copy(copy, 0, 0, length);
  return copy;
}
