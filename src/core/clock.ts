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

/** The machine's own clocks; `civilOffsetMs` is what the operator moved civil time by. */
export function systemClock(civilOffsetMs = 0): Clock {
  return { civil: () => Date.now() + civilOffsetMs, wire: () => Date.now(), monotonic };
}
