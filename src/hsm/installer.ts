import { Worker } from 'node:worker_threads';
import { entryPath } from '../core/entry.js';
import { hasPassed, type Deadline } from '../core/deadline.js';
import { KeyspanError, isErrorCode } from '../core/errors.js';
import type { ClusterId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import { TaskQueue } from '../core/queue.js';
import type { Installed } from './machine.js';

interface Waiting {
  readonly resolve: (installed: Installed) => void;
  readonly reject: (error: Error) => void;
}

interface Answer {
  readonly id: number;
  readonly installed?: Installed;
  readonly code?: string;
  readonly text?: string;
}

/** one that is worked on, and one that is ready when that is done */
const IN_THE_THREAD = 2;

/** The main thread's side of install-worker: one thread, started with the first key. */
export class Installer {
  readonly #settings: { readonly directory: string; readonly cluster: ClusterId };
  readonly #waiting = new Map<number, Waiting>();
  /** the rest waits here, where its deadline can be looked at */
  readonly #queue = new TaskQueue({
    concurrent: IN_THE_THREAD,
    waiting: LIMITS.channel_inflight_max,
    refusal: 'HsmBusy',
  });
  #worker: Worker | undefined;
  #nextId = 1;

  constructor(settings: { directory: string; cluster: ClusterId }) {
    this.#settings = settings;
  }

  /** Starts the thread ahead of the first key. */
  start(): Worker {
    this.#worker ??= this.#open();
    return this.#worker;
  }

  readonly install = (masked: Uint8Array, deadline: Deadline): Promise<Installed> => {
    // a copy: the frame's memory is reused, and a view would carry its whole chunk across
    const copy = Uint8Array.from(masked);
    return this.#queue.run(() => {
      if (hasPassed(deadline)) throw new KeyspanError('HsmDeadlineExceeded');
      return this.#send(copy);
    });
  };

  #send(masked: Uint8Array): Promise<Installed> {
    const id = this.#nextId;
    this.#nextId += 1;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.start().postMessage({ id, masked });
    });
  }

  #open(): Worker {
    const path = entryPath(import.meta.url, './install-worker.js');
    const worker = new Worker(path, { workerData: this.#settings });
    worker.unref();
    worker.on('message', (answer: Answer) => this.#settle(answer));
    // a thread that dies may have left the module in any state: the process ends and is started
    // again
    worker.on('error', (error) => {
      throw error;
    });
    return worker;
  }

  #settle(answer: Answer): void {
    const waiting = this.#waiting.get(answer.id);
    this.#waiting.delete(answer.id);
    if (!waiting) return;
    if (answer.installed) return waiting.resolve(answer.installed);
    const code = isErrorCode(answer.code) ? answer.code : 'HsmDeviceError';
    waiting.reject(new KeyspanError(code, answer.text));
  }
}
