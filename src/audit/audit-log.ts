import { chmod, mkdir, open, rename, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { pause } from '../core/deadline.js';
import { LIMITS } from '../core/limits.js';

/** One line of the audit file. */
export interface AuditRecord {
  /** civil time as ISO 8601 in UTC */
  readonly time: string;
  /** what happened, as `noun.verb` */
  readonly event: string;
  readonly [member: string]: unknown;
}

export interface AuditLogOptions {
  readonly fileMaxBytes?: number;
  /** how many files there are, the present one included */
  readonly filesMax?: number;
}

const NEWLINE = 0x0a;

/**
 * A bounded file of JSON lines. Writing never blocks and never fails: lines wait in memory for a
 * few milliseconds and leave it in one write. When the disk is full, lines are dropped
 * and a later line tells how many.
 */
export class AuditLog implements AsyncDisposable {
  readonly #directory: string;
  readonly #fileMaxBytes: number;
  readonly #filesMax: number;
  #file: FileHandle | undefined;
  #fileBytes = 0;
  /** the file was found to end within a line: the next write begins a new one */
  #torn = false;
  #lines: string[] = [];
  #chars = 0;
  /** not yet told of */
  #dropped = 0;
  #droppedTotal = 0;
  #lastTime = '';
  #closed = false;
  readonly #closing = new AbortController();
  #flushing: Promise<void> | undefined;

  private constructor(directory: string, options: AuditLogOptions) {
    this.#directory = directory;
    this.#fileMaxBytes = options.fileMaxBytes ?? LIMITS.audit_file_max_bytes;
    this.#filesMax = options.filesMax ?? LIMITS.audit_files_max;
  }

  /** Opens or makes `audit.jsonl` in `directory` (0700). @throws what the file system says */
  static async open(directory: string, options: AuditLogOptions = {}): Promise<AuditLog> {
    const log = new AuditLog(directory, options);
    await mkdir(directory, { recursive: true, mode: 0o700 });
    await chmod(directory, 0o700);
    await log.#openFile();
    return log;
  }

  /** how many lines could not be written since the log was opened */
  get droppedTotal(): number {
    return this.#droppedTotal;
  }

  write(record: AuditRecord): void {
    this.writeLine(toLine(record), record.time);
  }

  /** For hot paths: `line` is one JSON object without a newline, within the line's bound. */
  writeLine(line: string, time: string): void {
    this.#lastTime = time;
    if (this.#closed || this.#chars + line.length > LIMITS.audit_buffer_max_chars) {
      this.#drop(1);
      return;
    }
    this.#lines.push(line);
    this.#chars += line.length + 1;
    this.#flushing ??= this.#flush();
  }

  /** Writes what waits, then closes the file. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    this.#closing.abort();
    await this.#flushing;
    await this.#closeFile();
  }

  async #flush(): Promise<void> {
    while (this.#lines.length > 0) {
      // a thread does the writing: to call it for each line would cost more than the line
      await pause(LIMITS.audit_flush_ms, this.#closing.signal);
      await this.#writeWaiting();
    }
    this.#flushing = undefined;
  }

  async #writeWaiting(): Promise<void> {
    const lines = this.#lines;
    const told = this.#dropped;
    this.#lines = [];
    this.#chars = 0;
    this.#dropped = 0;
    if (told > 0) {
      lines.unshift(JSON.stringify({ time: this.#lastTime, event: 'audit.dropped', lines: told }));
    }
    try {
      await this.#append(Buffer.from(`${lines.join('\n')}\n`, 'utf8'));
    } catch {
      // there is nowhere to tell it but the next line that can be written
      this.#dropped += told;
      this.#drop(told > 0 ? lines.length - 1 : lines.length);
      await this.#closeFile();
    }
  }

  #drop(lines: number): void {
    this.#dropped += lines;
    this.#droppedTotal += lines;
  }

  async #append(bytes: Buffer): Promise<void> {
    if (this.#fileBytes > 0 && this.#fileBytes + bytes.length > this.#fileMaxBytes) {
      await this.#rotate();
    }
    const file = this.#file ?? (await this.#openFile());
    const rest = this.#torn ? Buffer.concat([Buffer.of(NEWLINE), bytes]) : bytes;
    this.#torn = false;
    for (let at = 0; at < rest.length;) {
      const { bytesWritten } = await file.write(rest, at);
      if (bytesWritten === 0) throw new Error('nothing was written');
      at += bytesWritten;
      this.#fileBytes += bytesWritten;
    }
  }

  #path(age: number): string {
    return join(this.#directory, age === 0 ? 'audit.jsonl' : `audit.${age}.jsonl`);
  }

  async #openFile(): Promise<FileHandle> {
    const file = await open(this.#path(0), 'a+', 0o600);
    const { size } = await file.stat();
    const last = Buffer.of(NEWLINE);
    if (size > 0) await file.read(last, 0, 1, size - 1);
    this.#torn = last[0] !== NEWLINE;
    this.#fileBytes = size;
    this.#file = file;
    return file;
  }

  /** After a failed write too: the next one opens the file anew. */
  async #closeFile(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.close().catch(() => undefined);
  }

  /** `audit.jsonl` becomes `audit.1.jsonl` and so on; the oldest is overwritten. */
  async #rotate(): Promise<void> {
    await this.#closeFile();
    for (let age = this.#filesMax - 1; age > 0; age -= 1) {
      await rename(this.#path(age - 1), this.#path(age)).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOENT') throw error;
      });
    }
    await this.#openFile();
  }
}

/** A record that is too long is replaced by its head: the event is told in any case. */
function toLine(record: AuditRecord): string {
  const line = JSON.stringify(record);
  if (fitsLine(line)) return line;
  const { time, event } = record;
  return JSON.stringify({ time, event, truncated: true, bytes: Buffer.byteLength(line) });
}

/** Whether a line is within its bound; most are so short that nothing need be counted. */
export function fitsLine(line: string): boolean {
  const max = LIMITS.audit_line_max_bytes;
  return line.length * 3 <= max || Buffer.byteLength(line) <= max;
}
