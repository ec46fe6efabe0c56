import { LIMITS } from '../core/limits.js';

/**
 * Tells from heartbeats whether a process gives signs of life. It reads no clock: times are
 * monotonic milliseconds that are handed in.
 */
export class Pulse {
  #lastBeat: number;
  /** the last heartbeat that said that the main thread turns */
  #lastTurn: number;
  #lastLook: number;
  #silent = false;
  /** a heartbeat came: until then it is waited for longer */
  #isHeard = false;

  constructor(now: number) {
    this.#lastBeat = this.#lastTurn = this.#lastLook = now;
  }

  /**
   * Heartbeats came, the last of which says whether the main thread turned.
   * @returns whether a silence ends
   */
  beat(now: number, turned: boolean): boolean {
    this.#lastBeat = now;
    this.#isHeard = true;
    if (turned) this.#lastTurn = now;
    if (!this.#silent || this.#isQuiet(now)) return false;
    this.#silent = false;
    return true;
  }

  /**
   * To be called every LIMITS.heartbeat_interval_ms. A daemon that stood still itself has heard
   * nothing either: then the heartbeats that wait are read first.
   * @returns whether a silence begins
   */
  look(now: number): boolean {
    const late = now - this.#lastLook > 2 * LIMITS.heartbeat_interval_ms;
    this.#lastLook = now;
    if (late || this.#silent || !this.#isQuiet(now)) return false;
    this.#silent = true;
    return true;
  }

  /** No heartbeat at all, or a main thread that is busy for longer than any work takes. */
  #isQuiet(now: number): boolean {
    const { heartbeat_missed_ms, heartbeat_first_ms, hsm_busy_max_ms } = LIMITS;
    const bound = this.#isHeard ? heartbeat_missed_ms : heartbeat_first_ms;
    return now - this.#lastBeat > bound || now - this.#lastTurn > hsm_busy_max_ms;
  }
}
