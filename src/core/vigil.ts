import { monotonic } from './clock.js';

/** How long a process stays awake for what it expects, in milliseconds. */
const WINDOW_MS = 0.25;
/** What comes so soon to one that sleeps would come in the window to one that is awake. */
const SOON_MS = 0.6;
/** One turn of the event loop takes microseconds: after so long somebody else had the core. */
const TAKEN_MS = 0.1;
/** So often in vain, or without the core, and it sleeps for a while. */
const STRIKES_MAX = 3;
const REST_MS = 40;

/**
 * Keeps a process awake for a moment while the next message is on its way: to be woken takes a
 * machine longer than most requests take altogether. That is for those who ask one thing after the
 * other. Whether somebody does is learned from how soon messages come. Where it does not pay, since
 * nothing came or others want the core (who answers may be among them), it rests.
 */
export class Vigil {
  /** messages in a row that came soon */
  #soon = 0;
  #strikes = 0;
  /** monotonic time of the last `expect`, while nothing has come */
  #since: number | undefined;
  #restUntil = 0;
  #isAwake = false;
  #lastTurn = 0;

  /** It is time for the next message. */
  expect(): void {
    const now = monotonic();
    this.#since = now;
    if (this.#isAwake || this.#soon === 0 || now < this.#restUntil) return;
    this.#isAwake = true;
    this.#lastTurn = now;
    setImmediate(this.#turn);
  }

  /** There is more than one message on its way: those do not wait for each other. */
  forget(): void {
    this.#since = undefined;
    this.#soon = 0;
  }

  /** It came, or something else did: nothing is expected any more. */
  came(): void {
    if (this.#since === undefined) return;
    const waited = monotonic() - this.#since;
    this.#since = undefined;
    this.#soon = waited < SOON_MS ? 1 : 0;
    if (this.#isAwake && this.#strikes > 0) this.#strikes -= 1;
  }

  #strike(now: number): void {
    this.#strikes += 2;
    if (this.#strikes < 2 * STRIKES_MAX) return;
    this.#strikes = 0;
    this.#restUntil = now + REST_MS;
  }

  readonly #turn = (): void => {
    const now = monotonic();
    const isTaken = now - this.#lastTurn > TAKEN_MS;
    this.#lastTurn = now;
    const since = this.#since;
    if (since !== undefined && !isTaken && now - since < WINDOW_MS) {
      setImmediate(this.#turn);
      return;
    }
    this.#isAwake = false;
    if (since !== undefined || isTaken) this.#strike(now);
  };
}

/** So long after more than one waited, somebody else may want the core. */
const CROWD_MS = 20;

/** Whether requests come one after the other or side by side. */
export class Crowd {
  #waiting = 0;
  #lastAt = -Infinity;

  enters(): void {
    this.#waiting += 1;
    if (this.#waiting > 1) this.#lastAt = monotonic();
  }

  leaves(): void {
    this.#waiting -= 1;
  }

  /** More than one waits, or did lately. */
  isThere(): boolean {
    return this.#waiting > 1 || monotonic() - this.#lastAt < CROWD_MS;
  }
}
