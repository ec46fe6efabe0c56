import { LIMITS } from './limits.js';

const SLAB_BYTES = 65_536;

/**
 * Collects the messages of one turn of the event loop and writes them at once: with many in
 * flight, system calls and TLS records are most of a message's cost. A long turn leaves in several
 * batches, so that the peer works on the first while we go on with the next.
 *
 * Messages are copied into slabs of memory, one behind the other: a buffer for each of them would
 * cost more than its bytes. What was written is never touched again.
 */
export class Batch {
  readonly #write: (bytes: Buffer) => void;
  readonly #messagesMax: number;
  #slab: Buffer = Buffer.alloc(0);
  /** what waits is `#slab` from `#from` to `#to` */
  #from = 0;
  #to = 0;
  /** messages that wait */
  #held = 0;

  /** @param write takes over the bytes that it gets */
  constructor(write: (bytes: Buffer) => void, messagesMax: number = LIMITS.batch_messages_max) {
    this.#write = write;
    this.#messagesMax = messagesMax;
  }

  /** bytes that wait */
  get length(): number {
    return this.#to - this.#from;
  }

  /**
   * Begins a message of `length` bytes: the caller fills `slab` from the index that this returns,
   * and then ends it, at once.
   */
  begin(length: number): number {
    if (this.#to + length > this.#slab.length) this.#renew(length);
    const at = this.#to;
    this.#to += length;
    return at;
  }

  /** The message that was begun is whole. */
  end(): void {
    this.#held += 1;
    if (this.#held === this.#messagesMax) this.flush();
    else if (this.#held === 1) setImmediate(this.flush);
  }

  /** where the message that was begun last belongs */
  get slab(): Buffer {
    return this.#slab;
  }

  /** Writes what waits. */
  readonly flush = (): void => {
    if (this.#held === 0) return;
    const bytes = this.#slab.subarray(this.#from, this.#to);
    this.#held = 0;
    this.#from = this.#to;
    this.#write(bytes);
  };

  /** What waits in a slab that is full is written from there. */
  #renew(length: number): void {
    this.flush();
    this.#slab = Buffer.allocUnsafeSlow(Math.max(SLAB_BYTES, length));
    this.#from = 0;
    this.#to = 0;
  }
}
