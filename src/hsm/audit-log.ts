import {
  closeSync,
  existsSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  writeSync,
} from 'node:fs';
import { LIMITS } from '../core/limits.js';
import {
  HSM_AUDIT_VERSION,
  auditFile,
  readAuditLine,
  type HsmAuditEntry,
} from '../protocol/hsm-audit.js';
import type { HsmLog } from './deferred-log.js';

/** What an entry says, without what the log itself knows. */
export type AuditEvent = Omit<HsmAuditEntry, 'version' | 'usecs' | 'sequence' | 'reboot'>;

export interface HsmAuditLogOptions {
  readonly path: string;
  readonly log: HsmLog;
  /** milliseconds since 1970 */
  readonly now: () => number;
  readonly fileMaxBytes?: number;
  /** how many files there are, the present one included */
  readonly filesMax?: number;
  readonly waitingMax?: number;
}

interface Waiting {
  readonly usecs: number;
  readonly event: AuditEvent;
}

type Counters = Pick<HsmAuditEntry, 'sequence' | 'reboot'>;

const NEWLINE = 0x0a;
/** holds a hundred entries and more */
const TAIL_BYTES = 65_536;

/**
 * The audit log of this HSM. An entry is in its file when `write` returns, so that no command is
 * answered before; the operating system has it then, and a killed process loses none.
 *
 * Numbers have no gaps: an entry gets its number when it is written, the one behind the last that
 * is on file. What a process that was killed, or a full disk, left of a line is cut off: nobody was
 * told of it. While nothing can be written, commands go on and their entries wait; of those over
 * the bound only the numbers are kept, so that the gap says how many are missing.
 */
export class HsmAuditLog {
  readonly #path: string;
  readonly #log: HsmLog;
  readonly #now: () => number;
  readonly #fileMaxBytes: number;
  readonly #filesMax: number;
  readonly #waitingMax: number;
  readonly #waiting: Waiting[] = [];
  /** entries that were given up, all later than those that wait */
  #lost = 0;
  #failing = false;
  /** the end marker was written: nothing comes behind it */
  #isEnded = false;
  #file: number | undefined;
  /** of the present file, whole lines */
  #fileBytes = 0;
  /** of the next entry; undefined until the file was read */
  #next: Counters | undefined;

  constructor(options: HsmAuditLogOptions) {
    this.#path = options.path;
    this.#log = options.log;
    this.#now = options.now;
    this.#fileMaxBytes = options.fileMaxBytes ?? LIMITS.hsm_audit_file_max_bytes;
    this.#filesMax = options.filesMax ?? LIMITS.hsm_audit_files_max;
    this.#waitingMax = options.waitingMax ?? LIMITS.hsm_audit_waiting_max;
  }

  /** Never throws: what cannot be written waits, and the HSM's log says so once. */
  write(events: readonly AuditEvent[]): void {
    const usecs = this.#now() * 1_000;
    for (const event of events) {
      if (this.#isEnded) return;
      this.#take({ usecs, event });
      this.#isEnded = event.opcode === 'END_MARKER_OPCODE';
    }
  }

  /** Writes what waits, if it can be written now. */
  close(): void {
    this.#drain();
    this.#closeFile();
  }

  #take(entry: Waiting): void {
    if (this.#waiting.length > 0) this.#drain();
    const kept = this.#waiting.length;
    // behind one that is lost nothing may wait: numbers tell the order
    if (kept >= this.#waitingMax || (this.#lost > 0 && kept > 0)) {
      this.#lost += 1;
      return;
    }
    this.#waiting.push(entry);
    this.#drain();
  }

  #drain(): void {
    try {
      for (let first = this.#waiting[0]; first; first = this.#waiting[0]) {
        this.#append(first);
        this.#waiting.shift();
      }
    } catch (error) {
      this.#closeFile();
      if (!this.#failing) {
        this.#log.error({ err: error, path: this.#path }, 'audit entries cannot be written');
      }
      this.#failing = true;
      return;
    }
    if (this.#failing) this.#recovered();
  }

  #recovered(): void {
    const lost = this.#lost;
    this.#log.warn({ lost, path: this.#path }, 'audit entries can be written again');
    if (this.#next) this.#next = { ...this.#next, sequence: this.#next.sequence + lost };
    this.#lost = 0;
    this.#failing = false;
  }

  #append({ usecs, event }: Waiting): void {
    let file = this.#file ?? this.#open();
    const next = this.#next as Counters;
    const entry: HsmAuditEntry = { version: HSM_AUDIT_VERSION, usecs, ...next, ...event };
    const line = Buffer.from(`${JSON.stringify(entry)}\n`, 'utf8');
    if (this.#fileBytes > 0 && this.#fileBytes + line.length > this.#fileMaxBytes) {
      file = this.#rotate();
    }
    for (let at = 0; at < line.length;) {
      const written = writeSync(file, line, at);
      if (written === 0) throw new Error('nothing was written');
      at += written;
    }
    this.#fileBytes += line.length;
    this.#next = { ...next, sequence: next.sequence + 1 };
  }

  /** Opens the file and learns what is in it; the piece of a line at its end goes. */
  #open(): number {
    const file = openSync(this.#path, 'a+', 0o600);
    this.#file = file;
    this.#fileBytes = endLastLine(file);
    this.#next ??= countersAfter(lastCounters(this.#path, file, this.#fileBytes));
    return file;
  }

  #closeFile(): void {
    const file = this.#file;
    this.#file = undefined;
    try {
      if (file !== undefined) closeSync(file);
    } catch {
      // the next write says what is wrong
    }
  }

  /** The file becomes the first of the older ones; the oldest is overwritten. */
  #rotate(): number {
    this.#closeFile();
    for (let age = this.#filesMax - 1; age > 0; age -= 1) {
      const from = auditFile(this.#path, age - 1);
      if (existsSync(from)) renameSync(from, auditFile(this.#path, age));
    }
    return this.#open();
  }
}

function readTail(file: number, size: number, bytes: number): Buffer {
  const tail = Buffer.alloc(Math.min(size, bytes));
  const read = readSync(file, tail, 0, tail.length, size - tail.length);
  return tail.subarray(0, read);
}

/** Cuts off the piece of a line at the end. @returns the file's size from then on */
function endLastLine(file: number): number {
  const { size } = fstatSync(file);
  const tail = readTail(file, size, TAIL_BYTES);
  const kept = tail.lastIndexOf(NEWLINE) + 1;
  if (kept === tail.length) return size;
  // no line is so long: it is not one of ours, and stays as it is
  if (kept === 0 && tail.length < size) return size + writeSync(file, '\n');
  ftruncateSync(file, size - tail.length + kept);
  return size - tail.length + kept;
}

/** What the last entry says, in this file or, when it is new, in the one before. */
function lastCounters(path: string, file: number, size: number): Counters | undefined {
  const found =
    lastIn(readTail(file, size, TAIL_BYTES)) ??
    (size > TAIL_BYTES ? lastIn(readTail(file, size, size)) : undefined);
  const before = auditFile(path, 1);
  if (found || !existsSync(before)) return found;
  return lastIn(readFileSync(before));
}

/** Of the first entry of a start. */
const countersAfter = (last: Counters | undefined): Counters =>
  last ? { sequence: last.sequence + 1, reboot: last.reboot + 1 } : { sequence: 0, reboot: 0 };

/** A damaged line behind the last one that can be read had a number too. */
function lastIn(bytes: Buffer): Counters | undefined {
  const lines = bytes.toString('utf8').split('\n').slice(0, -1).reverse();
  for (const [damaged, line] of lines.entries()) {
    const entry = readAuditLine(line);
    if (entry) return { sequence: entry.sequence + damaged, reboot: entry.reboot };
  }
  return undefined;
}
