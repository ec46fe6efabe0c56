import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import type { Duplex, Readable, Writable } from 'node:stream';
import type { PeerCertificate } from 'node:tls';
import { createWebSocketStream, WebSocket } from 'ws';
import { checkHsmIdentity } from '../client/server-identity.js';
import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { P11_SUBPROTOCOL } from '../protocol/client-frames.js';

/** Carries the bytes of one PKCS #11 application between standard input and output and a daemon. */

export interface RemoteOptions {
  /** an ENI, as `wss://…` of `keyspan status` */
  readonly endpoint?: string;
  /** paths of PEM files; else those that the environment names */
  readonly ca?: string;
  readonly certificate?: string;
  readonly privateKey?: string;
}

interface Ends {
  readonly input: Readable;
  readonly output: Writable;
}

const STANDARD: Ends = { input: process.stdin, output: process.stdout };

/** @throws KeyspanError KeyspanConnection when no daemon listens */
export async function pipeLocal(path: string, ends: Ends = STANDARD): Promise<void> {
  const socket = createConnection(path);
  try {
    await once(socket, 'connect');
  } catch (cause) {
    throw new KeyspanError('KeyspanConnection', `No daemon listens on ${path}.`, { cause });
  }
  await pump(socket, ends);
}

/** @throws KeyspanError KeyspanConnection, KeyspanConfig when a file cannot be read */
export async function pipeRemote(
  options: RemoteOptions & { readonly endpoint: string },
  ends: Ends = STANDARD,
): Promise<void> {
  const { env } = process;
  const url = new URL(options.endpoint);
  const region = /^\/v1\/([a-z0-9-]+)/.exec(url.pathname)?.[1] ?? 'us-east-1';
  url.pathname = `/p11/${region}`;
  const socket = new WebSocket(url, P11_SUBPROTOCOL, {
    ca: pem(options.ca ?? env['KEYSPAN_CA'], '--ca'),
    cert: pem(options.certificate ?? env['KEYSPAN_CERTIFICATE'], '--certificate'),
    key: pem(options.privateKey ?? env['KEYSPAN_PRIVATE_KEY'], '--private-key'),
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
  await pump(createWebSocketStream(socket), ends);
}

function pem(path: string | undefined, option: string): string {
  if (path === undefined) {
    const sentence = `${option} is needed, or the variables of keyspan env.`;
    throw new KeyspanError('KeyspanConfig', sentence);
  }
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new KeyspanError('KeyspanConfig', `${path} cannot be read`, { cause });
  }
}

/** Both ways, until either side ends. */
async function pump(stream: Duplex, { input, output }: Ends): Promise<void> {
  input.pipe(stream);
  stream.pipe(output);
  const ended = (one: Readable | Writable): Promise<void> =>
    new Promise((resolve) => {
      for (const event of ['end', 'close', 'error']) one.once(event, () => resolve());
    });
  await Promise.race([ended(stream), ended(input), ended(output)]);
  stream.destroy();
  input.unpipe(stream);
  input.pause();
}
