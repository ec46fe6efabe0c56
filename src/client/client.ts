import { randomUUID } from 'node:crypto';
import { deadlineIn, hasPassed, pause, type Deadline } from '../core/deadline.js';
import { monotonic } from '../core/clock.js';
import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { encodeMessage, type Subprotocol } from '../protocol/client-frames.js';
import type { HsmInfo, ListedUser } from '../protocol/hsm-session.js';
import { Connection, isFatal, type ConnectionOptions } from './connection.js';
import { backoffMs, Failover } from './failover.js';
import { askDataPlane, HsmSession, type SessionOptions } from './hsm-session.js';
import { KmsActions } from './kms-actions.js';
import {
  lateness,
  mayRetry,
  Requests,
  type Answer,
  type CallOptions,
  type Request,
  type Settlement,
} from './requests.js';
import { isPassing, needsToken } from './retry.js';
import { readServiceError } from './service-error.js';
import { Subscriptions, type EventListener } from './subscriptions.js';

// The package's public face: the one file that passes names of others on.
export { KeyspanError } from '../core/errors.js';
export type { ErrorCode } from '../core/errors.js';
export { ServiceError } from './service-error.js';
export { decryptStream, encryptStream } from './envelope.js';
export type { Answer, CallOptions } from './requests.js';
export type * from './kms-actions.js';
export type * from './hsm-session.js';
export { HsmSession, joinTokens } from './hsm-session.js';
export type * from '../protocol/hsm-session.js';

export interface ClientOptions {
  /** `wss://ADDRESS:PORT/v1/REGION` of each ENI; the first that can be reached is used */
  readonly endpoints: readonly string[];
  /** PEM: the CA that signed the cluster's certificate (`customerCA.crt`) */
  readonly ca: string;
  /** PEM: this client's certificate, whose URI subjectAltName is the principal's ARN */
  readonly certificate: string;
  /** PEM */
  readonly privateKey: string;
  /** CBOR unless given. With JSON, `call` takes and gives blobs in base64. */
  readonly subprotocol?: Subprotocol;
  /** how long a request may take with all its attempts; 15 s unless given */
  readonly requestTimeoutMs?: number;
  /**
   * how long `connect` goes on trying; 10 s unless given. Every endpoint is tried once in any
   * case.
   */
  readonly connectTimeoutMs?: number;
  /** an ENI from which nothing is heard for so long is left; 3 s unless given */
  readonly silenceMs?: number;
  /** the whole common name that the cluster's certificate must have */
  readonly hsmName?: string;
}

/**
 * A client of one cluster: one WebSocket to one ENI, many requests in flight, and another ENI
 * when that one is lost. Requests in flight are then sent again until their deadline; those that
 * change something carry a token that makes this safe.
 *
 * The server is trusted when its chain ends at `ca` and its common name begins with `HSM:`. The
 * address is not compared: a cluster's certificate may have no subjectAltName (see
 * `checkHsmIdentity`).
 */
export class KeyspanClient {
  /** the KMS API, typed */
  readonly kms: KmsActions;
  readonly #options: ConnectionOptions;
  readonly #requestTimeoutMs: number;
  readonly #failover: Failover;
  readonly #requests = new Requests<Connection>();
  readonly #subscriptions: Subscriptions;
  readonly #closing = new AbortController();
  #connection: Connection | undefined;
  /** one timer for all deadlines; it runs while there are requests */
  #sweeper: NodeJS.Timeout | undefined;

  private constructor(options: ClientOptions) {
    this.#options = {
      ca: options.ca,
      certificate: options.certificate,
      privateKey: options.privateKey,
      subprotocol: options.subprotocol ?? 'keyspan.v1.cbor',
      silenceMs: options.silenceMs ?? LIMITS.client_silence_ms,
      handshakeTimeoutMs: LIMITS.client_handshake_timeout_ms,
      ...(options.hsmName === undefined ? {} : { hsmName: options.hsmName }),
    };
    this.#requestTimeoutMs = options.requestTimeoutMs ?? LIMITS.client_request_timeout_ms;
    this.#failover = new Failover([...options.endpoints]);
    this.kms = new KmsActions(this);
    this.#subscriptions = new Subscriptions(this);
  }

  /**
   * Connects to the first ENI that can be reached.
   * @throws ServiceError when this client is not accepted, KeyspanError (KeyspanConnection) when
   * no ENI can be reached
   */
  static async connect(options: ClientOptions): Promise<KeyspanClient> {
    if (options.endpoints.length === 0) {
      throw new KeyspanError('KeyspanConnection', 'there is no endpoint to connect to');
    }
    const client = new KeyspanClient(options);
    const timeoutMs = options.connectTimeoutMs ?? LIMITS.client_connect_timeout_ms;
    await client.#connect(deadlineIn(timeoutMs));
    return client;
  }

  /** the ENI in use; undefined while there is none */
  get endpoint(): string | undefined {
    return this.#connection?.endpoint;
  }

  /**
   * Sends one request. With CBOR, blobs are Uint8Arrays both ways.
   * @throws ServiceError when the service refuses it, KeyspanError (KeyspanConnection,
   * KeyspanDeadlineExceeded, ValidationException, ThrottlingException) when it does not come to
   * that, or the reason of an aborted `signal`
   */
  call(action: string, params: object = {}, options: CallOptions = {}): Promise<Answer> {
    return new Promise<Answer>((resolve, reject) => {
      options.signal?.throwIfAborted();
      if (this.#closing.signal.aborted) throw closedError();
      const settlement = { resolve, reject };
      const request = this.#request({ action, params, options }, settlement);
      this.#requests.add(request);
      this.#sweeper ??= setInterval(() => this.#sweep(), LIMITS.client_sweep_interval_ms);
      if (options.signal) this.#watch(request, settlement, options.signal);
      this.#pump();
    });
  }

  /**
   * Logs an HSM user in; the session is over with `logout`, or when it is disposed.
   * @throws ServiceError HsmCredentialsRefused, HsmUserLocked, ...
   */
  async session(options: SessionOptions): Promise<HsmSession> {
    return await HsmSession.open(this, options);
  }

  /** The users of a cluster's HSMs; nobody has to be logged in. @param cluster the ENIs' own */
  async users(cluster?: string, options?: CallOptions): Promise<readonly ListedUser[]> {
    return (await askDataPlane(this, 'UserList', { cluster }, options)).users;
  }

  /** A cluster's active HSMs; nobody has to be logged in. @param cluster the ENIs' own */
  async hsmInfo(cluster?: string, options?: CallOptions): Promise<readonly HsmInfo[]> {
    return (await askDataPlane(this, 'HsmInfo', { cluster }, options)).hsms;
  }

  /**
   * Hears of events (`hsm`, `cluster`, ...) until the subscription is disposed; it survives a
   * change of the ENI, but what happens in between is missed.
   */
  async subscribe(events: readonly string[], listener: EventListener): Promise<AsyncDisposable> {
    return await this.#subscriptions.add(events, listener);
  }

  /** Requests that are still unanswered fail. */
  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort();
    clearInterval(this.#sweeper);
    for (const request of this.#requests.clear()) request.settlement.reject(closedError());
    await this.#connection?.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #request(
    what: { action: string; params: object; options: CallOptions },
    settlement: Settlement,
  ): Request<Connection> {
    const { action, params, options } = what;
    if (this.#requests.size >= LIMITS.client_pending_max) {
      throw new KeyspanError('ThrottlingException', 'too many requests wait in this client');
    }
    const id = this.#requests.nextId;
    const token = options.token ?? (needsToken(action) ? randomUUID() : undefined);
    const frame = token === undefined ? { id, action, params } : { id, action, params, token };
    const message = encodeMessage(this.#options.subprotocol, frame);
    if (message.length > LIMITS.request_size_max_bytes) {
      const bound = LIMITS.request_size_max_bytes;
      throw new KeyspanError('ValidationException', `the request is over ${bound} bytes`);
    }
    return {
      id,
      message,
      deadline: deadlineIn(options.timeoutMs ?? this.#requestTimeoutMs),
      retries: options.retries ?? true,
      settlement,
      state: 'waiting',
      sends: 0,
      via: undefined,
      notBefore: 0,
      refusal: undefined,
    };
  }

  /** Gives a request up when `signal` aborts, and lets go of the signal when it is settled. */
  #watch(request: Request<Connection>, settlement: Settlement, signal: AbortSignal): void {
    const { resolve, reject } = settlement;
    const abort = (): void => {
      this.#requests.remove(request);
      reject(signal.reason);
    };
    const done = (): void => signal.removeEventListener('abort', abort);
    signal.addEventListener('abort', abort, { once: true });
    settlement.resolve = (answer) => (done(), resolve(answer));
    settlement.reject = (error) => (done(), reject(error));
  }

  /** Sends what waits, as far as there is a connection and room on it. */
  #pump(): void {
    const connection = this.#connection;
    if (!connection) return;
    while (this.#requests.waiting > 0 && this.#requests.mayFly) {
      const request = this.#requests.take(connection);
      if (request) connection.send(request.message);
    }
  }

  #sweep(): void {
    for (const request of this.#requests.sweep(monotonic()))
      request.settlement.reject(lateness(request));
    this.#pump();
    if (this.#requests.size > 0) return;
    clearInterval(this.#sweeper);
    this.#sweeper = undefined;
  }

  #received(connection: Connection, message: unknown): void {
    this.#failover.succeeded();
    const { id, result, hsm, error, event, data } = message as Record<string, unknown>;
    if (typeof event === 'string') {
      this.#subscriptions.notify(event, (data ?? {}) as Record<string, unknown>);
      return;
    }
    const request = typeof id === 'number' ? this.#requests.get(id) : undefined;
    if (request?.via !== connection) return;
    if (error !== undefined) {
      this.#refused(request, error);
    } else {
      this.#requests.remove(request);
      const answer = { result: (result ?? {}) as Record<string, unknown> };
      request.settlement.resolve(typeof hsm === 'string' ? { ...answer, hsm } : answer);
    }
    if (this.#requests.waiting > 0) this.#pump();
  }

  /** What the service said no to is tried again when that may pass, and else fails. */
  #refused(request: Request<Connection>, error: unknown): void {
    const refusal = readServiceError(error);
    if (isPassing(refusal.code) && mayRetry(request)) {
      request.refusal = refusal;
      this.#requests.rest(request, monotonic() + backoffMs(request.sends));
      return;
    }
    this.#requests.remove(request);
    request.settlement.reject(refusal);
  }

  #lost(connection: Connection, reason: KeyspanError): void {
    for (const request of this.#requests.lose(connection)) request.settlement.reject(reason);
    if (connection !== this.#connection) return;
    this.#connection = undefined;
    this.#failover.failed({ fatal: isFatal(reason) });
    // it never rejects: with no deadline it goes on until it connects or the client is closed
    void this.#connect(undefined);
  }

  /**
   * Tries one endpoint after the other. Without a deadline it goes on until it succeeds or the
   * client is closed; requests meanwhile wait for it, until their own deadlines, or until every
   * ENI has refused this client.
   */
  async #connect(deadline: Deadline | undefined): Promise<void> {
    while (!this.#closing.signal.aborted) {
      await pause(this.#failover.delayMs(), this.#closing.signal);
      try {
        this.#adopt(await this.#open());
        return;
      } catch (error) {
        this.#failover.failed({ fatal: isFatal(error) });
        if (deadline === undefined) {
          this.#surrender(error);
        } else if (this.#failover.hopeless || (this.#failover.roundDone && hasPassed(deadline))) {
          await this.close();
          throw error;
        }
      }
    }
  }

  async #open(): Promise<Connection> {
    return await Connection.open(this.#failover.next(), this.#options, {
      received: (connection, message) => this.#received(connection, message),
      lost: (connection, reason) => this.#lost(connection, reason),
    });
  }

  #adopt(connection: Connection): void {
    if (this.#closing.signal.aborted) {
      void connection.close();
      return;
    }
    this.#connection = connection;
    this.#subscriptions.renew();
    this.#pump();
  }

  /** When no ENI accepts this client any more, waiting requests need not wait for that. */
  #surrender(error: unknown): void {
    if (!this.#failover.hopeless) return;
    for (const request of this.#requests.clear()) request.settlement.reject(error);
  }
}

const closedError = (): KeyspanError =>
  new KeyspanError('KeyspanConnection', 'the client is closed');
