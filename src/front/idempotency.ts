import { createHash } from 'node:crypto';
import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';

interface Remembered {
  readonly request: string;
  readonly answer: Promise<unknown>;
  readonly expiresMs: number;
}

/**
 * Answers of mutating requests that carried a token, for ten minutes: a client that lost its
 * connection before the answer came
 * sends the request again, and must not get a second key.
 */
export class Idempotency {
  readonly #now: () => number;
  readonly #answers = new Map<string, Remembered>();

  /** @param now monotonic milliseconds */
  constructor(now: () => number) {
    this.#now = now;
  }

  /**
   * Runs `work` once for a token of a principal. A failure is forgotten: the request changed
   * nothing, and may be tried again.
   * @throws KeyspanError ValidationException when the token belongs to another request
   */
  run<T>(
    key: { principal: string; token: string; request: Uint8Array | string },
    work: () => Promise<T>,
  ): Promise<T> {
    const name = `${key.principal} ${key.token}`;
    const request = createHash('sha256').update(key.request).digest('base64');
    const known = this.#answers.get(name);
    if (known && known.expiresMs > this.#now()) {
      if (known.request === request) return known.answer as Promise<T>;
      throw new KeyspanError('ValidationException', 'the token was used with another request');
    }
    this.#makeRoom();
    const answer = work();
    const expiresMs = this.#now() + LIMITS.idempotency_ttl_ms;
    const remembered = { request, answer, expiresMs };
    this.#answers.set(name, remembered);
    answer.catch(() => {
      // another may stand in its place by now
      if (this.#answers.get(name) === remembered) this.#answers.delete(name);
    });
    return answer;
  }

  /** The oldest goes first: entries stand in the order in which they expire. */
  #makeRoom(): void {
    const now = this.#now();
    for (const [name, { expiresMs }] of this.#answers) {
      const full = this.#answers.size >= LIMITS.idempotency_entries_max;
      if (!full && expiresMs > now) return;
      this.#answers.delete(name);
    }
  }
}
