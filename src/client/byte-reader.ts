import { asBuffer } from '../core/bytes.js';

/** A piece of a stream; `last` when nothing follows. */
export interface Block {
  /** valid until the next block is asked for */
  readonly bytes: Buffer;
  readonly last: boolean;
}

/** Reads a stream of pieces of any size in pieces of the reader's choice. */
export class ByteReader {
  readonly #source: AsyncIterator<Uint8Array>;
  /** what was read but not yet asked for */
  #left: Buffer = Buffer.alloc(0);
  #ended = false;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** `length` bytes, or fewer when the stream ends before. */
  async read(length: number): Promise<Buffer> {
    const bytes = Buffer.alloc(length);
    let filled = 0;
    while (filled < length && (await this.#fill())) {
      const copied = this.#left.copy(bytes, filled);
      this.#left = this.#left.subarray(copied);
      filled += copied;
    }
    return bytes.subarray(0, filled);
  }

  /**
   * The rest of the stream in blocks of `size` bytes, of which the last may be shorter; an empty
   * rest is one empty block. A block is known to be the last because the stream ended behind it.
   */
  async *blocks(size: number): AsyncGenerator<Block> {
    const bytes = Buffer.alloc(size);
    let filled = 0;
    try {
      while (await this.#fill()) {
        if (filled === size) {
          yield { bytes, last: false };
          filled = 0;
        }
        const copied = this.#left.copy(bytes, filled);
        this.#left = this.#left.subarray(copied);
        filled += copied;
      }
      yield { bytes: bytes.subarray(0, filled), last: true };
    } finally {
      bytes.fill(0);
    }
  }

  /** Lets the source know that nothing more is read. */
  async close(): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    await this.#source.return?.();
  }

  /** Makes sure that something is left to take; false at the end of the stream. */
  async #fill(): Promise<boolean> {
    while (this.#left.length === 0) {
      if (this.#ended) return false;
      const { done, value } = await this.#source.next();
      if (done) this.#ended = true;
      else this.#left = asBuffer(value);
    }
    return true;
  }
}
