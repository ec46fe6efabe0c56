import { LIMITS } from '../core/limits.js';

/** UTF-8 takes so many bytes for one unit of a JavaScript string at most. */
const BYTES_PER_UNIT = 3;

/**
 * Memory that texts are written into one behind the other, again and again: new memory for each
 * write of the log would cost more than its lines do.
 */
export class WriteBuffer {
  #bytes: Buffer = Buffer.allocUnsafeSlow(LIMITS.audit_slab_bytes);
  #length = 0;

  /** What was pushed since the last reset, until the next one. */
  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  /** Forgets what is in it; a large one becomes small again. */
  reset(): void {
    this.#length = 0;
    if (this.#bytes.length <= LIMITS.audit_slab_kept_bytes) return;
    this.#bytes = Buffer.allocUnsafeSlow(LIMITS.audit_slab_bytes);
  }

  push(text: string): void {
    const needed = this.#length + text.length * BYTES_PER_UNIT;
    if (needed > this.#bytes.length) this.#grow(needed);
    this.#length += this.#bytes.write(text, this.#length, 'utf8');
  }

  #grow(needed: number): void {
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, this.#bytes.length * 2));
    larger.set(this.bytes);
    this.#bytes = larger;
  }
}
