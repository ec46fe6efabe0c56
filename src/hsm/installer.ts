import { Worker } from 'node:worker_threads';
import { monotonicOfProcess } from '../core/clock.js';
import { entryPath } from '../core/entry.js';
import { remainingMs, type Deadline } from '../core/deadline.js';
import { KeyspanError, isErrorCode } from '../core/errors.js';
import type { ClusterId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import type { Install, Installed, MadeRsa, MakeRsa } from './machine.js';

type Result = Installed | MadeRsa;

interface Waiting {
  readonly resolve: (result: Result) => void;
  readonly reject: (error: Error) => void;
}

interface Answer {
  readonly id: number;
  readonly result?: Result;
  readonly code?: string;
  readonly text?: string;
}

interface Settings {
  readonly directory: string;
  readonly cluster: ClusterId;
}

/** The main thread's side of one install-worker, started with its first work. */
class TokenThread {
  readonly #settings: Settings;
  readonly #waiting = new Map<number, Waiting>();
  #worker: Worker | undefined;
  #nextId = 1;

  constructor(settings: Settings) {
    this.#settings = settings;
  }

  start(): Worker {
    this.#worker ??= this.#open();
    return this.#worker;
  }

  ask(work: object, deadline: Deadline): Promise<Result> {
    if (this.#waiting.size >= LIMITS.channel_inflight_max) {
      return Promise.reject(new KeyspanError('HsmBusy'));
    }
    const id = this.#nextId;
    this.#nextId += 1;
    // the thread looks at the time when its turn comes: to hold keys back here would let it wait
    const until = monotonicOfProcess() + remainingMs(deadline);
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.start().postMessage({ id, ...work, until });
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
    if (answer.result) return waiting.resolve(answer.result);
    const code = isErrorCode(answer.code) ? answer.code : 'HsmDeviceError';
    waiting.reject(new KeyspanError(code, answer.text));
  }
}

/**
 * What the token takes so long for that it is done beside the main thread: writing keys, and making
 * RSA keys, each in a thread of its own, since the one takes milliseconds and the other seconds.
 */
export class Installer {
  readonly #writing: TokenThread;
  readonly #making: TokenThread;

  constructor(settings: Settings) {
    this.#writing = new TokenThread(settings);
    this.#making = new TokenThread(settings);
  }

  /** Starts the thread that writes ahead of the first key. */
  start(): Worker {
    return this.#writing.start();
  }

  readonly install: Install = async (masked, deadline) => {
    // a copy: the frame's memory is reused, and a view would carry its whole chunk across
    const work = { masked: Uint8Array.from(masked) };
    return (await this.#writing.ask(work, deadline)) as Installed;
  };

  readonly makeRsa: MakeRsa = async (make, deadline) =>
    (await this.#making.ask({ make }, deadline)) as MadeRsa;
}
