import { randomBytes } from 'node:crypto';
import { constants, createReadStream, rmSync } from 'node:fs';
import { access, chmod, open, realpath, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { KeyspanError } from '../core/errors.js';

const READ_BYTES = 256 * 1024;

export interface Input {
  readonly stream: AsyncIterable<Uint8Array>;
  /** undefined where it cannot be known before */
  readonly totalBytes: number | undefined;
}

/** Opens a file, or standard input for `-`. */
export async function openInput(file: string): Promise<Input> {
  if (file === '-') {
    return { stream: process.stdin as AsyncIterable<Uint8Array>, totalBytes: undefined };
  }
  const found = await stat(file);
  if (found.isDirectory()) throw new KeyspanError('KeyspanUsage', `${file} is a directory`);
  await access(file, constants.R_OK);
  return { stream: read(file), totalBytes: found.isFile() ? found.size : undefined };
}

/** Opens the file when its first piece is asked for, so that nothing is left open before. */
async function* read(file: string): AsyncGenerator<Uint8Array> {
  yield* createReadStream(file, { highWaterMark: READ_BYTES }) as AsyncIterable<Uint8Array>;
}

/**
 * Writes a stream where it belongs. A file appears as a whole or not at all: the bytes go to a
 * file beside it, which takes its name when the stream has ended well and is removed when it has
 * not. Standard output and devices get every piece as it comes.
 * @returns how many bytes were written
 */
export async function writeOutput(
  source: AsyncIterable<Uint8Array>,
  output: string | undefined,
): Promise<number> {
  if (output === undefined || output === '-') return await writeStandardOutput(source);
  const target = await findTarget(output);
  if (target.kind === 'device') {
    const device = await open(target.path, 'w');
    try {
      return await writeAll(source, device);
    } finally {
      await device.close();
    }
  }
  return await writeBeside(source, target);
}

async function writeBeside(
  source: AsyncIterable<Uint8Array>,
  target: { readonly path: string; readonly mode: number | undefined },
): Promise<number> {
  const name = `.${basename(target.path)}.${randomBytes(6).toString('hex')}.partial`;
  const partial = join(dirname(target.path), name);
  const file = await open(partial, 'wx');
  const release = removeOnSignal(partial);
  try {
    const bytes = await writeAll(source, file);
    await file.sync();
    await file.close();
    if (target.mode !== undefined) await chmod(partial, target.mode);
    await rename(partial, target.path);
    return bytes;
  } catch (error) {
    await file.close();
    await rm(partial, { force: true });
    throw error;
  } finally {
    release();
  }
}

async function writeAll(source: AsyncIterable<Uint8Array>, file: FileHandle): Promise<number> {
  let bytes = 0;
  for await (const chunk of source) {
    for (let at = 0; at < chunk.length;) {
      at += (await file.write(chunk, at, chunk.length - at)).bytesWritten;
    }
    bytes += chunk.length;
  }
  return bytes;
}

async function writeStandardOutput(source: AsyncIterable<Uint8Array>): Promise<number> {
  let bytes = 0;
  for await (const chunk of source) {
    bytes += chunk.length;
    await new Promise<void>((resolve, reject) => {
      process.stdout.write(chunk, (error) => (error ? reject(error) : resolve()));
    });
  }
  return bytes;
}

/** Where a name leads: links are followed, and what is no regular file is not replaced by one. */
async function findTarget(
  output: string,
): Promise<{ kind: 'file' | 'device'; path: string; mode: number | undefined }> {
  try {
    const path = await realpath(output);
    const found = await stat(path);
    if (found.isDirectory()) throw new KeyspanError('KeyspanUsage', `${output} is a directory`);
    return { kind: found.isFile() ? 'file' : 'device', path, mode: found.mode & 0o777 };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return { kind: 'file', path: output, mode: undefined };
  }
}

/** Ctrl-C must leave no half of a file behind. */
function removeOnSignal(path: string): () => void {
  const numbers = { SIGINT: 2, SIGTERM: 15, SIGHUP: 1 } as const;
  const leave = (signal: NodeJS.Signals): void => {
    rmSync(path, { force: true });
    process.exit(128 + (numbers[signal as keyof typeof numbers] ?? 0));
  };
  for (const signal of Object.keys(numbers)) process.once(signal, leave);
  return () => {
    for (const signal of Object.keys(numbers)) process.off(signal, leave);
  };
}
