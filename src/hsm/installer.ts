import { Worker } from 'node:worker_threads';
import { monotonicOfProcess } from '../core/clock.js';
import { entryPath } from '../core/entry.js';
import { remainingMs, type Deadline } from '../core/deadline.js';
import { KeyspanError, isErrorCode } from '../core/errors.js';
import type { ClusterId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
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

/** The main thread's side of install-worker: one thread, started with the first key. */
export class Installer {
  readonly #settings: { readonly directory: string; readonly cluster: ClusterId };
  readonly #waiting = new Map<number, Waiting>();
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
    if (this.#waiting.size >= LIMITS.channel_inflight_max) {
      return Promise.reject(new KeyspanError('HsmBusy'));
    }
    const id = this.#nextId;
    this.#nextId += 1;
    // the thread looks at the time when its turn comes: to hold keys back here would let it wait
    const until = monotonicOfProcess() + remainingMs(deadline);
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      // a copy: the frame's memory is reused, and a view would carry its whole chunk across
      this.start().postMessage({ id, masked: Uint8Array.from(masked), until });
    });
  };

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
