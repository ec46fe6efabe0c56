import { readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CKA } from '../../src/core/pkcs11.js';

/** Object files of SoftHSM tokens (src/token/object-file.ts has their form), and how they spoil. */
const WORD = 8;
/** where the number of an object's class stands: CKA_CLASS is the first attribute */
const CLASS_OFFSET = 3 * WORD;
const BLOCK_BYTES = 16;
const BOOLEAN_KIND = 1;
const NUMBER_KIND = 2;
const BYTES_KIND = 3;
const MECHANISMS_KIND = 5;

/** The directory of the one token under a token's directory. */
export function tokenFolder(directory: string): string {
  const tokens = join(directory, 'tokens');
  return join(tokens, readdirSync(tokens)[0] ?? '');
}

/** The files of objects on the one token under a token's directory. */
export function objectFiles(directory: string): string[] {
  const folder = tokenFolder(directory);
  return readdirSync(folder)
    .filter((name) => name.endsWith('.object') && name !== 'token.object')
    .map((name) => join(folder, name));
}

/** The CKO number of an object; undefined while its file is being written. */
export function classOf(path: string): number | undefined {
  const file = readFileSync(path);
  return file.length < CLASS_OFFSET + WORD ? undefined : Number(file.readBigUInt64BE(CLASS_OFFSET));
}

/** Turns bits over, at a part of the file's length. */
export function flip(path: string, part: number): void {
  const bytes = readFileSync(path);
  const at = Math.floor(part * (bytes.length - 1));
  for (let offset = at; offset < Math.min(at + 4, bytes.length); offset += 1) {
    bytes[offset] = (bytes[offset] ?? 0) ^ 0x5a;
  }
  writeFileSync(path, bytes);
}

export const truncate = (path: string, part: number): void =>
  truncateSync(path, Math.floor(part * readFileSync(path).length));

interface Attribute {
  readonly type: number;
  readonly kind: number;
  /** where the value stands; of byte strings, behind its length */
  readonly at: number;
  readonly length: number;
}

function* attributes(file: Buffer): Generator<Attribute> {
  const word = (at: number): number => Number(file.readBigUInt64BE(at));
  for (let at = WORD; at < file.length;) {
    const [type, kind, value] = [word(at), word(at + WORD), at + 2 * WORD];
    const fixed = kind === BOOLEAN_KIND ? 1 : kind === NUMBER_KIND ? WORD : undefined;
    const length = fixed ?? word(value) * (kind === MECHANISMS_KIND ? WORD : 1);
    const start = fixed === undefined ? value + WORD : value;
    yield { type, kind, at: start, length };
    at = start + length;
  }
}

const turn = (file: Buffer, at: number): void => {
  file[at] = (file[at] ?? 0) ^ 0x5a;
};

/** Makes every encrypted attribute one that does not decrypt, and leaves the file's form whole. */
export function spoilPadding(path: string): void {
  const file = readFileSync(path);
  for (const { kind, at, length } of attributes(file)) {
    const isEncrypted = kind === BYTES_KIND && length >= 2 * BLOCK_BYTES;
    // CBC: what is turned over in one block is turned over in the next one's plaintext
    if (isEncrypted) turn(file, at + length - 1 - BLOCK_BYTES);
  }
  writeFileSync(path, file);
}

/** Makes the key or the data another one of the same length, which still decrypts. */
export function exchangeValue(path: string): void {
  const file = readFileSync(path);
  const value = [...attributes(file)].find(({ type }) => type === CKA.VALUE);
  // the first block is the IV: what is turned over in it is turned over in the value
  if (value) turn(file, value.at);
  writeFileSync(path, file);
}
