import { createConnection, type Socket } from 'node:net';
import { remainingMs, hasPassed, within, type Deadline } from '../core/deadline.js';
import { KeyspanError, isErrorCode } from '../core/errors.js';
import type { ClusterId, HsmId } from '../core/ids.js';
import { InFlight } from '../core/in-flight.js';
import { LIMITS } from '../core/limits.js';
import { Crowd, Vigil } from '../core/vigil.js';
import { accept } from '../protocol/form.js';
import { FrameReader, FrameWriter } from '../protocol/frame-codec.js';
import {
  FRAME_VERSION,
  RECORD_VERSION,
  SOON,
  hello,
  type Hello,
  type HsmFields,
  type HsmOperation,
  type HsmResults,
} from '../protocol/hsm-frames.js';

interface Pending {
  readonly resolve: (value: never) => void;
  readonly reject: (error: Error) => void;
  readonly deadline: Deadline;
}

export interface ChannelRequest<Op extends HsmOperation> {
  readonly operation: Op;
  readonly fields: HsmFields<Op>;
  readonly deadline: Deadline;
  /** 0: without a login */
  readonly session?: number;
  /** the epoch of the cluster as the asker knows it; needed by mutating operations */
  readonly epoch?: number;
  /** the client's request that this is done for; it crosses on a channel that is traced */
  readonly requestId?: string;
}

/** Who waits for answers, over all channels of this process. */
const crowd = new Crowd();

/** How often the deadlines of the requests in flight are looked at: one timer for all of them. */
const SWEEP_MS = 20;

/** What a request gets whose channel ended before the answer came. */
export const channelLost = (): KeyspanError =>
  new KeyspanError('KeyspanConnection', 'the connection to the HSM was lost');

/** The daemon's side of one connection to an HSM: many requests in flight, answers in any order. */
export class Channel {
  readonly #socket: Socket;
  readonly #reader = new FrameReader();
  readonly #writer: FrameWriter;
  readonly #pending = new InFlight<Pending>();
  readonly #closed = new AbortController();
  readonly #traced: boolean;
  readonly #vigil = new Vigil();
  #requested = 0;
  #sweep: NodeJS.Timeout | undefined;
  #greeting: { resolve: (peer: Hello) => void; reject: (error: Error) => void } | undefined;
  #peer: Hello | undefined;

  private constructor(socket: Socket, traced: boolean) {
    this.#socket = socket;
    this.#traced = traced;
    this.#writer = new FrameWriter((bytes) => {
      if (!socket.destroyed) socket.write(bytes);
    });
    socket.on('data', (chunk) => this.#receive(chunk));
    socket.on('error', () => this.close());
    socket.once('close', () => this.close());
  }

  /**
   * Connects and exchanges hellos.
   * @param options.traced tell the HSM the ids of clients' requests: for logs at debug alone,
   * because the id would cost every frame its bytes and their encoding
   * @throws KeyspanError KeyspanConnection, HsmProtocol
   */
  static async connect(options: {
    path: string;
    hsm: HsmId;
    cluster: ClusterId;
    deadline: Deadline;
    traced?: boolean;
  }): Promise<Channel> {
    const { path, hsm, cluster, deadline, traced = false } = options;
    const channel = new Channel(createConnection(path), traced);
    try {
      const peer = await within(channel.#greet(hsm, cluster), deadline, 'hello');
      if (peer.hsm !== hsm || peer.cluster !== cluster) throw new KeyspanError('HsmProtocol');
      return channel;
    } catch (error) {
      channel.close();
      throw error;
    }
  }

  /** what the HSM said of itself when the channel was made */
  get peer(): Hello {
    if (!this.#peer) throw channelLost();
    return this.#peer;
  }

  /** requests that wait for their answers */
  get inflight(): number {
    return this.#pending.size;
  }

  /** requests that were sent since the channel was made, without those after its well-being */
  get requested(): number {
    return this.#requested;
  }

  /** aborted once the channel is of no more use */
  get closed(): AbortSignal {
    return this.#closed.signal;
  }

  /**
   * @throws KeyspanError what the HSM answered; KeyspanConnection when the channel ended before
   * the answer;
   * HsmDeadlineExceeded; HsmBusy when too many requests are in flight
   */
  request<Op extends HsmOperation>(request: ChannelRequest<Op>): Promise<HsmResults[Op]> {
    return new Promise((resolve, reject) => {
      if (this.#closed.signal.aborted) return reject(channelLost());
      if (this.#pending.size >= LIMITS.channel_inflight_max) {
        return reject(new KeyspanError('HsmBusy'));
      }
      const { operation, fields, deadline, session = 0, epoch = 0 } = request;
      // whole milliseconds are shorter on the wire
      const timeoutMs = Math.ceil(remainingMs(deadline));
      if (timeoutMs <= 0) return reject(new KeyspanError('HsmDeadlineExceeded'));
      const id = this.#pending.next;
      if (operation !== 'info') this.#requested += 1;
      const frame: unknown[] = [id, timeoutMs, epoch, operation, session, fields];
      if (this.#traced && request.requestId !== undefined) frame.push(request.requestId);
      this.#writer.push(frame);
      this.#pending.add({ resolve, reject, deadline });
      crowd.enters();
      if (crowd.isThere()) this.#vigil.forget();
      else this.#vigil.expect();
      this.#sweep ??= setInterval(() => this.#expire(), SWEEP_MS);
    });
  }

  /**
   * Work is about to come: the HSM stays awake for it. While there is other work nothing is said,
   * because somebody else wants the core.
   */
  soon(): void {
    if (crowd.isThere() || this.#closed.signal.aborted) return;
    this.#writer.push(SOON);
  }

  /** Ends the channel; what is in flight fails with KeyspanConnection. */
  close(): void {
    if (this.#closed.signal.aborted) return;
    this.#closed.abort();
    this.#socket.destroy();
    clearInterval(this.#sweep);
    this.#greeting?.reject(channelLost());
    for (const [id, { reject }] of this.#pending.entries()) {
      this.#drop(id);
      reject(channelLost());
    }
  }

  #greet(hsm: HsmId, cluster: ClusterId): Promise<Hello> {
    this.#writer.push({ hello: FRAME_VERSION, recordVersion: RECORD_VERSION, hsm, cluster });
    return new Promise((resolve, reject) => {
      if (this.#peer) resolve(this.#peer);
      else this.#greeting = { resolve, reject };
    });
  }

  #expire(): void {
    for (const [id, { deadline, reject }] of this.#pending.entries()) {
      if (!hasPassed(deadline)) continue;
      this.#drop(id);
      reject(new KeyspanError('HsmDeadlineExceeded'));
    }
    if (this.#pending.size > 0) return;
    clearInterval(this.#sweep);
    this.#sweep = undefined;
  }

  #drop(id: number): Pending | undefined {
    const pending = this.#pending.remove(id);
    if (pending) crowd.leaves();
    return pending;
  }

  #receive(chunk: Buffer): void {
    this.#vigil.came();
    try {
      for (const frame of this.#reader.push(chunk)) {
        if (this.#peer) this.#settle(frame);
        else this.#meet(frame);
      }
    } catch {
      this.close();
    }
  }

  #meet(frame: unknown): void {
    const peer = accept(hello, frame);
    if (peer?.recordVersion !== RECORD_VERSION) {
      this.#greeting?.reject(new KeyspanError('HsmProtocol'));
      return this.close();
    }
    this.#peer = peer;
    this.#greeting?.resolve(peer);
    this.#greeting = undefined;
  }

  #settle(frame: unknown): void {
    if (!Array.isArray(frame)) throw new KeyspanError('HsmBadFrame');
    const [id, failed, value, message] = frame as [number, number, unknown, unknown];
    const pending = this.#drop(id);
    if (!pending) return;
    if (failed === 0) return pending.resolve(value as never);
    const code = isErrorCode(value) ? value : 'HsmDeviceError';
    pending.reject(new KeyspanError(code, typeof message === 'string' ? message : undefined));
  }
}
