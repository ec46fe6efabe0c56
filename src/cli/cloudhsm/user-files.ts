import { closeSync, fchmodSync, fstatSync, openSync, readSync, writeFileSync } from 'node:fs';
import { parseBase64 } from '../../core/bytes.js';
import { KeyspanError } from '../../core/errors.js';
import { usage } from './context.js';

const CHUNK_BYTES = 1 << 16;

/** A file that a user names, piece by piece. @throws KeyspanError KeyspanUsage */
export function* chunksOf(path: string): Generator<Buffer> {
  const file = attempt(path, 'read', () => openSync(path, 'r'));
  try {
    for (;;) {
      const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
      const length = attempt(path, 'read', () => readSync(file, chunk));
      if (length === 0) return;
      yield chunk.subarray(0, length);
    }
  } finally {
    closeSync(file);
  }
}

/** All of it. @throws KeyspanError KeyspanUsage */
export function readBytes(path: string, maxBytes: number): Buffer {
  const chunks: Buffer[] = [];
  let length = 0;
  for (const chunk of chunksOf(path)) {
    length += chunk.length;
    if (length > maxBytes) throw usage(`The file ${path} is over ${maxBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

export const readText = (path: string, maxBytes: number): string =>
  readBytes(path, maxBytes).toString('utf8');

/** Writes what its user alone may read, over what was there. @throws KeyspanError KeyspanUsage */
export function writeOwned(path: string, content: string | Uint8Array): void {
  attempt(path, 'written', () => {
    const file = openSync(path, 'w', 0o600);
    try {
      // one that was there before had a mode of its own; a terminal keeps it
      if (fstatSync(file).isFile()) fchmodSync(file, 0o600);
      writeFileSync(file, content);
    } finally {
      closeSync(file);
    }
  });
}

function attempt<T>(path: string, what: 'read' | 'written', work: () => T): T {
  try {
    return work();
  } catch (cause) {
    const { code = 'unknown' } = cause as NodeJS.ErrnoException;
    throw new KeyspanError('KeyspanUsage', `The file ${path} cannot be ${what}: ${code}`, {
      cause,
    });
  }
}

/** Bytes that are given in base64, or stand in a file. */
export interface Given {
  readonly data?: string | undefined;
  readonly dataPath?: string | undefined;
}

/** The pieces of them. @throws KeyspanError KeyspanUsage */
export function piecesOf({ data, dataPath }: Given, name: string): Iterable<Uint8Array> {
  if ((data === undefined) === (dataPath === undefined)) {
    throw usage(`Either ${name} or ${name}-path is needed`);
  }
  if (dataPath !== undefined) return chunksOf(dataPath);
  const bytes = parseBase64(data ?? '');
  if (!bytes) throw usage(`${name} is no base64`);
  return [bytes];
}

/** All of them, as base64. @throws KeyspanError KeyspanUsage */
export function bytesOf(given: Given, name: string, maxBytes: number): string {
  const pieces: Uint8Array[] = [];
  let length = 0;
  for (const piece of piecesOf(given, name)) {
    length += piece.length;
    if (length > maxBytes) throw usage(`${name} is over ${maxBytes} bytes`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString('base64');
}
