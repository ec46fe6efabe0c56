import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import type { Duplex, Readable, Writable } from 'node:stream';
import { openPkcs11Stream } from '../client/pkcs11-stream.js';
import { KeyspanError } from '../core/errors.js';

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
  const stream = await openPkcs11Stream({
    endpoint: options.endpoint,
    ca: pem(options.ca ?? env['KEYSPAN_CA'], '--ca'),
    certificate: pem(options.certificate ?? env['KEYSPAN_CERTIFICATE'], '--certificate'),
    privateKey: pem(options.privateKey ?? env['KEYSPAN_PRIVATE_KEY'], '--private-key'),
  });
  await pump(stream, ends);
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
