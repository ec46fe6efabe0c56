import { chmodSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { monotonic } from '../core/clock.js';
import { KeyspanError, isErrorCode, type ErrorCode } from '../core/errors.js';
import type { FaultRules } from '../core/fault-rules.js';
import { LIMITS } from '../core/limits.js';
import { Vigil } from '../core/vigil.js';
import { accept } from '../protocol/form.js';
import { FrameReader, FrameWriter } from '../protocol/frame-codec.js';
import {
  FRAME_VERSION,
  RECORD_VERSION,
  hello,
  isNotice,
  type HsmResults,
} from '../protocol/hsm-frames.js';
import { tellClosed } from './audited.js';
import type { HsmLog } from './deferred-log.js';
import type { Machine } from './machine.js';
import { strike } from './faults.js';
import { perform, type OperationRequest } from './operations.js';

/**
 * Serves the frame protocol on a unix socket. Sessions belong to the connection that logged in
 * and end with it.
 */
export class Service {
  readonly #machine: Machine;
  readonly #log: HsmLog;
  readonly #server: Server;
  readonly #connections = new Set<Connection>();

  constructor(options: { machine: Machine; log: HsmLog }) {
    this.#machine = options.machine;
    this.#log = options.log;
    this.#server = createServer((socket) => this.#accept(socket));
    this.#server.maxConnections = LIMITS.hsm_connections_max;
  }

  async listen(path: string): Promise<void> {
    rmSync(path, { force: true });
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(path, resolve);
    });
    chmodSync(path, 0o600);
  }

  /** Takes no more requests and lets those that run come to their end. */
  async drain(): Promise<void> {
    this.#server.close();
    await Promise.allSettled([...this.#connections].map((connection) => connection.idle()));
    for (const connection of this.#connections) connection.close();
  }

  #accept(socket: Socket): void {
    const connection = new Connection(this.#machine, socket, this.#log);
    this.#connections.add(connection);
    // what a peer asked for goes on when it is gone: an end in good order waits for that, too
    socket.once('close', () => {
      void connection.idle().then(() => this.#connections.delete(connection));
    });
  }
}

class Connection {
  readonly #machine: Machine;
  readonly #socket: Socket;
  readonly #log: HsmLog;
  readonly #reader = new FrameReader();
  readonly #writer: FrameWriter;
  readonly #sessions = new Set<number>();
  readonly #running = new Set<Promise<void>>();
  readonly #vigil = new Vigil();
  #greeted = false;

  constructor(machine: Machine, socket: Socket, log: HsmLog) {
    this.#machine = machine;
    this.#socket = socket;
    this.#log = log;
    this.#writer = new FrameWriter((bytes) => {
      if (socket.writable) socket.write(bytes);
    });
    socket.setTimeout(LIMITS.frame_hello_timeout_ms, () => {
      if (!this.#greeted) socket.destroy();
    });
    socket.on('data', (chunk) => this.#receive(chunk));
    socket.on('error', (error) => log.debug({ err: error }, 'connection failed'));
    socket.once('close', () => this.#end());
    const { hsm, cluster, boot } = machine.identity;
    const { epoch, phase } = machine;
    const versions = { hello: FRAME_VERSION, recordVersion: RECORD_VERSION };
    this.#writer.push({ ...versions, hsm, cluster, boot, epoch, phase });
  }

  async idle(): Promise<void> {
    this.#socket.pause();
    await Promise.allSettled(this.#running);
    this.#writer.flush();
  }

  close(): void {
    this.#end();
    this.#socket.destroySoon();
  }

  #end(): void {
    for (const id of this.#sessions) this.#close(id);
  }

  #close(id: number): void {
    const session = this.#machine.session(id);
    if (!session) return;
    this.#machine.closeSession(id);
    tellClosed(this.#machine, session);
  }

  #receive(chunk: Buffer): void {
    this.#vigil.came();
    let isSoon = false;
    try {
      for (const frame of this.#reader.push(chunk)) {
        if (!this.#greeted) this.#greet(frame);
        else if (isNotice(frame)) isSoon = true;
        else this.#answer(frame);
      }
    } catch (error) {
      this.#log.warn({ err: error }, 'connection ended: frames cannot be read');
      this.#socket.destroy();
    }
    this.#writer.flush();
    if (isSoon) this.#vigil.expect();
  }

  #greet(frame: unknown): void {
    const peer = accept(hello, frame);
    const { hsm, cluster } = this.#machine.identity;
    const ours = peer?.hsm === hsm && peer.cluster === cluster;
    if (!ours || peer.recordVersion !== RECORD_VERSION) {
      throw new KeyspanError('HsmProtocol');
    }
    this.#greeted = true;
    this.#socket.setTimeout(0);
  }

  #answer(frame: unknown): void {
    if (!isRequest(frame)) throw new KeyspanError('HsmBadFrame', 'the frame is not a request');
    const [id, timeoutMs, epoch, operation, session, fields, requestId] = frame;
    const asked: Asked = { id, operation, requestId, begin: requestId ? monotonic() : 0 };
    if (!isEpoch(epoch)) {
      return this.#fail(asked, new KeyspanError('HsmBadFrame', 'the epoch is out of range'));
    }
    if (timeoutMs <= 0) return this.#fail(asked, new KeyspanError('HsmDeadlineExceeded'));
    if (this.#running.size >= LIMITS.channel_inflight_max) {
      return this.#fail(asked, new KeyspanError('HsmBusy'));
    }
    try {
      const own = session === 0 || this.#sessions.has(session) ? session : 0;
      const request = { operation, epoch, session: own, fields, timeoutMs };
      const { faults } = this.#machine;
      const result = faults ? this.#faulty(faults, request) : perform(this.#machine, request);
      if (result instanceof Promise) this.#wait(asked, result);
      else this.#succeed(asked, result);
      if (operation === 'logout') this.#sessions.delete(own);
    } catch (error) {
      this.#fail(asked, error);
    }
  }

  /** As `perform`, with the faults that wait for it. */
  async #faulty(faults: FaultRules, request: OperationRequest): Promise<unknown> {
    const { operation } = request;
    if (operation.startsWith('fault-')) return perform(this.#machine, request);
    await strike(faults, operation, 'before');
    const result = await perform(this.#machine, request);
    await strike(faults, operation, 'after');
    return result;
  }

  #wait(asked: Asked, result: Promise<unknown>): void {
    const run = result
      .then((value) => {
        if (asked.operation === 'login') this.#own((value as HsmResults['login']).session);
        this.#succeed(asked, value);
      })
      .catch((error: unknown) => this.#fail(asked, error))
      .finally(() => this.#running.delete(run));
    this.#running.add(run);
  }

  #own(session: number): void {
    if (this.#socket.destroyed) this.#close(session);
    else this.#sessions.add(session);
  }

  #succeed(asked: Asked, result: unknown): void {
    this.#writer.push([asked.id, 0, result]);
    if (asked.requestId !== undefined) this.#trace(asked);
  }

  #fail(asked: Asked, error: unknown): void {
    const [code, message] = publicError(error);
    const { operation, requestId } = asked;
    if (code === 'HsmDeviceError') {
      this.#log.error({ requestId, operation, err: error }, 'the token failed');
    }
    this.#writer.push([asked.id, 1, code, message]);
    if (requestId !== undefined) this.#trace(asked, code);
  }

  /** Only a daemon that logs at debug sends ids, so that no frame pays for this otherwise. */
  #trace({ requestId, operation, begin }: Asked, code?: ErrorCode): void {
    const ms = Math.round((monotonic() - begin) * 1_000) / 1_000;
    const named = operation.slice(0, LIMITS.request_id_max_chars);
    this.#log.debug({ requestId, operation: named, code, ms }, 'an operation');
  }
}

/** What is remembered of a request until its answer. */
interface Asked {
  readonly id: number;
  readonly operation: string;
  readonly requestId: string | undefined;
  /** monotonic time; 0 for what is not traced */
  readonly begin: number;
}

type Request = [number, number, number, string, number, unknown, string?];

function isRequest(frame: unknown): frame is Request {
  return (
    Array.isArray(frame) &&
    (frame.length === 6 || (frame.length === 7 && isRequestId(frame[6]))) &&
    Number.isInteger(frame[0]) &&
    typeof frame[1] === 'number' &&
    Number.isInteger(frame[2]) &&
    typeof frame[3] === 'string' &&
    Number.isInteger(frame[4])
  );
}

/** An HSM keeps the newest epoch for ever: no frame may take it beyond what a cluster can reach. */
const isEpoch = (value: number): boolean => value >= 0 && value <= LIMITS.epoch_max;

const isRequestId = (value: unknown): boolean =>
  typeof value === 'string' && value.length > 0 && value.length <= LIMITS.request_id_max_chars;

/** What the peer may read: code and sentence, never the cause. */
function publicError(error: unknown): [ErrorCode, string] {
  if (error instanceof KeyspanError && isErrorCode(error.code)) return [error.code, error.message];
  return ['HsmDeviceError', 'the HSM failed'];
}
