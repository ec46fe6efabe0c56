import { once } from 'node:events';
import { Duplex, Transform } from 'node:stream';
import type { PeerCertificate } from 'node:tls';
import { createWebSocketStream, WebSocket } from 'ws';
import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { P11_SUBPROTOCOL } from '../protocol/client-frames.js';
import { checkHsmIdentity } from './server-identity.js';

/** ENIs of a cluster, and who asks there; PEM texts. */
export interface Pkcs11StreamOptions {
  /** `wss://…`, as `keyspan status` shows them: the first that answers is taken */
  readonly endpoints: readonly string[];
  readonly ca: string;
  readonly certificate: string;
  readonly privateKey: string;
}

const DEFAULT_REGION = 'us-east-1';
const MESSAGE_BYTES = 65_536;

/**
 * The stream of one PKCS #11 application to a cluster on another machine: p11-kit's protocol, as
 * the daemon's own socket speaks it. It lasts as long as the ENI that it came in by.
 * @throws KeyspanError KeyspanUsage for what is no address of an ENI, KeyspanConnection when none
 *   of them answers
 */
export async function openPkcs11Stream(options: Pkcs11StreamOptions): Promise<Duplex> {
  const urls = options.endpoints.map(applicationsUrl);
  let failure = new KeyspanError('KeyspanUsage', 'There is no address of an ENI.');
  for (const url of urls) {
    const socket = dial(url, options);
    try {
      await once(socket, 'open');
      return streamOf(socket);
    } catch (cause) {
      const sentence = `${url.host} cannot be reached: ${(cause as Error).message}`;
      failure = new KeyspanError('KeyspanConnection', sentence, { cause });
    }
  }
  throw failure;
}

/** Where applications come in at an ENI; nothing but TLS, since PINs go that way. */
function applicationsUrl(endpoint: string): URL {
  const url = URL.canParse(endpoint) ? new URL(endpoint) : undefined;
  if (url?.protocol !== 'wss:') {
    throw new KeyspanError('KeyspanUsage', `${endpoint} is no address of an ENI (wss://…).`);
  }
  const region = /^\/v1\/([a-z0-9-]+)/.exec(url.pathname)?.[1] ?? DEFAULT_REGION;
  url.pathname = `/p11/${region}`;
  return url;
}

function dial(url: URL, options: Pkcs11StreamOptions): WebSocket {
  const settings = {
    ca: options.ca,
    cert: options.certificate,
    key: options.privateKey,
    checkServerIdentity: (_host: string, certificate: PeerCertificate) =>
      checkHsmIdentity(certificate),
    handshakeTimeout: LIMITS.client_handshake_timeout_ms,
    perMessageDeflate: false,
  };
  return new WebSocket(
    url,
    P11_SUBPROTOCOL,
    settings as ConstructorParameters<typeof WebSocket>[2],
  );
}

function streamOf(socket: WebSocket): Duplex {
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
