import type { Duplex } from 'node:stream';
import type { PeerCertificate } from 'node:tls';
import { WebSocket, type ClientOptions, type RawData } from 'ws';
import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { decodeMessage, type Subprotocol } from '../protocol/client-frames.js';
import { MessageWriter } from '../protocol/message-writer.js';
import { checkHsmIdentity } from './server-identity.js';
import { readServiceError, ServiceError } from './service-error.js';

/** Who this client is and whom it trusts; PEM texts. */
export interface ConnectionOptions {
  readonly ca: string;
  readonly certificate: string;
  readonly privateKey: string;
  readonly subprotocol: Subprotocol;
  readonly hsmName?: string;
  /** a peer from which nothing is heard for so long is left */
  readonly silenceMs: number;
  readonly handshakeTimeoutMs: number;
}

/** What a connection tells its owner. */
export interface ConnectionOwner {
  received(connection: Connection, message: unknown): void;
  /** Called once, after which the connection is of no use; not called after `close`. */
  lost(connection: Connection, reason: KeyspanError): void;
}

/** Beats a peer may miss; a beat is a third of the silence bound. */
const BEATS_MISSED_MAX = 3;
/** TLS's words for "not you" and "not to be trusted"; another attempt would end alike. */
const TLS_REFUSAL = /^(?:ERR_SSL_|ERR_TLS_CERT|CERT_|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO)/;

/** Whether a failed attempt would fail again, however long one waits. */
export function isFatal(error: unknown): boolean {
  if (error instanceof ServiceError) return true;
  const cause = error instanceof KeyspanError ? error.cause : error;
  if (cause instanceof KeyspanError) return true;
  const code = (cause as { code?: unknown } | undefined)?.code;
  return typeof code === 'string' && TLS_REFUSAL.test(code);
}

/** One WebSocket to one ENI. */
export class Connection {
  readonly endpoint: string;
  readonly #socket: WebSocket;
  readonly #subprotocol: Subprotocol;
  readonly #owner: ConnectionOwner;
  readonly #beat: NodeJS.Timeout;
  readonly #writer: MessageWriter;
  #ended = false;
  #heard = true;
  #missed = 0;

  private constructor(
    socket: WebSocket,
    stream: Duplex,
    setup: { endpoint: string; options: ConnectionOptions; owner: ConnectionOwner },
  ) {
    this.endpoint = setup.endpoint;
    this.#socket = socket;
    this.#writer = new MessageWriter('client', (bytes) => {
      // after a close frame nothing may follow
      if (socket.readyState === WebSocket.OPEN) stream.write(bytes);
    });
    this.#subprotocol = setup.options.subprotocol;
    this.#owner = setup.owner;
    this.#beat = setInterval(() => this.#check(), setup.options.silenceMs / BEATS_MISSED_MAX);
    this.#beat.unref();
    socket.on('message', (data) => this.#take(data));
    socket.on('pong', () => (this.#heard = true));
    socket.on('ping', () => (this.#heard = true));
    socket.on('error', (error) => this.#end(connectionLost(setup.endpoint, error)));
    socket.on('close', (code) => {
      this.#end(connectionLost(setup.endpoint, undefined, `closed with ${code}`));
    });
  }

  /**
   * Connects, proves this client's identity and checks the server's.
   * @throws ServiceError when the server refuses this client (401, 403), else KeyspanError
   * (KeyspanConnection)
   */
  static async open(
    endpoint: string,
    options: ConnectionOptions,
    owner: ConnectionOwner,
  ): Promise<Connection> {
    const socket = new WebSocket(endpoint, options.subprotocol, socketOptions(options));
    let stream: Duplex | undefined;
    socket.once('upgrade', (response) => (stream = response.socket));
    await opened(socket, endpoint);
    if (!stream) throw connectionLost(endpoint, undefined, 'was not upgraded');
    return new Connection(socket, stream, { endpoint, options, owner });
  }

  /**
   * Sends one message; the messages of one turn of the event loop leave together.
   */
  send(message: Uint8Array | string): void {
    const isText = typeof message === 'string';
    this.#writer.push(isText ? message : { bytes: message, length: message.length });
  }

  /** Ends the connection in good order, or within `graceMs` in any. */
  async close(graceMs: number = LIMITS.close_grace_ms): Promise<void> {
    this.#ended = true;
    clearInterval(this.#beat);
    if (this.#socket.readyState === WebSocket.CLOSED) return;
    this.#writer.flush();
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => this.#socket.terminate(), graceMs);
      this.#socket.once('close', () => {
        clearTimeout(timer);
        resolve();
      });
      this.#socket.close(1000);
    });
  }

  #take(data: RawData): void {
    this.#heard = true;
    if (this.#ended) return;
    let message: unknown;
    try {
      message = decodeMessage(this.#subprotocol, data as Buffer);
    } catch (cause) {
      this.#end(connectionLost(this.endpoint, cause, 'sent what is no message'));
      return;
    }
    this.#owner.received(this, message);
  }

  /** A beat without a sign of life asks for one; too many of them end the connection. */
  #check(): void {
    if (this.#heard) {
      this.#heard = false;
      this.#missed = 0;
    } else {
      this.#missed += 1;
    }
    if (this.#missed >= BEATS_MISSED_MAX) {
      this.#end(connectionLost(this.endpoint, undefined, 'fell silent'));
    } else {
      this.#socket.ping();
    }
  }

  #end(reason: KeyspanError): void {
    if (this.#ended) return;
    this.#ended = true;
    clearInterval(this.#beat);
    this.#socket.terminate();
    this.#owner.lost(this, reason);
  }
}

function socketOptions(options: ConnectionOptions): ClientOptions {
  return {
    ca: options.ca,
    cert: options.certificate,
    key: options.privateKey,
    checkServerIdentity: (_host: string, certificate) => {
      // the types of ws say boolean; Node, which calls this, wants an error or undefined
      const peer = certificate as unknown as PeerCertificate;
      return checkHsmIdentity(peer, options.hsmName) as unknown as boolean;
    },
    perMessageDeflate: false,
    handshakeTimeout: options.handshakeTimeoutMs,
    maxPayload: LIMITS.client_answer_max_bytes,
    followRedirects: false,
    // CBOR messages are binary: there is no text to validate
    skipUTF8Validation: options.subprotocol === 'keyspan.v1.cbor',
  };
}

/** Waits for the end of the handshake, which `handshakeTimeout` bounds. */
async function opened(socket: WebSocket, endpoint: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    socket.once('open', () => {
      socket.removeAllListeners();
      resolve();
    });
    socket.on('error', (error) => reject(connectionLost(endpoint, error)));
    socket.once('unexpected-response', (_request, response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => {
        if (chunks.length < 16) chunks.push(chunk);
      });
      const done = (): void => {
        reject(refusal(endpoint, response.statusCode ?? 0, Buffer.concat(chunks)));
        socket.terminate();
      };
      response.once('end', done).once('error', done);
    });
  });
}

/** What an answer other than 101 to the upgrade means. */
function refusal(endpoint: string, status: number, body: Buffer): Error {
  if (status !== 401 && status !== 403) {
    return connectionLost(endpoint, undefined, `answered ${status}`);
  }
  try {
    const { error } = JSON.parse(body.toString('utf8')) as { error?: unknown };
    if (error !== undefined) return readServiceError(error);
  } catch {
    // the status alone has to do
  }
  const code = status === 401 ? 'UnrecognizedClientException' : 'AccessDeniedException';
  return new ServiceError(code, 'the server does not accept this client');
}

function connectionLost(endpoint: string, cause?: unknown, what?: string): KeyspanError {
  const why = what ?? (cause instanceof Error ? cause.message : 'was lost');
  return new KeyspanError('KeyspanConnection', `${endpoint}: ${why}`, { cause });
}
