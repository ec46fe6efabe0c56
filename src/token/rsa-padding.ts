import { createHash, randomBytes } from 'node:crypto';
import { equalConstantTime, wipe } from '../core/bytes.js';
import { KeyspanError } from '../core/errors.js';
import { HASHES, type HashName } from './signing.js';

/**
 * The paddings of RSA encryption that the token lacks (RFC 8017, 7). To take one off, every byte is
 * looked at whatever stands before it, and every failure is the same one.
 */
export interface Oaep {
  readonly hash: HashName;
  readonly mgf: HashName;
  readonly label?: Uint8Array | undefined;
}

const NO_LABEL = new Uint8Array(0);

/** MGF1 (RFC 8017, B.2.1). */
function mask(seed: Uint8Array, length: number, by: HashName): Buffer {
  const blocks: Buffer[] = [];
  for (let made = 0, counter = 0; made < length; counter += 1) {
    const count = Buffer.alloc(4);
    count.writeUInt32BE(counter);
    const block = createHash(by).update(seed).update(count).digest();
    blocks.push(block);
    made += block.length;
  }
  return Buffer.concat(blocks).subarray(0, length);
}

function xor(into: Buffer, other: Uint8Array): void {
  for (let at = 0; at < into.length; at += 1) into[at] = (into[at] ?? 0) ^ (other[at] ?? 0);
}

const tooLong = (): KeyspanError =>
  new KeyspanError('HsmDataInvalid', 'the key is too long for the RSA key that is to wrap it');

/** EME-OAEP. @throws KeyspanError HsmDataInvalid for too long a message */
export function padOaep(message: Uint8Array, size: number, oaep: Oaep): Buffer {
  const { hash, mgf, label: name = NO_LABEL } = oaep;
  const length = HASHES[hash].bytes;
  const free = size - message.length - 2 * length - 2;
  if (free < 0) throw tooLong();
  const label = createHash(hash).update(name).digest();
  const block = Buffer.concat([label, Buffer.alloc(free), Buffer.of(1), message]);
  const seed = randomBytes(length);
  xor(block, mask(seed, block.length, mgf));
  xor(seed, mask(block, length, mgf));
  return Buffer.concat([Buffer.of(0), seed, block]);
}

/** @throws KeyspanError HsmDataInvalid */
export function unpadOaep(padded: Uint8Array, oaep: Oaep): Buffer {
  const { hash, mgf, label = NO_LABEL } = oaep;
  const length = HASHES[hash].bytes;
  const whole = Buffer.from(padded);
  try {
    if (whole.length < 2 * length + 2) throw new KeyspanError('HsmDataInvalid');
    const seed = whole.subarray(1, 1 + length);
    const block = whole.subarray(1 + length);
    xor(seed, mask(block, length, mgf));
    xor(block, mask(seed, block.length, mgf));
    let bad = whole[0] ?? 1;
    bad |= equalConstantTime(block.subarray(0, length), createHash(hash).update(label).digest())
      ? 0
      : 1;
    const start = afterFirst(block, length, 0x01, 0x00);
    bad |= start === 0 ? 1 : 0;
    if (bad !== 0) throw new KeyspanError('HsmDataInvalid');
    return Buffer.from(block.subarray(start));
  } finally {
    wipe(whole);
  }
}

/**
 * Where what stands behind the first `mark` begins, 0 when there is none or another byte than
 * `filler` comes before it (`filler` undefined: any).
 */
function afterFirst(block: Buffer, from: number, mark: number, filler?: number): number {
  let start = 0;
  let bad = 0;
  for (let at = from; at < block.length; at += 1) {
    const byte = block[at] ?? 0;
    const open = isZero(start);
    const isMark = isZero(byte ^ mark);
    const isFiller = filler === undefined ? 1 : isZero(byte ^ filler);
    start |= (at + 1) * (open & isMark);
    bad |= open & (1 ^ isMark) & (1 ^ isFiller);
  }
  return start * (1 ^ bad);
}

/** 1 or 0, without a branch. */
const isZero = (value: number): number => ((value | -value) >>> 31) ^ 1;

const PKCS1_OVERHEAD = 11;

/** EME-PKCS1-v1_5. @throws KeyspanError HsmDataInvalid when the message is too long */
export function padPkcs1(message: Uint8Array, size: number): Buffer {
  const free = size - message.length - 3;
  if (size - message.length < PKCS1_OVERHEAD) throw tooLong();
  const filler = randomBytes(free);
  for (let at = 0; at < free; at += 1) while (filler[at] === 0) filler[at] = randomBytes(1)[0] ?? 1;
  return Buffer.concat([Buffer.of(0, 2), filler, Buffer.of(0), message]);
}

/** @throws KeyspanError HsmDataInvalid */
export function unpadPkcs1(padded: Uint8Array): Buffer {
  const whole = Buffer.from(padded);
  try {
    const start = afterFirst(whole, 2, 0x00);
    let bad = (whole[0] ?? 1) | ((whole[1] ?? 0) ^ 2);
    bad |= start < PKCS1_OVERHEAD ? 1 : 0;
    if (bad !== 0) throw new KeyspanError('HsmDataInvalid');
    return Buffer.from(whole.subarray(start));
  } finally {
    wipe(whole);
  }
}
