import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import type { Duplex, Readable, Writable } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';
import { openPkcs11Stream } from '../client/pkcs11-stream.js';
import { isKeyspanError, KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';

/** Carries the bytes of one PKCS #11 application between standard input and output and a daemon. */

export interface RemoteOptions {
  /** ENIs, as `wss://…` of `keyspan status`, with commas between */
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

/**
 * To the ENIs that are given, else to the daemon of this machine, else to those that the
 * environment names.
 * @throws KeyspanError KeyspanConnection when nobody answers, KeyspanUsage, KeyspanConfig
 */
export async function pipeApplication(
  path: string,
  options: RemoteOptions,
  ends: Ends = STANDARD,
): Promise<void> {
  const { endpoint } = options;
  if (endpoint !== undefined) return await pipeRemote({ ...options, endpoint }, ends);
  try {
    await pipeLocal(path, ends);
  } catch (error) {
    const elsewhere = process.env['KEYSPAN_ENDPOINTS'] ?? '';
    const isAbsent = isKeyspanError(error) && error.code === 'KeyspanConnection';
    if (!isAbsent || elsewhere === '') throw error;
    await pipeRemote({ ...options, endpoint: elsewhere }, ends);
  }
}

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

/**
 * @throws KeyspanError KeyspanConnection, KeyspanUsage for what is no address, KeyspanConfig when
 *   a file cannot be read
 */
export async function pipeRemote(
  options: RemoteOptions & { readonly endpoint: string },
  ends: Ends = STANDARD,
): Promise<void> {
  const { env } = process;
  const stream = await openPkcs11Stream({
    endpoints: options.endpoint.split(',').map((one) => one.trim()),
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

/**
 * Both ways, until either side ends. What was asked before the application's end reaches the
 * daemon, and what was answered by then the application.
 */
async function pump(stream: Duplex, { input, output }: Ends): Promise<void> {
  input.pipe(stream);
  stream.pipe(output);
  const ended = (one: Readable | Writable): Promise<void> =>
    new Promise((resolve) => {
      for (const event of ['end', 'close', 'error']) one.once(event, () => resolve());
    });
  const answered = ended(stream);
  const closed = ended(input).then(() => {
    const grace = pause(LIMITS.close_grace_ms, undefined, { ref: false });
    return Promise.race([answered, grace]);
  });
  await Promise.race([answered, closed, ended(output)]);
  stream.destroy();
  input.unpipe(stream);
  input.pause();
}
