/** Until when a change does not decide yet, and what decides so long. */
interface Change<T> {
  /** undefined: there was nothing */
  readonly former: T | undefined;
  /** monotonic milliseconds */
  readonly until: number;
}

/** Changes of one fact that may wait at once: of more, the oldest goes at once. */
const WAITING_MAX = 64;

/**
 * Eventual consistency, as AWS has it, where it is asked for: a change of a fact decides only a
 * while after it was made. Of each fact it answers which version is in force.
 */
export class ConsistencyDelay<T> {
  readonly #delayMs: number;
  readonly #monotonic: () => number;
  readonly #current = new Map<string, T>();
  /** by path; the ones that changed last stand last */
  readonly #changes = new Map<string, Change<T>[]>();

  constructor(options: { readonly delayMs: number; readonly monotonic: () => number }) {
    this.#delayMs = options.delayMs;
    this.#monotonic = options.monotonic;
  }

  /** A fact that was there at the start: it is in force at once. */
  begin(path: string, value: T): void {
    this.#current.set(path, value);
  }

  /** What stands at `path` from now on; undefined: nothing. */
  change(path: string, value: T | undefined): void {
    const now = this.#monotonic();
    this.#forget(now);
    const waiting = this.#changes.get(path)?.filter(({ until }) => until > now) ?? [];
    waiting.push({ former: this.#current.get(path), until: now + this.#delayMs });
    if (waiting.length > WAITING_MAX) waiting.shift();
    this.#changes.delete(path);
    this.#changes.set(path, waiting);
    if (value === undefined) this.#current.delete(path);
    else this.#current.set(path, value);
  }

  /** What stands at `path`, whether it is in force or not. */
  current(path: string): T | undefined {
    return this.#current.get(path);
  }

  /** Whether there are changes at `path` that are not in force yet. */
  waits(path: string): boolean {
    const changes = this.#changes.get(path);
    return changes?.some(({ until }) => until > this.#monotonic()) ?? false;
  }

  /** What decides at this moment: the newest version that is old enough. */
  inForce(path: string): T | undefined {
    const changes = this.#changes.get(path);
    if (!changes) return this.#current.get(path);
    const now = this.#monotonic();
    const waiting = changes.find(({ until }) => until > now);
    return waiting ? waiting.former : this.#current.get(path);
  }

  /** All changes wait equally long: those that are over stand first. */
  #forget(now: number): void {
    for (const [path, changes] of this.#changes) {
      if (changes.some(({ until }) => until > now)) return;
      this.#changes.delete(path);
    }
  }
}
