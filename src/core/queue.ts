import { KeyspanError, type ErrorCode } from './errors.js';

/**
 * Runs at most `concurrent` tasks at once and lets at most `waiting` more wait, first come
 * first served.
 * What does not fit is refused at once, so that a load that is too high is seen and not stored.
 */
export class TaskQueue {
  readonly #concurrent: number;
  readonly #waitingMax: number;
  readonly #refusal: ErrorCode;
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(options: { concurrent: number; waiting: number; refusal: ErrorCode }) {
    this.#concurrent = options.concurrent;
    this.#waitingMax = options.waiting;
    this.#refusal = options.refusal;
  }

  /** tasks that run or wait */
  get depth(): number {
    return this.#running + this.#waiting.length;
  }

  /** @throws KeyspanError with the queue's refusal code when it is full */
  async run<T>(task: () => Promise<T>): Promise<T> {
    if (this.#running >= this.#concurrent) {
      if (this.#waiting.length >= this.#waitingMax) throw new KeyspanError(this.#refusal);
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else {
      this.#running += 1;
    }
    try {
      return await task();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#running -= 1;
    }
  }
}
