import type { Events } from '../audit/events.js';
import type { Call } from '../core/call.js';
import { keyArn } from '../core/arn.js';
import { deadlineIn, pause } from '../core/deadline.js';
import { isKeyspanError } from '../core/errors.js';
import { newRequestId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import type { Logger } from '../core/log.js';
import type { Store } from '../store/store.js';
import { DueKeys, duePath, type DueKey } from './due-keys.js';
import { removeKey } from './key-removal.js';
import type { KmsParts } from './request.js';
import { rotateDueKey } from './rotation.js';

/** Steps of a job at which a fault can strike: just after each was made. */
export type JobStep = 'removal.begun' | 'removal.portion' | 'removal.done' | 'rotation.done';

export interface KeyJobsOptions {
  readonly kms: KmsParts;
  readonly store: Store;
  readonly events: Events;
  readonly log: Logger;
  /** while it says so nothing is done: the store may be an old copy, which decides nothing */
  readonly isHeld?: (() => boolean) | undefined;
  /** only with faults: a step of the work was made */
  readonly step?: ((name: JobStep) => Promise<void>) | undefined;
}

/** What audit lines say of work that nobody asked for, in CloudTrail's words. */
const ITSELF = 'AWS Internal';

/**
 * Removes keys and rotates them when their day comes by civil time. It looks at the key that comes
 * due first and sleeps until then; a time that passed while no daemon ran is made up for. Several
 * daemons may do it at once: commits are conditional, and one of them wins.
 */
export class KeyJobs implements AsyncDisposable {
  readonly #options: KeyJobsOptions;
  readonly #closing = new AbortController();
  #due!: DueKeys;
  #awake = new AbortController();
  /** how long to wait after a pass in which something failed, longer each time */
  #retryMs: number = LIMITS.kms_jobs_retry_first_ms;
  /** false for the rest of a pass in which no vault made a material: each would keep it waiting */
  #canRotate = true;
  #work: Promise<void> = Promise.resolve();

  private constructor(options: KeyJobsOptions) {
    this.#options = options;
  }

  /** @throws StoreClosed, StoreFailed */
  static async open(options: KeyJobsOptions): Promise<KeyJobs> {
    const jobs = new KeyJobs(options);
    jobs.#due = await DueKeys.open(options.store, () => jobs.wake());
    return jobs;
  }

  start(): void {
    this.#work = this.#walk();
  }

  /** Looks anew: civil time was moved, or a key comes due sooner. */
  wake(): void {
    this.#awake.abort();
  }

  async #walk(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      this.#awake = new AbortController();
      const restMs = await this.run();
      await pause(restMs, AbortSignal.any([this.#awake.signal, signal]));
    }
  }

  /** Does what is due now, each once. @returns after how many milliseconds to look again */
  async run(): Promise<number> {
    const { kms, log, isHeld } = this.#options;
    let failures = 0;
    this.#canRotate = true;
    try {
      if (isHeld?.()) return LIMITS.kms_jobs_retry_first_ms;
      for (let due = this.#due.next(); due; due = this.#due.next(due)) {
        if (this.#closing.signal.aborted) return 0;
        const inMs = due.atMs - kms.clock.civil();
        if (inMs > 0) return this.#rest(failures, inMs);
        if (!(await this.#serve(due))) failures += 1;
      }
    } catch (error) {
      failures += 1;
      log.warn({ err: error }, 'what keys are due for could not be read');
    }
    return this.#rest(failures, LIMITS.kms_jobs_look_ms);
  }

  #rest(failures: number, inMs: number): number {
    if (failures === 0) {
      this.#retryMs = LIMITS.kms_jobs_retry_first_ms;
      return Math.min(Math.ceil(inMs), LIMITS.kms_jobs_look_ms);
    }
    const restMs = Math.min(this.#retryMs, Math.ceil(inMs));
    this.#retryMs = Math.min(2 * this.#retryMs, LIMITS.kms_jobs_retry_max_ms);
    return restMs;
  }

  /** @returns false when it has to be tried again */
  async #serve(due: DueKey): Promise<boolean> {
    const { kms, log } = this.#options;
    const call: Call = {
      requestId: newRequestId(),
      deadline: deadlineIn(LIMITS.request_timeout_ms),
    };
    try {
      await kms.facts.catchUp(call.deadline);
      const key = kms.facts.standing(due.account, due.region, due.id);
      // the index may show what was, for a moment
      if (!key || duePath(key) !== due.path) return true;
      if (key.state === 'PendingDeletion') await this.#remove(due, call);
      else if (this.#canRotate) await this.#rotate(due, call);
      else return false;
      return true;
    } catch (error) {
      if (this.#closing.signal.aborted) return true;
      if (isKeyspanError(error) && error.code.startsWith('Vault')) this.#canRotate = false;
      log.warn({ err: error, key: due.id }, 'what a key is due for is tried again');
      return false;
    }
  }

  async #remove(due: DueKey, call: Call): Promise<void> {
    const { kms, step } = this.#options;
    await step?.('removal.begun');
    await removeKey(kms, due, call, async (removed) => {
      if (removed === 'done') this.#told('DeleteKey', due, call);
      await step?.(`removal.${removed}`);
    });
  }

  async #rotate(due: DueKey, call: Call): Promise<void> {
    const { kms, step } = this.#options;
    if ((await rotateDueKey(kms, due, call)) === undefined) return;
    this.#told('RotateKey', due, call);
    await step?.('rotation.done');
  }

  #told(action: 'DeleteKey' | 'RotateKey', due: DueKey, { requestId }: Call): void {
    const { events, log } = this.#options;
    const resource = keyArn(due.region, due.account, due.id);
    const principal = ITSELF;
    events.requestEvent({ requestId, door: 'job', principal, action, resource, latencyMs: 0 });
    log.info({ key: due.id, action }, 'the day of a key came');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    await this.#work;
    await this.#due[Symbol.asyncDispose]();
  }
}
