import { LIMITS } from '../core/limits.js';

/**
 * Which ENI comes next, and after how long: pure decisions, no clock and no socket.
 * Endpoints are tried in turn. The first turn through all of them costs no wait; each further
 * one doubles the back-off, with jitter, so that clients that lost one HSM do not come back in
 * step.
 */
export class Failover {
  readonly #endpoints: readonly string[];
  readonly #random: () => number;
  /** index of the endpoint tried last; -1 before the first */
  #current = -1;
  /** failures since a connection was of use */
  #failures = 0;
  /** how many of the latest failures in a row were ones that waiting does not heal */
  #fatal = 0;

  /** `endpoints` has at least one member; the first is preferred. */
  constructor(endpoints: readonly string[], random: () => number = Math.random) {
    this.#endpoints = endpoints;
    this.#random = random;
  }

  /** The endpoint to try now. */
  next(): string {
    this.#current = (this.#current + 1) % this.#endpoints.length;
    return this.#endpoints[this.#current] ?? '';
  }

  /** A connection answered: what failed before no longer counts. */
  succeeded(): void {
    this.#failures = 0;
    this.#fatal = 0;
  }

  /** A connection could not be made or was lost; `fatal` when the next attempt would fail alike. */
  failed(options: { fatal: boolean }): void {
    this.#failures += 1;
    this.#fatal = options.fatal ? this.#fatal + 1 : 0;
  }

  /** Whether every endpoint was tried since one was of use. */
  get roundDone(): boolean {
    return this.#failures >= this.#endpoints.length;
  }

  /** Whether every endpoint refused this client for a reason that waiting does not heal. */
  get hopeless(): boolean {
    return this.#fatal >= this.#endpoints.length;
  }

  /** milliseconds to wait before the next attempt */
  delayMs(): number {
    const rounds = Math.floor(this.#failures / this.#endpoints.length);
    return rounds === 0 ? 0 : backoffMs(rounds, this.#random);
  }
}

/** Exponential back-off with jitter: half of the step is certain, half is chance. */
export function backoffMs(attempt: number, random: () => number = Math.random): number {
  const doubled = LIMITS.client_backoff_first_ms * 2 ** Math.min(attempt - 1, 16);
  const step = Math.min(LIMITS.client_backoff_max_ms, doubled);
  return step / 2 + (step / 2) * random();
}
