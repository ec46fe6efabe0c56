import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { WebSocket } from 'ws';
import { within, deadlineIn } from '../../src/core/deadline.js';
import {
  decodeMessage,
  encodeMessage,
  type Subprotocol,
} from '../../src/protocol/client-frames.js';

export interface DoorSocketOptions {
  readonly url: string;
  readonly ca: string;
  readonly certificate?: string | undefined;
  readonly privateKey?: string | undefined;
  readonly subprotocol?: Subprotocol;
  readonly maxVersion?: 'TLSv1.2' | 'TLSv1.3';
  /** of the upgrade, beside what makes it one */
  readonly headers?: Readonly<Record<string, string>>;
}

export interface Message {
  readonly id?: number | string | null;
  readonly result?: Readonly<Record<string, unknown>>;
  readonly error?: { readonly code: string; readonly message: string };
  readonly hsm?: string;
  readonly event?: string;
  readonly data?: Readonly<Record<string, unknown>>;
}

const PATIENCE_MS = 30_000;

/** A peer that speaks the WebSocket door's protocol by hand, and can speak it wrongly. */
export class DoorSocket implements AsyncDisposable {
  readonly webSocket: WebSocket;
  readonly received: Message[] = [];
  readonly #subprotocol: Subprotocol;
  readonly #waiting = new Set<() => void>();
  closeCode: number | undefined;

  private constructor(webSocket: WebSocket, subprotocol: Subprotocol) {
    this.webSocket = webSocket;
    this.#subprotocol = subprotocol;
    webSocket.on('message', (data) => {
      this.received.push(decodeMessage(subprotocol, data as Buffer) as Message);
      this.#wake();
    });
    webSocket.on('error', () => undefined);
    webSocket.on('close', (code) => {
      this.closeCode = code;
      this.#wake();
    });
  }

  static async open(options: DoorSocketOptions): Promise<DoorSocket> {
    const { url, subprotocol = 'keyspan.v1.json' } = options;
    const webSocket = new WebSocket(url, subprotocol, tlsOf(options));
    const socket = new DoorSocket(webSocket, subprotocol);
    await within(once(webSocket, 'open'), deadlineIn(PATIENCE_MS), 'the upgrade');
    return socket;
  }

  /** Sends bytes or text as they are, in one message. */
  raw(data: string | Uint8Array): void {
    this.webSocket.send(data);
  }

  send(message: object): void {
    this.raw(encodeMessage(this.#subprotocol, message));
  }

  async call(action: string, params: object = {}, more: object = {}): Promise<Message> {
    const id = `call-${(DoorSocket.#calls += 1)}`;
    this.send({ id, action, params, ...more });
    return await this.until((message) => message.id === id);
  }

  static #calls = 0;

  /** The code of the error that an action ends with; the answer itself if there is none. */
  async refusal(action: string, params: object = {}): Promise<unknown> {
    const answer = await this.call(action, params);
    return answer.error?.code ?? answer;
  }

  /** The first message that fits, past or to come. */
  async until(fits: (message: Message) => boolean): Promise<Message> {
    return await this.#until(() => this.received.find(fits), 'a message');
  }

  /** The code with which the connection ends. */
  async closed(): Promise<number> {
    return await this.#until(() => this.closeCode, 'the end of the connection');
  }

  async #until<T>(look: () => T | undefined, what: string): Promise<T> {
    const deadline = deadlineIn(PATIENCE_MS);
    for (;;) {
      const found = look();
      if (found !== undefined) return found;
      if (this.closeCode !== undefined) {
        throw new Error(`closed with ${this.closeCode} while waiting for ${what}`);
      }
      const woken = new Promise<void>((resolve) => this.#waiting.add(resolve));
      await within(woken, deadline, what);
    }
  }

  #wake(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.webSocket.terminate();
    await Promise.resolve();
  }
}

const tlsOf = (options: DoorSocketOptions): object => ({
  ca: options.ca,
  cert: options.certificate,
  key: options.privateKey,
  perMessageDeflate: false,
  headers: options.headers,
  ...(options.maxVersion ? { maxVersion: options.maxVersion } : {}),
});

/**
 * Tries an upgrade that shall not succeed. @returns the HTTP status, or the error that ended the
 * connection before there was one
 */
export async function refusedUpgrade(
  options: Omit<DoorSocketOptions, 'subprotocol'> & {
    readonly subprotocols?: string[];
    readonly path?: string;
  },
): Promise<number | 'cut' | 'opened'> {
  const { subprotocols = ['keyspan.v1.json'], path } = options;
  const url = path === undefined ? options.url : new URL(path, options.url).href;
  const webSocket = new WebSocket(url, subprotocols, tlsOf(options));
  const outcome = new Promise<number | 'cut' | 'opened'>((resolve) => {
    webSocket.once('open', () => resolve('opened'));
    webSocket.once('unexpected-response', (_request, response: IncomingMessage) => {
      resolve(response.statusCode ?? 0);
    });
    webSocket.on('error', () => resolve('cut'));
  });
  try {
    return await within(outcome, deadlineIn(PATIENCE_MS), 'an answer to the upgrade');
  } finally {
    webSocket.terminate();
  }
}
