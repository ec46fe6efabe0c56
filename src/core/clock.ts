/**
 * Three clocks (ARCHITECTURE §3, promise 11). They are handed to what needs them; nothing else
 * reads the time.
 */
export interface Clock {
  /**
   * Civil time in milliseconds since 1970: deletion, expiry, rotation, backups, policy dates.
   * An operator may move it.
   */
  civil(): number;
  /** Wire time in milliseconds since 1970: signatures, certificates. Always real. */
  wire(): number;
  /** Monotonic time in milliseconds from an arbitrary start: deadlines, lockouts, sessions. */
  monotonic(): number;
}

/** Milliseconds of a clock that never goes back, with fractions. */
export const monotonic = (): number => performance.now();

/**
 * As `monotonic`, with one start for all threads of the process: for what one thread tells another.
 */
export const monotonicOfProcess = (): number => Number(process.hrtime.bigint()) / 1e6;

/** The machine's own clocks. */
export const systemClock = (): Clock => new MovableClock();

/** The machine's own clocks, of which civil time can be moved while they are read. */
export class MovableClock implements Clock {
  readonly #listeners = new Set<() => void>();
  #offsetMs: number;

  /** @param offsetMs what civil time is ahead of the machine's */
  constructor(offsetMs = 0) {
    this.#offsetMs = offsetMs;
  }

  civil(): number {
    return Date.now() + this.#offsetMs;
  }

  wire(): number {
    return Date.now();
  }

  monotonic(): number {
    return monotonic();
  }

  /** what civil time is ahead of the machine's, in milliseconds */
  get offsetMs(): number {
    return this.#offsetMs;
  }

  /** Moves civil time; whoever waits for a point of it is told. */
  move(offsetMs: number): void {
    if (offsetMs === this.#offsetMs) return;
    this.#offsetMs = offsetMs;
    for (const listener of this.#listeners) listener();
  }

  /** Calls `listener` after each move. It must not throw. @returns what ends it */
  onMove(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }
}
