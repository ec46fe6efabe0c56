/**
 * What chains the lines of the audit log. Each write ends with a seal: a line that holds the
 * SHA-256 of all bytes since the end of the seal before it (or the beginning of its file), its own
 * up to `,"hash":` included, and, among these, the hash of that seal before. Every line has a
 * number as its last member (a seal's hash follows it), one more than the line before it.
 */
export interface ChainHead {
  /** the number of the line that is the seal */
  readonly sequence: number;
  /** SHA-256 in hexadecimal digits */
  readonly hash: string;
}

/** A line that is a seal, as it was read. */
export interface Seal extends ChainHead {
  /** the hash of the seal before */
  readonly previous: string;
  /** how many of its bytes the hash is about */
  readonly hashedBytes: number;
}

/** The chain begins here; its first seal names no seal before it. */
export const CHAIN_BEGIN: ChainHead = { sequence: 0, hash: '' };

/** Lines of the log about itself begin so; in no other does this stand at the beginning. */
export const SEAL_START = '{"event":"audit.seal",';
export const CONTINUED_START = '{"event":"audit.continued",';
export const RESUMED_START = '{"event":"audit.resumed",';
export const BROKEN_START = '{"event":"audit.broken",';
export const DROPPED_START = '{"event":"audit.dropped",';

const SEAL = /"previous":"([0-9a-f]{64})?","sequence":(\d{1,15}),"hash":"([0-9a-f]{64})"\}$/;
const HASH_BYTES = ',"hash":""}'.length + 64;
const CONTINUED = /"previous":"([0-9a-f]{64})?","sequence":(\d{1,15})\}$/;
const SEQUENCE = /,"sequence":(\d{1,15})(?:,"hash":"[0-9a-f]{64}")?\}$/;

/** A seal up to its hash. */
export function sealStart(seal: {
  readonly time: string;
  /** how many lines it stands for */
  readonly lines: number;
  readonly previous: string;
  readonly sequence: number;
}): string {
  const { time, lines, previous, sequence } = seal;
  const about = `"time":${JSON.stringify(time)},"lines":${lines}`;
  return `${SEAL_START}${about},"previous":"${previous}","sequence":${sequence}`;
}

/** The rest of a seal, with the end of its line. */
export const sealEnd = (hash: string): string => `,"hash":"${hash}"}\n`;

/** @param line without its end; undefined when it is no seal */
export function readSeal(line: string): Seal | undefined {
  if (!line.startsWith(SEAL_START)) return undefined;
  const [, previous = '', sequence, hash = ''] = SEAL.exec(line) ?? [];
  if (sequence === undefined) return undefined;
  const hashedBytes = Buffer.byteLength(line) - HASH_BYTES;
  return { sequence: Number(sequence), hash, previous, hashedBytes };
}

/** The seal that a file goes on from, where its first line names one. */
export function readContinued(line: string): ChainHead | undefined {
  if (!line.startsWith(CONTINUED_START)) return undefined;
  const [, hash = '', sequence] = CONTINUED.exec(line) ?? [];
  return sequence === undefined ? undefined : { sequence: Number(sequence) - 1, hash };
}

/** The number of a line; undefined of one that has none: torn, or of a log without seals. */
export function readSequence(line: string): number | undefined {
  const digits = SEQUENCE.exec(line)?.[1];
  return digits === undefined ? undefined : Number(digits);
}
