import { Encoder } from 'cbor-x/encode';
import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { decodePlainCbor } from './plain-cbor.js';

const encoder = new Encoder({ useRecords: false, tagUint8Array: false });

const PREFIX_BYTES = 4;

/** A frame: its length as four big-endian bytes, then one CBOR item (RFC 8949). */
export function encodeFrame(item: unknown): Buffer {
  const body = encoder.encode(item);
  if (body.length > LIMITS.frame_size_max_bytes) {
    throw new KeyspanError('HsmBadFrame', `a frame of ${body.length} bytes is over the bound`);
  }
  const frame = Buffer.allocUnsafe(PREFIX_BYTES + body.length);
  frame.writeUInt32BE(body.length, 0);
  body.copy(frame, PREFIX_BYTES);
  return frame;
}

/** CBOR without the prefix: for what is stored or wrapped rather than sent. */
export const encodeCbor = (item: unknown): Buffer => Buffer.from(encoder.encode(item));

/** @throws KeyspanError with `code` when the bytes are not one CBOR item */
export function decodeCbor(bytes: Uint8Array, code: 'HsmBadFrame' | 'HsmBadRecord'): unknown {
  try {
    return decodePlainCbor(bytes);
  } catch (cause) {
    throw new KeyspanError(code, 'the bytes are not well-formed CBOR', { cause });
  }
}

/** Cuts a stream of bytes into frames. Bytes values of a frame share memory with its chunk. */
export class FrameReader {
  #rest: Buffer = Buffer.alloc(0);

  /**
   * The complete frames that `chunk` ends.
   * @throws KeyspanError HsmBadFrame: the stream cannot be read on
   */
  push(chunk: Buffer): unknown[] {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const items: unknown[] = [];
    let at = 0;
    while (bytes.length - at >= PREFIX_BYTES) {
      const length = bytes.readUInt32BE(at);
      if (length === 0 || length > LIMITS.frame_size_max_bytes) {
        throw new KeyspanError('HsmBadFrame', `a frame of ${length} bytes is out of bounds`);
      }
      const end = at + PREFIX_BYTES + length;
      if (end > bytes.length) break;
      items.push(decodeCbor(bytes.subarray(at + PREFIX_BYTES, end), 'HsmBadFrame'));
      at = end;
    }
    this.#rest = at === bytes.length ? Buffer.alloc(0) : bytes.subarray(at);
    return items;
  }
}

/**
 * Collects the frames of one turn of the event loop and writes them with one system call: with
 * many requests in flight,
 * system calls are most of a request's cost.
 */
export class FrameWriter {
  readonly #write: (bytes: Buffer) => void;
  #frames: Buffer[] = [];

  constructor(write: (bytes: Buffer) => void) {
    this.#write = write;
  }

  push(item: unknown): void {
    this.#frames.push(encodeFrame(item));
    if (this.#frames.length === LIMITS.batch_frames_max) this.flush();
    else if (this.#frames.length === 1) setImmediate(() => this.flush());
  }

  flush(): void {
    if (this.#frames.length === 0) return;
    const frames = this.#frames;
    this.#frames = [];
    this.#write(frames.length === 1 ? (frames[0] as Buffer) : Buffer.concat(frames));
  }
}
