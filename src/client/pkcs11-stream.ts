import { once } from 'node:events';
import { Duplex, Transform } from 'node:stream';
import type { PeerCertificate } from 'node:tls';
import { createWebSocketStream, WebSocket } from 'ws';
import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { P11_SUBPROTOCOL } from '../protocol/client-frames.js';
import { checkHsmIdentity } from './server-identity.js';

/** An ENI, and who asks there; PEM texts. */
export interface Pkcs11StreamOptions {
  /** `wss://…`, as `keyspan status` shows it */
  readonly endpoint: string;
  readonly ca: string;
  readonly certificate: string;
  readonly privateKey: string;
}

const DEFAULT_REGION = 'us-east-1';
const MESSAGE_BYTES = 65_536;

/**
 * The stream of one PKCS #11 application to a cluster on another machine: p11-kit's protocol, as
 * the daemon's own socket speaks it.
 * @throws KeyspanError KeyspanConnection
 */
export async function openPkcs11Stream(options: Pkcs11StreamOptions): Promise<Duplex> {
  const url = new URL(options.endpoint);
  const region = /^\/v1\/([a-z0-9-]+)/.exec(url.pathname)?.[1] ?? DEFAULT_REGION;
  url.pathname = `/p11/${region}`;
  const socket = new WebSocket(url, P11_SUBPROTOCOL, {
    ca: options.ca,
    cert: options.certificate,
    key: options.privateKey,
    checkServerIdentity: (_host: string, certificate: PeerCertificate) =>
      checkHsmIdentity(certificate),
    handshakeTimeout: LIMITS.client_handshake_timeout_ms,
    perMessageDeflate: false,
  } as ConstructorParameters<typeof WebSocket>[2]);
  try {
    await once(socket, 'open');
  } catch (cause) {
    const sentence = `${options.endpoint} cannot be reached: ${(cause as Error).message}`;
    throw new KeyspanError('KeyspanConnection', sentence, { cause });
  }
  const stream = createWebSocketStream(socket);
  const splitter = inMessages();
  splitter.pipe(stream);
  stream.once('close', () => splitter.destroy());
  return Duplex.from({ readable: stream, writable: splitter });
}

/** A message has its bound, and what is written has none. */
const inMessages = (): Transform =>
  new Transform({
    transform(chunk: Buffer, _encoding, done) {
      for (let at = 0; at < chunk.length; at += MESSAGE_BYTES) {
        this.push(chunk.subarray(at, at + MESSAGE_BYTES));
      }
      done();
    },
  });
