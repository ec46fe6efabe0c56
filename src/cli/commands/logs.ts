import { readdirSync } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { pause } from '../../core/deadline.js';
import { KeyspanError } from '../../core/errors.js';
import { findHome, type Home } from '../../core/home.js';
import { EXIT, print } from '../output.js';
import type { SharedOptions } from '../global-options.js';

const POLL_MS = 200;
const READ_BYTES = 64 * 1024;

export interface LogsOptions extends SharedOptions {
  readonly follow?: boolean;
  readonly hsm?: string;
  readonly request?: string;
}

/** Prints the logs of the daemon and of all HSMs as one, in the order of time. */
export async function logs(options: LogsOptions): Promise<number> {
  await using files = new LogFiles(findHome(options.home));
  for (;;) {
    await files.open();
    for await (const line of merge(files.read(options.follow ?? false))) {
      if (isWanted(line, options)) print(options.json ? line.text : formatLine(line.text));
    }
    if (!options.follow) return EXIT.ok;
    await pause(POLL_MS);
  }
}

interface Line {
  readonly text: string;
  /** ISO 8601; of a line that says none, that of the line before */
  readonly time: string;
  /** the name of its file */
  readonly file: string;
}

function isWanted({ text, file }: Line, { hsm, request }: LogsOptions): boolean {
  if (request !== undefined && !text.includes(request)) return false;
  return hsm === undefined || file === `${hsm}.log` || text.includes(hsm);
}

/** The log files of a home, read bit by bit. */
class LogFiles implements AsyncDisposable {
  readonly #home: Home;
  readonly #open = new Map<string, LogFile>();

  constructor(home: Home) {
    this.#home = home;
  }

  /** Opens what has appeared. @throws KeyspanError KeyspanNotRunning when there are no logs */
  async open(): Promise<void> {
    const { logs: folder } = this.#home;
    try {
      for (const name of readdirSync(folder).filter((one) => one.endsWith('.log'))) {
        if (this.#open.has(name)) continue;
        this.#open.set(name, new LogFile(await open(join(folder, name), 'r'), name));
      }
    } catch (cause) {
      throw new KeyspanError('KeyspanNotRunning', `there are no logs in ${folder}`, { cause });
    }
    if (this.#open.size > 0) return;
    throw new KeyspanError('KeyspanNotRunning', `there are no logs in ${folder}`);
  }

  /** Of each file the lines that it has by now. */
  read(more: boolean): AsyncGenerator<Line>[] {
    return [...this.#open.values()].map((file) => file.lines({ more }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const file of this.#open.values()) await file.close();
  }
}

class LogFile {
  readonly #file: FileHandle;
  readonly #name: string;
  readonly #buffer = Buffer.alloc(READ_BYTES);
  #rest = Buffer.alloc(0);
  #time = '';

  constructor(file: FileHandle, name: string) {
    this.#file = file;
    this.#name = name;
  }

  /** @param options.more a last line without an end will be ended later */
  async *lines(options: { more: boolean }): AsyncGenerator<Line> {
    for (;;) {
      const { bytesRead } = await this.#file.read(this.#buffer, 0, this.#buffer.length);
      if (bytesRead === 0) break;
      let rest = Buffer.concat([this.#rest, this.#buffer.subarray(0, bytesRead)]);
      for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
        const line = rest.subarray(0, end);
        rest = rest.subarray(end + 1);
        yield this.#line(line);
      }
      this.#rest = rest;
    }
    if (this.#rest.length > 0 && !options.more) yield this.#line(this.#rest);
  }

  #line(bytes: Buffer): Line {
    const text = bytes.toString('utf8');
    this.#time = /"time":"([^"]+)"/.exec(text)?.[1] ?? this.#time;
    return { text, time: this.#time, file: this.#name };
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

/** Lines of several sources, each in order, in the order of their times. */
async function* merge(sources: readonly AsyncGenerator<Line>[]): AsyncGenerator<Line> {
  const heads: { line: Line; source: AsyncGenerator<Line> }[] = [];
  for (const source of sources) {
    const first = await source.next();
    if (!first.done) heads.push({ line: first.value, source });
  }
  for (;;) {
    // the first of equals: the file that is named first
    const head = heads.reduce<(typeof heads)[0] | undefined>(
      (least, one) => (least && least.line.time <= one.line.time ? least : one),
      undefined,
    );
    if (!head) return;
    yield head.line;
    const next = await head.source.next();
    if (next.done) heads.splice(heads.indexOf(head), 1);
    else head.line = next.value;
  }
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
