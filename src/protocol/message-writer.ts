import { randomFillSync } from 'node:crypto';
import { Batch } from '../core/batch.js';

const FINAL = 0x80;
const MASKED = 0x80;
const OPCODE = { text: 1, binary: 2 } as const;
const LENGTH_16 = 126;
const LENGTH_64 = 127;
const SHORT_MAX = 125;
const UINT16_MAX = 0xff_ff;
const MASK_BYTES = 4;
const MASKS_BYTES = 4_096;

/** A WebSocket message: a text, or the first `length` bytes of a binary one. */
export type Message = string | { readonly bytes: Uint8Array; readonly length: number };

/**
 * Frames WebSocket messages (RFC 6455 §5.2, one frame each) and writes those of one turn of the
 * event loop together. The library that reads the other way and keeps the connection would write
 * each message by itself: at tens of thousands a second that is a tenth of all work.
 */
export class MessageWriter {
  readonly #batch: Batch;
  readonly #isMasked: boolean;
  /** random, for masks to come */
  readonly #masks = Buffer.alloc(MASKS_BYTES);
  #nextMask = MASKS_BYTES;

  /** @param end a client's frames are masked (RFC 6455 §5.3) */
  constructor(end: 'client' | 'server', write: (bytes: Buffer) => void) {
    this.#batch = new Batch(write);
    this.#isMasked = end === 'client';
  }

  push(message: Message): void {
    if (typeof message !== 'string') {
      this.#frame(OPCODE.binary, message.bytes, message.length);
    } else {
      const bytes = Buffer.from(message, 'utf8');
      this.#frame(OPCODE.text, bytes, bytes.length);
    }
    this.#batch.end();
  }

  /** Writes what waits. */
  flush(): void {
    this.#batch.flush();
  }

  #frame(opcode: number, bytes: Uint8Array, length: number): void {
    const head = length <= SHORT_MAX ? 2 : length <= UINT16_MAX ? 4 : 10;
    const masks = this.#isMasked ? MASK_BYTES : 0;
    const start = this.#batch.begin(head + masks + length);
    const { slab } = this.#batch;
    const flag = this.#isMasked ? MASKED : 0;
    slab[start] = FINAL | opcode;
    if (head === 2) {
      slab[start + 1] = flag | length;
    } else if (head === 4) {
      slab[start + 1] = flag | LENGTH_16;
      slab.writeUInt16BE(length, start + 2);
    } else {
      slab[start + 1] = flag | LENGTH_64;
      slab.writeBigUInt64BE(BigInt(length), start + 2);
    }
    const at = start + head;
    if (this.#isMasked) this.#mask(slab, at, bytes, length);
    else slab.set(bytes.length === length ? bytes : bytes.subarray(0, length), at);
  }

  /** Puts a mask and the bytes under it. */
  #mask(slab: Buffer, at: number, bytes: Uint8Array, length: number): void {
    if (this.#nextMask === MASKS_BYTES) {
      randomFillSync(this.#masks);
      this.#nextMask = 0;
    }
    const masks = this.#masks;
    const mask = this.#nextMask;
    this.#nextMask += MASK_BYTES;
    for (let i = 0; i < MASK_BYTES; i += 1) slab[at + i] = masks[mask + i] as number;
    const body = at + MASK_BYTES;
    for (let i = 0; i < length; i += 1) {
      slab[body + i] = (bytes[i] as number) ^ (masks[mask + (i & 3)] as number);
    }
  }
}
