import { open, type FileHandle } from 'node:fs/promises';
import { pause } from '../../core/deadline.js';
import { KeyspanError } from '../../core/errors.js';
import { findHome } from '../../core/home.js';
import { EXIT, print } from '../output.js';
import type { SharedOptions } from '../shared-options.js';

const POLL_MS = 200;
const READ_BYTES = 64 * 1024;

/** Prints the daemon's log, which all HSMs of the home write into. */
export async function logs(
  options: SharedOptions & { readonly follow?: boolean; readonly hsm?: string },
): Promise<number> {
  const file = await openLogFile(findHome(options.home).daemonLog);
  try {
    for await (const line of lines(file, options.follow ?? false)) {
      if (options.hsm !== undefined && !line.includes(options.hsm)) continue;
      print(options.json ? line : formatLine(line));
    }
  } finally {
    await file.close();
  }
  return EXIT.ok;
}

async function openLogFile(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r');
  } catch (cause) {
    throw new KeyspanError('KeyspanNotRunning', `there is no log at ${path}`, { cause });
  }
}

/** The file line by line; with `follow` it never ends. */
async function* lines(file: FileHandle, follow: boolean): AsyncGenerator<string> {
  const buffer = Buffer.alloc(READ_BYTES);
  let rest = Buffer.alloc(0);
  for (;;) {
    const { bytesRead } = await file.read(buffer, 0, buffer.length);
    rest = Buffer.concat([rest, buffer.subarray(0, bytesRead)]);
    for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
      yield rest.subarray(0, end).toString('utf8');
      rest = rest.subarray(end + 1);
    }
    if (bytesRead > 0) continue;
    if (!follow) break;
    await pause(POLL_MS);
  }
  if (rest.length > 0) yield rest.toString('utf8');
}

const LEVELS: Readonly<Record<number, string>> = {
  10: 'trace',
  20: 'debug',
  30: 'info',
  40: 'warn',
  50: 'error',
  60: 'fatal',
};

/** A line of the structured log for people; any other line as it is. */
export function formatLine(line: string): string {
  let record: unknown;
  try {
    record = JSON.parse(line);
  } catch {
    return line;
  }
  if (typeof record !== 'object' || record === null) return line;
  const { time, level, msg, name, pid: _, ...rest } = record as Record<string, unknown>;
  const details = Object.entries(rest).map(([key, value]) => `${key}=${JSON.stringify(value)}`);
  const word = LEVELS[Number(level)] ?? '';
  const parts = [time, word.padEnd(5), name, msg].map((part) =>
    typeof part === 'string' ? part : '',
  );
  return [...parts, ...details].filter((part) => part !== '').join(' ');
}
