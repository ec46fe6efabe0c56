import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { WebSocketServer, type WebSocket } from 'ws';
import {
  decodeMessage,
  encodeMessage,
  type ClientRequest,
  type Subprotocol,
} from '../../src/protocol/client-frames.js';
import type { TlsFiles } from './tls-files.js';

export interface Arrival {
  readonly request: ClientRequest;
  readonly socket: WebSocket;
  /** which ENI it came in by */
  readonly eni: ForeignEni;
  readonly answer: (result: object, hsm?: string) => void;
  readonly refuse: (code: string, message?: string) => void;
  readonly send: (message: object) => void;
}

export type Behaviour = (arrival: Arrival) => void;

/** One ENI of a daemon that a test plays: a real TLS and WebSocket server with a free port. */
export class ForeignEni {
  readonly requests: ClientRequest[] = [];
  /** how many bytes each TLS record's worth of data brought */
  readonly chunks: number[] = [];
  readonly sockets = new Set<TLSSocket>();
  behaviour: Behaviour;
  /** answers the upgrade with this status instead */
  refusal: { status: number; body: string } | undefined;
  connections = 0;
  #server: Server | undefined;
  #port = 0;
  readonly #files: TlsFiles;

  constructor(files: TlsFiles, behaviour: Behaviour) {
    this.#files = files;
    this.behaviour = behaviour;
  }

  get endpoint(): string {
    return `wss://127.0.0.1:${this.#port}/v1/us-east-1`;
  }

  async listen(): Promise<this> {
    const { certificate, privateKey } = this.#files.server;
    const server = createServer({
      cert: certificate,
      key: privateKey,
      ca: this.#files.ca,
      requestCert: true,
      rejectUnauthorized: true,
    });
    server.on('secureConnection', (socket: TLSSocket) => {
      this.sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => this.sockets.delete(socket));
    });
    const sockets = new WebSocketServer({
      noServer: true,
      handleProtocols: (offered) => [...offered][0] ?? false,
    });
    server.on('upgrade', (request, socket, head) => {
      if (this.refusal) {
        const { status, body } = this.refusal;
        const length = `content-length: ${body.length}\r\nconnection: close`;
        socket.end(`HTTP/1.1 ${status} No\r\n${length}\r\n\r\n${body}`);
        return;
      }
      socket.on('data', (chunk: Buffer) => this.chunks.push(chunk.length));
      sockets.handleUpgrade(request, socket, head, (peer) => this.#serve(peer));
    });
    await new Promise<void>((resolve) => server.listen(this.#port, '127.0.0.1', resolve));
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
    return this;
  }

  /** Ends all connections without a word and refuses new ones. */
  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (!server) return;
    const closed = new Promise((resolve) => server.close(resolve));
    for (const socket of this.sockets) socket.destroy();
    server.closeAllConnections();
    await closed;
  }

  /** Stops reading and answering, as a stopped process does. */
  fallSilent(): void {
    for (const socket of this.sockets) socket.pause();
    this.behaviour = () => undefined;
  }

  #serve(socket: WebSocket): void {
    this.connections += 1;
    const subprotocol = socket.protocol as Subprotocol;
    const send = (message: object): void => socket.send(encodeMessage(subprotocol, message));
    socket.on('error', () => undefined);
    socket.on('message', (data) => {
      const request = decodeMessage(subprotocol, data as Buffer) as ClientRequest;
      this.requests.push(request);
      this.behaviour({
        request,
        socket,
        eni: this,
        send,
        answer: (result, hsm) => send({ id: request.id, result, ...(hsm ? { hsm } : {}) }),
        refuse: (code, message = code) => send({ id: request.id, error: { code, message } }),
      });
    });
  }
}

/** Answers every request with its own parameters. */
export const echo: Behaviour = ({ request, answer }) => answer({ ...request.params });
