import { createHash, hkdfSync } from 'node:crypto';
import { asBuffer } from '../core/bytes.js';
import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';

/** The layout is written down byte by byte in DESIGN.md. */
export const ENVELOPE_MAGIC = Buffer.from('KEYSPANENV', 'latin1');
export const ENVELOPE_VERSION = 1;
export const DATA_KEY_BYTES = 32;
export const COMMITMENT_BYTES = 32;
const KEY_BYTES = 32;
const U16_MAX = 0xffff;
const INFO = Buffer.from('keyspan envelope 1', 'latin1');

export interface EnvelopeHeader {
  /** the data key, encrypted by KMS */
  readonly encryptedDataKey: Uint8Array;
  /** what KMS bound it to; stands in clear, as KMS's own logs have it */
  readonly context: Readonly<Record<string, string>>;
}

export interface EnvelopeKeys {
  /** AES-256, for the chunks of this one file; the caller wipes it */
  readonly chunkKey: Uint8Array;
  /** proves that the data key belongs to the header */
  readonly commitment: Uint8Array;
}

/** Everything of the header but the commitment. @throws KeyspanError KeyspanUsage */
export function formatHeader(header: EnvelopeHeader): Buffer {
  const context = formatContext(header.context);
  const size = header.encryptedDataKey.length;
  if (size < 1 || size > LIMITS.kms_ciphertext_max_bytes) {
    throw new KeyspanError('KeyspanUsage', 'the encrypted data key has no possible length');
  }
  return Buffer.concat([
    ENVELOPE_MAGIC,
    Buffer.of(ENVELOPE_VERSION),
    sized(context),
    sized(header.encryptedDataKey),
  ]);
}

/**
 * The context in its one possible form: pairs in the byte order of their names, so that equal
 * contexts make equal bytes.
 */
function formatContext(context: Readonly<Record<string, string>>): Buffer {
  const pairs = Object.entries(context).map(
    ([name, value]) => [Buffer.from(name, 'utf8'), Buffer.from(value, 'utf8')] as const,
  );
  pairs.sort(([a], [b]) => Buffer.compare(a, b));
  const bytes = Buffer.concat(pairs.flatMap(([name, value]) => [sized(name), sized(value)]));
  if (bytes.length > U16_MAX) {
    throw new KeyspanError('KeyspanUsage', 'the encryption context is too large for a file');
  }
  return bytes;
}

/** Reads what `formatContext` wrote and nothing else. @throws KeyspanError KeyspanFileFormat */
export function parseContext(bytes: Buffer): Record<string, string> {
  const context: [string, string][] = [];
  for (let at = 0; at < bytes.length;) {
    const name = take(bytes, at);
    const value = take(bytes, at + 2 + name.length);
    context.push([name.toString('utf8'), value.toString('utf8')]);
    at += 4 + name.length + value.length;
  }
  const parsed = Object.fromEntries(context);
  if (!formatContext(parsed).equals(bytes)) throw damagedHeader();
  return parsed;
}

/**
 * The keys of one file. The hash of the header is HKDF's salt: a file whose header was changed
 * has other keys, and no chunk of it opens.
 * @param dataKey 32 bytes
 */
export function deriveKeys(dataKey: Uint8Array, header: Uint8Array): EnvelopeKeys {
  const salt = createHash('sha256').update(header).digest();
  const length = KEY_BYTES + COMMITMENT_BYTES;
  const okm = new Uint8Array(hkdfSync('sha256', dataKey, salt, INFO, length));
  return { chunkKey: okm.subarray(0, KEY_BYTES), commitment: okm.subarray(KEY_BYTES) };
}

export const damagedHeader = (): KeyspanError =>
  new KeyspanError('KeyspanFileFormat', 'the header of the file is damaged');

function sized(bytes: Uint8Array): Buffer {
  if (bytes.length > U16_MAX) {
    throw new KeyspanError('KeyspanUsage', 'the encryption context is too large for a file');
  }
  const length = Buffer.allocUnsafe(2);
  length.writeUInt16BE(bytes.length);
  return Buffer.concat([length, asBuffer(bytes)]);
}

function take(bytes: Buffer, at: number): Buffer {
  if (at + 2 > bytes.length) throw damagedHeader();
  const end = at + 2 + bytes.readUInt16BE(at);
  if (end > bytes.length) throw damagedHeader();
  return bytes.subarray(at + 2, end);
}
