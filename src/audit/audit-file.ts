import { open, readFile, rename, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import {
  CHAIN_BEGIN,
  readContinued,
  readSeal,
  readSequence,
  SEAL_START,
  sealEnd,
  type ChainHead,
} from '../core/audit-seal.js';

const NEWLINE = 0x0a;
/** where the last seal is looked for before all of the file is read */
const TAIL_BYTES = 65_536;

/** How a file was found to end. */
export interface Ending {
  /** its last seal, or the one that it goes on from */
  readonly head: ChainHead;
  /** the number of its last line that has one */
  readonly sequence: number;
  /** what stands behind the last seal */
  readonly unsealed: Buffer;
  /** how many whole lines that is */
  readonly unsealedLines: number;
  /** it ends within a line */
  readonly isTorn: boolean;
}

/** The path of the file that was `age` rotations ago the present one. */
export const auditPath = (directory: string, age: number): string =>
  join(directory, age === 0 ? 'audit.jsonl' : `audit.${age}.jsonl`);

/** The present file of an audit log: it only ever grows by whole writes. */
export class AuditFile {
  readonly #file: FileHandle;
  readonly ending: Ending;
  #bytes: number;

  private constructor(file: FileHandle, bytes: number, ending: Ending) {
    this.#file = file;
    this.#bytes = bytes;
    this.ending = ending;
  }

  /** Opens or makes it (0600). @throws what the file system says */
  static async open(directory: string): Promise<AuditFile> {
    const file = await open(auditPath(directory, 0), 'a+', 0o600);
    try {
      const { size } = await file.stat();
      return new AuditFile(file, size, await readEnding(file, size));
    } catch (error) {
      await file.close().catch(() => undefined);
      throw error;
    }
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Writes all or nothing, as far as the disk lets it. @throws what the file system says */
  async append(bytes: Uint8Array): Promise<void> {
    try {
      for (let at = 0; at < bytes.length;) {
        const { bytesWritten } = await this.#file.write(bytes, at);
        if (bytesWritten === 0) throw new Error('nothing was written');
        at += bytesWritten;
      }
    } catch (error) {
      // where this fails too, the next to open the file tells of what it finds
      await this.#file.truncate(this.#bytes).catch(() => undefined);
      throw error;
    }
    this.#bytes += bytes.length;
  }

  async close(): Promise<void> {
    await this.#file.close().catch(() => undefined);
  }
}

async function readEnding(file: FileHandle, size: number): Promise<Ending> {
  const from = Math.max(0, size - TAIL_BYTES);
  const tail = await readFrom(file, from, size);
  const found = lastSeal(tail);
  if (found) return endingOf(found.head, tail.subarray(found.end));
  const all = from === 0 ? tail : await readFrom(file, 0, size);
  const seal = from === 0 ? undefined : lastSeal(all);
  if (seal) return endingOf(seal.head, all.subarray(seal.end));
  const end = all.indexOf(NEWLINE);
  const first = readContinued(all.toString('utf8', 0, Math.max(end, 0)));
  return endingOf(first ?? CHAIN_BEGIN, all);
}

async function readFrom(file: FileHandle, from: number, size: number): Promise<Buffer> {
  const bytes = Buffer.alloc(size - from);
  let length = 0;
  while (length < bytes.length) {
    const { bytesRead } = await file.read(bytes, length, bytes.length - length, from + length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return bytes.subarray(0, length);
}

/** The last whole line that is a seal, and where the line behind it begins. */
function lastSeal(bytes: Buffer): { head: ChainHead; end: number } | undefined {
  const until = bytes.lastIndexOf(NEWLINE) + 1;
  const whole = bytes.subarray(0, until);
  const at = Math.max(whole.lastIndexOf(`\n${SEAL_START}`) + 1, 0);
  const end = whole.indexOf(NEWLINE, at);
  if (end < 0) return undefined;
  const seal = readSeal(whole.toString('utf8', at, end));
  return seal && { head: { sequence: seal.sequence, hash: seal.hash }, end: end + 1 };
}

function endingOf(head: ChainHead, unsealed: Buffer): Ending {
  const parts = unsealed.toString('utf8').split('\n');
  const isTorn = parts.pop() !== '';
  const numbers = parts.map((line) => readSequence(line) ?? 0);
  const sequence = numbers.reduce((most, one) => Math.max(most, one), head.sequence);
  return { head, sequence, unsealed, unsealedLines: parts.length, isTorn };
}

/** `audit.jsonl` becomes `audit.1.jsonl` and so on; the oldest is overwritten. */
export async function rotate(directory: string, filesMax: number): Promise<void> {
  for (let age = filesMax - 1; age > 0; age -= 1) {
    const [from, to] = [auditPath(directory, age - 1), auditPath(directory, age)];
    await rename(from, to).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
    });
  }
}

/** Whether one of the two newest files has this seal: what was kept last is in no older one. */
export async function holdsSeal(
  directory: string,
  { sequence, hash }: ChainHead,
): Promise<boolean> {
  for (const age of [0, 1]) {
    const bytes = await readFile(auditPath(directory, age)).catch(() => Buffer.alloc(0));
    if (bytes.includes(`"sequence":${sequence}${sealEnd(hash)}`)) return true;
  }
  return false;
}

/** The seal that the file before the present one ends with. */
export async function lastSealOfOlder(directory: string): Promise<ChainHead | undefined> {
  const bytes = await readFile(auditPath(directory, 1)).catch(() => Buffer.alloc(0));
  return lastSeal(bytes)?.head;
}
