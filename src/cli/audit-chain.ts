import { createHash } from 'node:crypto';
import {
  BROKEN_START,
  CHAIN_BEGIN,
  DROPPED_START,
  readContinued,
  readSeal,
  readSequence,
  RESUMED_START,
  SEAL_START,
  type ChainHead,
  type Seal,
} from '../core/audit-seal.js';

/** One file of an audit log as it was read. */
export interface AuditText {
  readonly name: string;
  readonly bytes: Buffer;
}

/** Where the chain does not hold, and why. */
export interface ChainBreak {
  readonly kind: 'altered' | 'removed' | 'moved' | 'cut off' | 'made anew' | 'found broken';
  readonly file: string;
  /** counted from 1; what is wrong is there or, of what was altered, up to `lastLine` */
  readonly line: number;
  readonly lastLine?: number;
  readonly message: string;
}

export interface ChainReport {
  readonly whole: boolean;
  readonly lines: number;
  readonly seals: number;
  /** the number of the first line that is there, and of the last seal */
  readonly first: number;
  readonly last: number;
  /** a running daemon said that its newest seal is in the files */
  readonly anchored: boolean;
  /** lines that could not be written, as on a full disk */
  readonly dropped: number;
  /** lines that were found without a seal at a start, and were sealed then */
  readonly resumed: number;
  /** lines at the end that are being written */
  readonly unsealed: number;
  readonly break?: ChainBreak;
}

const NEWLINE = 0x0a;

/** What stands between two seals. */
interface Portion {
  /** of the bytes in the file */
  readonly from: number;
  readonly firstLine: number;
  /** the first number that does not follow the one before it */
  odd?: { line: number; expected: number; found: number };
}

/** Walks along the lines of all files, the oldest first, until the chain breaks. */
class Walk {
  #head: ChainHead | undefined;
  #sequence = 0;
  #file = '';
  #line = 0;
  #portion: Portion = { from: 0, firstLine: 1 };
  lines = 0;
  seals = 0;
  first = 0;
  dropped = 0;
  resumed = 0;
  unsealed = 0;
  anchored = false;
  broken: ChainBreak | undefined;
  readonly #anchor: ChainHead | undefined;

  constructor(anchor: ChainHead | undefined) {
    this.#anchor = anchor;
  }

  get last(): number {
    return this.#head?.sequence ?? 0;
  }

  read({ name, bytes }: AuditText): void {
    this.#file = name;
    this.#line = 0;
    this.#portion = { from: 0, firstLine: 1 };
    let from = 0;
    while (from < bytes.length && !this.broken) {
      const end = bytes.indexOf(NEWLINE, from);
      if (end < 0) break;
      this.#line += 1;
      this.lines += 1;
      this.#readLine(bytes, from, end);
      from = end + 1;
    }
    this.unsealed = this.#line - this.#portion.firstLine + 1 + (from < bytes.length ? 1 : 0);
  }

  /** A file is over: no line may stand behind its last seal. */
  endFile(): void {
    if (this.broken || this.unsealed === 0) return;
    const message = 'the file ends without the seal of its last lines';
    this.#break('cut off', this.#portion.firstLine, message);
  }

  end(): void {
    const anchor = this.#anchor;
    if (this.broken || !anchor || this.anchored || anchor.sequence < this.first) return;
    if (this.last < anchor.sequence) {
      const message = `the daemon wrote ${anchor.sequence} lines, and ${this.last} are left`;
      return this.#break('cut off', this.#line, message);
    }
    const message = `the seal of line ${anchor.sequence} is not the one that the daemon made`;
    this.#break('made anew', this.#line, message);
  }

  #readLine(bytes: Buffer, from: number, end: number): void {
    const line = bytes.toString('utf8', from, end);
    if (this.#line === 1) this.#beginFile(line);
    if (this.broken) return;
    this.#number(line);
    if (line.startsWith(SEAL_START)) return this.#seal(line, bytes, from, end);
    if (line.startsWith(DROPPED_START)) this.dropped += memberOf(line, 'lines');
    if (line.startsWith(RESUMED_START)) this.resumed += memberOf(line, 'unsealed');
    if (!line.startsWith(BROKEN_START)) return;
    const lost = memberOf(line, 'lost');
    const message = `the daemon found at its start that the log no longer held its line ${lost}`;
    this.#break('found broken', this.#line, message);
  }

  #beginFile(line: string): void {
    const before = readContinued(line);
    if (!this.#head) {
      this.#head = before ?? CHAIN_BEGIN;
      this.#sequence = this.#head.sequence;
      this.first = this.#sequence + 1;
      return;
    }
    if (before?.hash === this.#head.hash) return;
    this.#break('removed', 1, 'the file does not go on from the one before it');
  }

  /** A line without a number was torn, or is older than seals: the next seal says so. */
  #number(line: string): void {
    const found = readSequence(line);
    if (found === undefined) return;
    const expected = this.#sequence + 1;
    if (found !== expected) this.#portion.odd ??= { line: this.#line, expected, found };
    this.#sequence = found;
  }

  #seal(line: string, bytes: Buffer, from: number, end: number): void {
    const seal = readSeal(line);
    const { from: begin } = this.#portion;
    const hashed = bytes.subarray(begin, from + (seal?.hashedBytes ?? 0));
    const isWhole = seal !== undefined && seal.hash === sha256(hashed);
    if (!isWhole || this.#portion.odd) return this.#explain(isWhole);
    if (seal.previous !== this.#head?.hash) {
      const message = 'what stands before these lines is not what their seal says';
      return this.#break('removed', this.#portion.firstLine, message);
    }
    this.#accept(seal, end);
  }

  #accept(seal: Seal, end: number): void {
    this.seals += 1;
    this.#head = seal;
    if (seal.sequence === this.#anchor?.sequence) this.anchored = seal.hash === this.#anchor.hash;
    this.#portion = { from: end + 1, firstLine: this.#line + 1 };
  }

  /** Says what the numbers of the lines tell about a seal that does not fit. */
  #explain(isWhole: boolean): void {
    const { odd, firstLine } = this.#portion;
    if (odd) {
      const { line, expected, found } = odd;
      const message = `line ${expected} is to be here, and it is line ${found}`;
      return this.#break(found > expected ? 'removed' : 'moved', line, message);
    }
    const message = isWhole
      ? 'the seal is not one of this log'
      : 'a line is not as it was when it was sealed';
    this.#break('altered', firstLine, message, this.#line);
  }

  #break(kind: ChainBreak['kind'], line: number, message: string, lastLine?: number): void {
    const place = { kind, file: this.#file, line, message };
    this.broken ??= lastLine === undefined || lastLine === line ? place : { ...place, lastLine };
  }
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

function memberOf(line: string, name: string): number {
  try {
    const value = (JSON.parse(line) as Record<string, unknown>)[name];
    return typeof value === 'number' ? value : 0;
  } catch {
    return 0;
  }
}

/**
 * Checks the seals of an audit log (core/audit-seal).
 * @param files all that there are, the oldest first
 * @param anchor the newest seal that the daemon had written before the files were read, where one
 * runs: what was cut off at the end, and a chain that was made anew, are found by it alone
 */
export function verifyChain(files: readonly AuditText[], anchor?: ChainHead): ChainReport {
  const walk = new Walk(anchor);
  files.forEach((file, at) => {
    if (walk.broken) return;
    walk.read(file);
    // a daemon that runs may be writing behind its newest seal
    const isLast = at === files.length - 1;
    if (!isLast || !walk.anchored) walk.endFile();
  });
  walk.end();
  const { lines, seals, first, last, anchored, dropped, resumed, broken } = walk;
  return {
    whole: broken === undefined,
    lines,
    seals,
    first,
    last,
    anchored,
    dropped,
    resumed,
    unsealed: broken ? 0 : walk.unsealed,
    ...(broken && { break: broken }),
  };
}
