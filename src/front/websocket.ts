import type { IncomingMessage } from 'node:http';
import { createRequire } from 'node:module';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import type * as Library from 'ws';
import type { WebSocket, WebSocketServer } from 'ws';
import { isRegion } from '../core/arn.js';
import { isKeyspanError } from '../core/errors.js';
import type { HsmId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import type { Principal } from '../iam/principal.js';
import { P11_SUBPROTOCOL, SUBPROTOCOLS, type Subprotocol } from '../protocol/client-frames.js';
import { principalOf } from './client-principal.js';
import { Connection, type Load, type WebSocketDoorOptions } from './connection.js';
import { isSigned, signedCaller } from './signed-upgrade.js';

// as an import each of its files would be searched for its exports first, at each start
const library = createRequire(import.meta.url)('ws') as typeof Library;

const P11_PATH = /^\/p11\/([a-z0-9-]+)\/?$/;
const PATH = /^\/(?:v1\/([a-z0-9-]+)\/?)?(?:\?.*)?$/;

/** The WebSocket door: authenticates an upgrade into a principal and makes a connection of it. */
export class WebSocketDoor {
  readonly #options: WebSocketDoorOptions;
  readonly #server: WebSocketServer;
  readonly #connections = new Set<Connection>();
  readonly #applications = new Set<WebSocket>();
  readonly #load: Load = { inflight: 0 };
  readonly #ping: NodeJS.Timeout;

  constructor(options: WebSocketDoorOptions) {
    this.#options = options;
    this.#server = new library.WebSocketServer({
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      maxPayload: LIMITS.request_size_max_bytes,
      // JSON.parse and the CBOR decoder look at each byte anyway
      skipUTF8Validation: true,
      handleProtocols: (offered, request) => {
        if (P11_PATH.test(request.url ?? '')) return P11_SUBPROTOCOL;
        return SUBPROTOCOLS.find((name) => offered.has(name)) ?? false;
      },
    });
    this.#ping = setInterval(() => this.#pingAll(), LIMITS.ping_interval_ms);
  }

  /** requests that wait for their answers, over all connections */
  get inflight(): number {
    return this.#load.inflight;
  }

  /** @param hsm the HSM whose ENI the handshake came in by */
  upgrade(hsm: HsmId, request: IncomingMessage, socket: Socket, head: Buffer): void {
    socket.on('error', () => socket.destroy());
    if (P11_PATH.test(request.url ?? '')) return this.#pkcs11(request, socket, head);
    const region = this.#regionOf(request.url ?? '/');
    if (region === undefined) return refuse(socket, 404, 'Not Found');
    const caller = this.#callerOf(request, socket, region);
    if (!caller) return refuse(socket, 401, 'Unauthorized');
    const offered = request.headers['sec-websocket-protocol'] ?? '';
    if (!offered.split(/ *, */).some(isSubprotocol)) return refuse(socket, 400, 'Bad Request');
    this.#server.handleUpgrade(request, socket, head, (webSocket: WebSocket) => {
      const connection = new Connection({
        ...this.#options,
        webSocket,
        socket,
        ...caller,
        region,
        hsm,
        load: this.#load,
        subprotocol: webSocket.protocol as Subprotocol,
      });
      this.#connections.add(connection);
      webSocket.once('close', () => this.#connections.delete(connection));
    });
  }

  /** By its certificate; by a signature where it has none. */
  #callerOf(
    request: IncomingMessage,
    socket: Socket,
    region: string,
  ): { principal: Principal; check?: () => void } | undefined {
    const principal = socket instanceof TLSSocket ? principalOf(socket) : undefined;
    if (principal) return { principal };
    const { callers, events } = this.#options;
    if (!callers || !isSigned(request)) return undefined;
    try {
      return signedCaller(request, region, callers);
    } catch (error) {
      const code = isKeyspanError(error) ? error.code : 'InternalFailure';
      events.refusalEvent({ door: 'websocket', peer: socket.remoteAddress, code });
      return undefined;
    }
  }

  /** An application on another machine: the bytes of its messages are those of a socket here. */
  #pkcs11(request: IncomingMessage, socket: Socket, head: Buffer): void {
    const { pkcs11 } = this.#options;
    const region = P11_PATH.exec(request.url ?? '')?.[1] ?? '';
    const principal = socket instanceof TLSSocket ? principalOf(socket) : undefined;
    if (!pkcs11 || !isRegion(region)) return refuse(socket, 404, 'Not Found');
    if (!principal) return refuse(socket, 401, 'Unauthorized');
    const offered = request.headers['sec-websocket-protocol'] ?? '';
    if (!offered.split(/ *, */).includes(P11_SUBPROTOCOL)) {
      return refuse(socket, 400, 'Bad Request');
    }
    this.#server.handleUpgrade(request, socket, head, (webSocket: WebSocket) => {
      const stream = library.createWebSocketStream(webSocket);
      this.#applications.add(webSocket);
      webSocket.once('close', () => this.#applications.delete(webSocket));
      pkcs11(stream);
    });
  }

  /** Ends the connections of an ENI, or all, when their requests in flight are answered. */
  async leave(hsm?: HsmId): Promise<void> {
    const connections = [...this.#connections].filter(
      (one) => hsm === undefined || one.hsm === hsm,
    );
    await Promise.all(connections.map((connection) => connection.leave()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#ping);
    for (const webSocket of this.#applications) webSocket.terminate();
    await this.leave();
  }

  #regionOf(url: string): string | undefined {
    const match = PATH.exec(url);
    if (!match) return undefined;
    const region = match[1] ?? this.#options.region;
    return isRegion(region) ? region : undefined;
  }

  #pingAll(): void {
    for (const connection of this.#connections) connection.ping();
    for (const webSocket of this.#applications) webSocket.ping();
  }
}

const isSubprotocol = (name: string): boolean => (SUBPROTOCOLS as readonly string[]).includes(name);

function refuse(socket: Socket, status: number, reason: string): void {
  const head = `HTTP/1.1 ${status} ${reason}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`;
  socket.end(head);
  setTimeout(() => socket.destroy(), LIMITS.close_grace_ms).unref();
}
