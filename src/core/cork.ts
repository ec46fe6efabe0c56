import { LIMITS } from './limits.js';

/** What can hold writes back and then make them at once: a socket. */
interface Corkable {
  cork(): void;
  uncork(): void;
}

/**
 * Lets the messages of one turn of the event loop leave together: with many requests in flight, TLS
 * records and system calls are most of a message's cost. A long turn leaves in several batches, so
 * that the peer works on the first while we go on with the next.
 */
export class Cork {
  readonly #stream: Corkable;
  #held = 0;

  constructor(stream: Corkable) {
    this.#stream = stream;
  }

  /** To be called before each message is written. */
  hold(): void {
    if (this.#held === LIMITS.batch_messages_max) this.release();
    if (this.#held === 0) {
      this.#stream.cork();
      setImmediate(this.release);
    }
    this.#held += 1;
  }

  /** Writes what is held. */
  readonly release = (): void => {
    if (this.#held === 0) return;
    this.#held = 0;
    this.#stream.uncork();
  };
}
