import { Decoder } from 'cbor-x/decode';

const decoder = new Decoder({ useRecords: false, mapsAsObjects: true });
const mapDecoder = new Decoder({ useRecords: false, mapsAsObjects: false });

/** How deep lists and maps may stand in one another; our own messages need five levels. */
const DEPTH_MAX = 64;
const MAJOR = { bytes: 2, text: 3, list: 4, map: 5, tag: 6, simple: 7 } as const;
const INDEFINITE = 31;
const BREAK = 0xff;
/** A map whose names need not be text: what an encoder makes of a JavaScript Map. */
const MAP_TAG = 259;
/** Integers beyond 64 bits, in bytes of which so few are no trouble: a request of wrong type. */
const BIG_INTEGER_TAGS: ReadonlySet<number> = new Set([2, 3]);
const BIG_INTEGER_MAX_BYTES = 23;
const PROTO = Buffer.from('__proto__');

/**
 * Reads one CBOR item (RFC 8949) of a peer who is not trusted. The decoder alone is not for that:
 * it acts on tags, and some of them let a short message take minutes (big integers, whose digits
 * it adds one by one; shared values, which it reads again at each level). Our messages need
 * none, so
 * they are refused before it sees them, but for maps and integers that are not long.
 * @throws Error when the bytes are not one plain item
 */
export function decodePlainCbor(bytes: Uint8Array): unknown {
  const scan = new Scan(bytes);
  scan.item(0);
  if (scan.at !== bytes.length) throw new Error('there is more than one item');
  return scan.hasProto ? toObjects(mapDecoder.decode(bytes)) : (decoder.decode(bytes) as unknown);
}

/** Goes over the heads of all items and makes nothing. */
class Scan {
  readonly #bytes: Uint8Array;
  at = 0;
  /** a map has the name `__proto__`: the decoder would give the member another name */
  hasProto = false;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  item(depth: number): void {
    if (depth > DEPTH_MAX) throw new Error('the nesting is too deep');
    const bytes = this.#bytes;
    const head = bytes[this.at];
    if (head === undefined) throw new Error('the item ends early');
    this.at += 1;
    const major = head >> 5;
    const info = head & 31;
    if (info === INDEFINITE) return this.#indefinite(major, depth);
    const value = info < 24 ? info : this.#argument(info);
    if (major < MAJOR.bytes || major === MAJOR.simple) return;
    if (major === MAJOR.bytes || major === MAJOR.text) return this.#skip(value);
    if (major === MAJOR.tag) return this.#tagged(value, depth);
    // each item has a byte at least: a wrong count ends with the bytes
    for (let left = value; left > 0; left -= 1) {
      if (major === MAJOR.map) this.#name(depth);
      this.item(depth + 1);
    }
  }

  #argument(info: number): number {
    const length = 1 << (info - 24);
    if (length > 8) throw new Error('a head of an unknown form');
    let value = 0;
    for (let i = 0; i < length; i += 1) value = value * 256 + (this.#bytes[this.at + i] ?? 0);
    this.#skip(length);
    return value;
  }

  #skip(length: number): void {
    this.at += length;
    if (this.at > this.#bytes.length) throw new Error('the item ends early');
  }

  #indefinite(major: number, depth: number): void {
    if (major !== MAJOR.list && major !== MAJOR.map) throw new Error('a length is missing');
    while (this.#bytes[this.at] !== BREAK) {
      if (major === MAJOR.map) this.#name(depth);
      this.item(depth + 1);
    }
    this.at += 1;
  }

  #name(depth: number): void {
    const start = this.at;
    this.item(depth + 1);
    const isLong = this.at - start >= PROTO.length;
    if (isLong && PROTO.equals(this.#bytes.subarray(this.at - PROTO.length, this.at))) {
      this.hasProto = true;
    }
  }

  #tagged(tag: number, depth: number): void {
    const next = this.#bytes[this.at] ?? 0;
    const isMap = tag === MAP_TAG && next >> 5 === MAJOR.map;
    const isShort = next >> 5 === MAJOR.bytes && (next & 31) <= BIG_INTEGER_MAX_BYTES;
    if (!isMap && !(isShort && BIG_INTEGER_TAGS.has(tag))) {
      throw new Error(`the tag ${tag} is not plain`);
    }
    this.item(depth);
  }
}

/** Maps as objects, with members of their own whatever their names. */
function toObjects(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(toObjects);
  if (!(value instanceof Map)) return value;
  const members: object = {};
  for (const [name, member] of value as Map<unknown, unknown>) {
    if (typeof name !== 'string' && typeof name !== 'number') {
      throw new Error('a name is not a text');
    }
    const settings = { enumerable: true, configurable: true, writable: true };
    Object.defineProperty(members, String(name), { ...settings, value: toObjects(member) });
  }
  return members;
}
