import { Batch } from '../core/batch.js';
import { CborWriter, decodeCborItem, encodeCborItem } from '../core/cbor.js';
import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';

const writer = new CborWriter();

const PREFIX_BYTES = 4;

/** @returns the length of the body, which stands in the writer's memory */
function writeBody(item: unknown): number {
  const length = writer.write(item);
  if (length > LIMITS.frame_size_max_bytes) {
    throw new KeyspanError('HsmBadFrame', `a frame of ${length} bytes is over the bound`);
  }
  return length;
}

function putFrame(target: Buffer, at: number, length: number): void {
  target.writeUInt32BE(length, at);
  writer.bytes.copy(target, at + PREFIX_BYTES, 0, length);
}

/** A frame: its length as four big-endian bytes, then one CBOR item (RFC 8949). */
export function encodeFrame(item: unknown): Buffer {
  const length = writeBody(item);
  const frame = Buffer.allocUnsafe(PREFIX_BYTES + length);
  putFrame(frame, 0, length);
  return frame;
}

/** CBOR without the prefix: for what is stored or wrapped rather than sent. */
export const encodeCbor = encodeCborItem;

/** @throws KeyspanError with `code` when the bytes are not one CBOR item */
export function decodeCbor(bytes: Uint8Array, code: 'HsmBadFrame' | 'HsmBadRecord'): unknown {
  try {
    return decodeCborItem(bytes);
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

/** Writes the frames of one turn of the event loop together. */
export class FrameWriter {
  readonly #batch: Batch;

  constructor(write: (bytes: Buffer) => void) {
    this.#batch = new Batch(write, LIMITS.batch_frames_max);
  }

  push(item: unknown): void {
    const length = writeBody(item);
    const at = this.#batch.begin(PREFIX_BYTES + length);
    putFrame(this.#batch.slab, at, length);
    this.#batch.end();
  }

  flush(): void {
    this.#batch.flush();
  }
}
