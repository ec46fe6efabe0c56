import { monotonic } from './clock.js';

/** How long a process stays awake for what it expects, in milliseconds. */
const WINDOW_MS = 0.5;
/** What comes so soon without it would have come to one that is awake in time. */
const SOON_MS = 2 * WINDOW_MS;
/** One turn of the event loop takes microseconds: after so long somebody else had the core. */
const TAKEN_MS = 0.3;
/** Where others want the core, none of it is spent on waiting for so long. */
const REST_MS = 5;
const CREDIT_MAX = 16;
const LOSS = 1;

/**
 * Keeps a process awake for a moment while the next message is on its way: to be woken takes a
 * machine longer than most requests take altogether. That is for those who ask one thing after the
 * other. Whether somebody does is learned from how soon messages come; what was waited for in vain
 * is paid for with not waiting, and where others want the core nobody waits.
 */
export class Vigil {
  /** above 0: it is worth it */
  #credit = 0;
  /** monotonic time of the last `expect`, while nothing has come */
  #since: number | undefined;
  #restUntil = 0;
  #isAwake = false;
  #lastTurn = 0;

  /** It is time for the next message. */
  expect(): void {
    const now = monotonic();
    this.#since = now;
    if (this.#isAwake || this.#credit <= 0 || now < this.#restUntil) return;
    this.#isAwake = true;
    this.#lastTurn = now;
    setImmediate(this.#turn);
  }

  /** There is more than one message on its way: those do not wait for each other. */
  forget(): void {
    this.#since = undefined;
  }

  /** It came, or something else did: nothing is expected any more. */
  came(): void {
    if (this.#since === undefined) return;
    const isSoon = monotonic() - this.#since < SOON_MS;
    this.#since = undefined;
    if (isSoon && this.#credit < CREDIT_MAX) this.#credit += 1;
  }

  readonly #turn = (): void => {
    const now = monotonic();
    const isTaken = now - this.#lastTurn > TAKEN_MS;
    this.#lastTurn = now;
    const since = this.#since;
    if (isTaken && since !== undefined) {
      this.#credit = 0;
      this.#restUntil = now + REST_MS;
    } else if (since !== undefined && now - since < WINDOW_MS) {
      setImmediate(this.#turn);
      return;
    } else if (since !== undefined) this.#credit -= LOSS;
    this.#isAwake = false;
  };
}
