import { hasPassed, type Deadline } from '../core/deadline.js';
import { KeyspanError } from '../core/errors.js';
import { InFlight } from '../core/in-flight.js';
import { LIMITS } from '../core/limits.js';
import type { ServiceError } from './service-error.js';

/** What the service said to one request. */
export interface Answer {
  readonly result: Readonly<Record<string, unknown>>;
  /** the HSM that did the work, when one did */
  readonly hsm?: string;
}

/** How one request is to be treated. */
export interface CallOptions {
  readonly timeoutMs?: number;
  /**
   * Names a request that changes something, so that sending it twice does it once (for ten
   * minutes). The client makes one unless given.
   */
  readonly token?: string;
  readonly signal?: AbortSignal;
  /** false: the request is sent at most once, and its error is the first one */
  readonly retries?: boolean;
}

/** Where the end of a request is told. */
export interface Settlement {
  resolve: (answer: Answer) => void;
  reject: (error: unknown) => void;
}

/** One request from its call to its answer. */
export interface Request<Via> {
  readonly id: number;
  /** encoded once: what the caller does to its parameters afterwards changes nothing */
  readonly message: Uint8Array | string;
  readonly deadline: Deadline;
  /** whether it may be sent more than once */
  readonly retries: boolean;
  readonly settlement: Settlement;
  state: 'waiting' | 'resting' | 'in flight' | 'done';
  /** how often it was sent */
  sends: number;
  /** the connection it is in flight on; undefined while it waits */
  via: Via | undefined;
  /** monotonic milliseconds before which it is not sent again */
  notBefore: number;
  /** the answer that another attempt is to better */
  refusal: ServiceError | undefined;
}

/** Places of a queue that may be empty before it is moved up. */
const TAKEN_MAX = 1_024;

/**
 * The requests of a client by their state: waiting (to be sent), resting (sent again after a
 * back-off) or in flight. Bookkeeping alone: it sends nothing and reads no clock.
 */
export class Requests<Via> {
  readonly #all = new InFlight<Request<Via>>();
  readonly #resting = new Set<Request<Via>>();
  /** those that wait, and from `#first` on some that do no more */
  #queue: Request<Via>[] = [];
  #first = 0;
  #waiting = 0;

  get size(): number {
    return this.#all.size;
  }

  /** whether one more may be sent over one connection */
  get mayFly(): boolean {
    const inFlight = this.#all.size - this.#waiting - this.#resting.size;
    return inFlight < LIMITS.client_inflight_max;
  }

  get waiting(): number {
    return this.#waiting;
  }

  /** the id of the next request */
  get nextId(): number {
    return this.#all.next;
  }

  /** Adds a request with the id `nextId`. */
  add(request: Request<Via>): void {
    this.#all.add(request);
    this.#wait(request);
  }

  get(id: number): Request<Via> | undefined {
    return this.#all.get(id);
  }

  /** The oldest waiting request, which is in flight over `via` from now on. */
  take(via: Via): Request<Via> | undefined {
    for (;;) {
      const request = this.#queue[this.#first];
      if (!request) return undefined;
      this.#first += 1;
      if (this.#first === this.#queue.length || this.#first >= TAKEN_MAX) this.#forgetTaken();
      if (request.state !== 'waiting') continue;
      this.#waiting -= 1;
      request.state = 'in flight';
      request.via = via;
      request.sends += 1;
      return request;
    }
  }

  remove(request: Request<Via>): void {
    this.#all.remove(request.id);
    if (request.state === 'waiting') this.#waiting -= 1;
    if (request.state === 'resting') this.#resting.delete(request);
    request.state = 'done';
  }

  rest(request: Request<Via>, notBefore: number): void {
    request.state = 'resting';
    request.via = undefined;
    request.notBefore = notBefore;
    this.#resting.add(request);
  }

  /**
   * Takes back what was in flight over a lost connection: it waits for the next one.
   * @returns the requests that may not be sent again; they are forgotten here
   */
  lose(via: Via): Request<Via>[] {
    const lost = this.#list().filter((request) => request.via === via);
    const given = lost.filter(({ retries, sends }) => !retries || sends >= LIMITS.client_sends_max);
    for (const request of given) this.remove(request);
    for (const request of lost) {
      request.via = undefined;
      if (request.state === 'in flight') this.#wait(request);
    }
    return given;
  }

  /**
   * Wakes what has rested long enough.
   * @returns the requests whose deadline passed; they are forgotten here
   */
  sweep(now: number): Request<Via>[] {
    for (const request of this.#resting) {
      if (request.notBefore > now) continue;
      this.#resting.delete(request);
      this.#wait(request);
    }
    const late = this.#list().filter(({ deadline }) => deadline <= now);
    for (const request of late) this.remove(request);
    return late;
  }

  /** Forgets all requests and returns them. */
  clear(): Request<Via>[] {
    const all = this.#list();
    for (const request of all) this.remove(request);
    return all;
  }

  #list(): Request<Via>[] {
    return this.#all.entries().map(([, request]) => request);
  }

  #wait(request: Request<Via>): void {
    request.state = 'waiting';
    this.#queue.push(request);
    this.#waiting += 1;
  }

  #forgetTaken(): void {
    this.#queue.splice(0, this.#first);
    this.#first = 0;
  }
}

/** Whether a refused request still has the time and the right to another attempt. */
export function mayRetry(request: Request<unknown>): boolean {
  return request.retries && request.sends < LIMITS.client_sends_max && !hasPassed(request.deadline);
}

/** Why a request that ran out of time failed: the service's last word, if it had one. */
export function lateness(request: Request<unknown>): Error {
  if (request.refusal) return request.refusal;
  if (request.sends > 0) return new KeyspanError('KeyspanDeadlineExceeded');
  return new KeyspanError('KeyspanConnection', 'no ENI could be reached before the deadline');
}
