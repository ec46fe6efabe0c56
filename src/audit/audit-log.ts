import { chmod, mkdir } from 'node:fs/promises';
import { webcrypto } from 'node:crypto';
import {
  BROKEN_START,
  CHAIN_BEGIN,
  CONTINUED_START,
  DROPPED_START,
  RESUMED_START,
  sealEnd,
  sealStart,
  type ChainHead,
} from '../core/audit-seal.js';
import { pause } from '../core/deadline.js';
import { LIMITS } from '../core/limits.js';
import { AuditFile, holdsSeal, lastSealOfOlder, rotate } from './audit-file.js';
import { WriteBuffer } from './write-buffer.js';

/** One line of the audit file. */
export interface AuditRecord {
  /** civil time as ISO 8601 in UTC */
  readonly time: string;
  /** what happened, as `noun.verb` */
  readonly event: string;
  readonly [member: string]: unknown;
}

/** Where the newest seal is kept outside the log's directory. */
export interface AuditAnchor {
  /** the seal that was kept last; undefined where none was */
  read(): Promise<ChainHead | undefined>;
  keep(head: ChainHead): Promise<void>;
}

export interface AuditLogOptions {
  readonly fileMaxBytes?: number;
  /** how many files there are, the present one included */
  readonly filesMax?: number;
  /** without one nobody learns of files that were cut off or written anew between two starts */
  readonly anchor?: AuditAnchor | undefined;
}

/** What a write holds. */
interface Sealed {
  readonly bytes: Uint8Array;
  readonly head: ChainHead;
}

/** What was found when the file was opened. */
interface Found {
  /** the file is empty: the seal that it goes on from */
  readonly continued?: ChainHead | undefined;
  /** it ended with lines that no seal is about */
  readonly resumed?: { readonly unsealed: number; readonly torn: boolean } | undefined;
  /** the number of a seal that is not there any more */
  readonly lost?: number | undefined;
}

const NOTHING = new Uint8Array();
const NEWLINE = 0x0a;

/**
 * A bounded file of JSON lines, chained by seals (core/audit-seal). Writing never blocks and never
 * fails: lines wait in memory for a few milliseconds and leave it in one write, with the seal over
 * them. When the disk is full, lines are dropped and a later line tells how many.
 */
export class AuditLog implements AsyncDisposable {
  readonly #directory: string;
  readonly #fileMaxBytes: number;
  readonly #filesMax: number;
  readonly #anchor: AuditAnchor | undefined;
  readonly #buffer = new WriteBuffer();
  #file: AuditFile | undefined;
  /** what stands in the file behind its last seal */
  #unsealed: Uint8Array = NOTHING;
  /** the last seal */
  #head = CHAIN_BEGIN;
  /** of the last line */
  #sequence = 0;
  /** what the next write is to tell of the log itself */
  #found: Found = {};
  #lines: string[] = [];
  #chars = 0;
  /** not yet told of */
  #dropped = 0;
  #droppedTotal = 0;
  #lastTime = '';
  #closed = false;
  readonly #closing = new AbortController();
  #flushing: Promise<void> | undefined;
  #keeping: NodeJS.Timeout | undefined;

  private constructor(directory: string, options: AuditLogOptions) {
    this.#directory = directory;
    this.#fileMaxBytes = options.fileMaxBytes ?? LIMITS.audit_file_max_bytes;
    this.#filesMax = options.filesMax ?? LIMITS.audit_files_max;
    this.#anchor = options.anchor;
  }

  /** Opens or makes `audit.jsonl` in `directory` (0700). @throws what the file system says */
  static async open(directory: string, options: AuditLogOptions = {}): Promise<AuditLog> {
    const log = new AuditLog(directory, options);
    await mkdir(directory, { recursive: true, mode: 0o700 });
    await chmod(directory, 0o700);
    await log.#openFile(await options.anchor?.read());
    return log;
  }

  /** how many lines could not be written since the log was opened */
  get droppedTotal(): number {
    return this.#droppedTotal;
  }

  /** the file was found without a seal that it had, and no line tells of it yet */
  get isBroken(): boolean {
    return this.#found.lost !== undefined;
  }

  /** the last seal that is in the file */
  get head(): ChainHead {
    return this.#head;
  }

  write(record: AuditRecord): void {
    this.writeLine(toLine(record), record.time);
  }

  /**
   * For hot paths.
   * @param line one JSON object with a member or more, without a newline and without its closing
   * brace, within the line's bound
   */
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
    await this.#keepHead();
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
    if (told > 0) lines.unshift(this.#about(DROPPED_START, { lines: told }));
    try {
      await this.#append(lines);
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

  async #append(lines: readonly string[]): Promise<void> {
    let file = this.#file ?? (await this.#openFile());
    let sealed = await this.#seal(lines);
    const isFull = file.bytes > 0 && file.bytes + sealed.bytes.length > this.#fileMaxBytes;
    // what no seal is about yet stays in one file with the seal that will be
    const turns = isFull && this.#unsealed.length === 0;
    if (turns) {
      file = await this.#rotate();
      sealed = await this.#seal(lines);
    }
    await file.append(sealed.bytes);
    this.#head = sealed.head;
    this.#sequence = sealed.head.sequence;
    this.#found = {};
    this.#unsealed = NOTHING;
    if (turns) await this.#keepHead();
    else this.#keeping ??= setTimeout(() => void this.#keepHead(), LIMITS.audit_anchor_ms).unref();
  }

  /** Numbers the lines and ends them with their seal. */
  async #seal(lines: readonly string[]): Promise<Sealed> {
    const buffer = this.#buffer;
    buffer.reset();
    const unsealed = this.#unsealed;
    if (unsealed.length > 0 && unsealed.at(-1) !== NEWLINE) buffer.push('\n');
    let sequence = this.#sequence;
    for (const line of this.#own()) buffer.push(`${line},"sequence":${(sequence += 1)}}\n`);
    for (const line of lines) buffer.push(`${line},"sequence":${(sequence += 1)}}\n`);
    const count = sequence - this.#sequence;
    sequence += 1;
    const { hash: previous } = this.#head;
    buffer.push(sealStart({ time: this.#lastTime, lines: count, previous, sequence }));
    const { bytes } = buffer;
    const hashed = unsealed.length === 0 ? bytes : Buffer.concat([unsealed, bytes]);
    // in a thread of its own: on many machines it takes longer than all else
    const digest = await webcrypto.subtle.digest('SHA-256', hashed);
    const hash = Buffer.from(digest).toString('hex');
    buffer.push(sealEnd(hash));
    return { bytes: buffer.bytes, head: { sequence, hash } };
  }

  /**
   * Finds where the chain goes on.
   * @param kept the newest seal that is known from elsewhere; else the last that was written
   */
  async #openFile(kept?: ChainHead): Promise<AuditFile> {
    const file = await AuditFile.open(this.#directory);
    const known = kept ?? this.#head;
    const { head, sequence, unsealed, unsealedLines: lines, isTorn } = file.ending;
    const isThere = known.sequence === 0 || (await holdsSeal(this.#directory, known));
    const lost = this.#found.lost ?? (isThere ? undefined : known.sequence);
    const resumed = unsealed.length > 0 ? { unsealed: lines, torn: isTorn } : undefined;
    this.#found = { lost, resumed };
    this.#unsealed = unsealed;
    this.#head = head;
    this.#sequence = sequence;
    if (file.bytes === 0) this.#continue((await lastSealOfOlder(this.#directory)) ?? known);
    this.#file = file;
    return file;
  }

  #continue(head: ChainHead): void {
    this.#head = head;
    this.#sequence = head.sequence;
    if (head.sequence > 0) this.#found = { ...this.#found, continued: head };
  }

  /** After a failed write too: the next one opens the file anew. */
  async #closeFile(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.close();
  }

  async #rotate(): Promise<AuditFile> {
    const head = this.#head;
    await this.#closeFile();
    await rotate(this.#directory, this.#filesMax);
    this.#file = await AuditFile.open(this.#directory);
    this.#continue(head);
    return this.#file;
  }

  /** Where it cannot be kept now it is kept later: the chain itself does not need it. */
  async #keepHead(): Promise<void> {
    clearTimeout(this.#keeping);
    this.#keeping = undefined;
    if (this.#head.sequence > 0) await this.#anchor?.keep(this.#head).catch(() => undefined);
  }

  /** The lines that tell of the log itself. */
  #own(): string[] {
    const { continued, resumed, lost } = this.#found;
    const lines: string[] = [];
    if (continued) lines.push(this.#about(CONTINUED_START, { previous: continued.hash }));
    if (resumed) lines.push(this.#about(RESUMED_START, resumed));
    if (lost !== undefined) lines.push(this.#about(BROKEN_START, { lost }));
    return lines;
  }

  #about(start: string, members: object): string {
    const rest = JSON.stringify({ time: this.#lastTime, ...members });
    return start + rest.slice(1, -1);
  }
}

/** A record that is too long is replaced by its head: the event is told in any case. */
function toLine(record: AuditRecord): string {
  const line = JSON.stringify(record);
  if (fitsLine(line)) return line.slice(0, -1);
  const { time, event } = record;
  const bytes = Buffer.byteLength(line);
  return JSON.stringify({ time, event, truncated: true, bytes }).slice(0, -1);
}

/** Whether a line is within its bound; most are so short that nothing need be counted. */
export function fitsLine(line: string): boolean {
  const max = LIMITS.audit_line_max_bytes;
  return line.length * 3 <= max || Buffer.byteLength(line) <= max;
}
