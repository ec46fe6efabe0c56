import { createServer, type Server } from 'node:https';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { LIMITS } from '../core/limits.js';
import type { Logger } from '../core/log.js';

/** The cluster's key and certificate, and the CA of its clients; PEM. */
export interface TlsIdentity {
  readonly key: string;
  readonly cert: string;
  readonly clientCa: string;
}

export interface EniListenerOptions {
  readonly ip: string;
  readonly port: number;
  readonly tls: TlsIdentity;
  readonly log: Logger;
  /** how many connections all ENIs have together */
  readonly connections: { count: number };
  /** a WebSocket handshake */
  upgrade(request: import('node:http').IncomingMessage, socket: Socket, head: Buffer): void;
}

/** The HTTPS server of one HSM's ENI. It listens while that HSM serves. */
export class EniListener {
  readonly #options: EniListenerOptions;
  readonly #server: Server;
  /** TCP connections, also those that are still at their TLS handshake */
  readonly #sockets = new Set<Socket>();

  constructor(options: EniListenerOptions) {
    this.#options = options;
    const { tls } = options;
    this.#server = createServer({
      key: tls.key,
      cert: tls.cert,
      ca: tls.clientCa,
      minVersion: 'TLSv1.2',
      requestCert: true,
      // one without a certificate may sign its upgrade instead; one with a foreign certificate
      // is cut off below
      rejectUnauthorized: false,
      handshakeTimeout: LIMITS.handshake_timeout_ms,
      headersTimeout: LIMITS.handshake_timeout_ms,
      requestTimeout: LIMITS.handshake_timeout_ms,
    });
    this.#server.on('connection', (socket: Socket) => this.#count(socket));
    this.#server.on('secureConnection', (socket) => this.#accept(socket));
    this.#server.on('tlsClientError', (_error, socket) => socket.destroy());
    this.#server.on('clientError', (_error, socket) => socket.destroy());
    this.#server.on('upgrade', (request, socket, head) =>
      options.upgrade(request, socket as Socket, head),
    );
    this.#server.on('request', (_request, response) => {
      response.writeHead(426, { upgrade: 'websocket', connection: 'close' });
      response.end('This is a WebSocket door.\n');
    });
  }

  async listen(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(this.#options.port, this.#options.ip, resolve);
    });
  }

  /** Stops listening; connections that are open stay until their owners close them. */
  close(): void {
    this.#server.close();
    this.#server.closeIdleConnections();
  }

  /** Cuts what is still open. */
  destroy(): void {
    this.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #count(socket: Socket): void {
    const { connections } = this.#options;
    if (connections.count >= LIMITS.connections_max) {
      socket.destroy();
      return;
    }
    connections.count += 1;
    this.#sockets.add(socket);
    socket.once('close', () => {
      connections.count -= 1;
      this.#sockets.delete(socket);
    });
  }

  #accept(socket: TLSSocket): void {
    socket.on('error', () => socket.destroy());
    if (!socket.authorized && socket.getPeerX509Certificate() !== undefined) {
      this.#options.log.info(
        { reason: socket.authorizationError },
        'a client certificate is refused',
      );
      socket.destroy();
    }
  }
}
