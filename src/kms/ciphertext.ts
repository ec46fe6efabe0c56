import { asBuffer, parseHex } from '../core/bytes.js';
import { assert } from '../core/assert.js';
import { KeyspanError } from '../core/errors.js';
import type { KmsKeyId, MaterialId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import type { Sealed } from '../core/vault.js';

/**
 * The ciphertext blob of symmetric KMS keys. DESIGN.md in this folder has the format byte by
 * byte and says why; it is stable for ever.
 */
export const CIPHERTEXT = {
  /** "KSP" and the version */
  magic_bytes: 4,
  kind_bytes: 1,
  key_id_bytes: 16,
  material_id_bytes: 32,
  header_bytes: 53,
  iv_bytes: 12,
  tag_bytes: 16,
} as const;

/** A blob made by KMS's own vaults. */
const VERSION_CLUSTER = 0x01;
/** Reserved: a blob whose inner part an external key store made. Nothing reads it yet. */
export const VERSION_EXTERNAL = 0x02;

const MAGIC = Buffer.from([0x4b, 0x53, 0x50, VERSION_CLUSTER]);
const KIND_UUID = 0x00;
const KIND_MULTI_REGION = 0x01;
const MRK = 'mrk-';

/** Pairs that must be given again to decrypt. Any iteration order means the same. */
export type EncryptionContext = ReadonlyMap<string, string>;
const NO_CONTEXT: EncryptionContext = new Map();

/** A blob taken apart; the byte strings are views of the blob. */
export interface ParsedCiphertext extends Sealed {
  readonly keyId: KmsKeyId;
  readonly materialId: MaterialId;
  readonly header: Uint8Array;
}

/** The 53 bytes that begin every blob made under this material. */
export function encodeHeader(keyId: KmsKeyId, materialId: MaterialId): Uint8Array {
  const multiRegion = keyId.startsWith(MRK);
  const hex = multiRegion ? keyId.slice(MRK.length) : keyId.replaceAll('-', '');
  const kind = multiRegion ? KIND_MULTI_REGION : KIND_UUID;
  const header = Buffer.concat([MAGIC, Buffer.from([kind]), parseHex(hex), parseHex(materialId)]);
  assert(header.length === CIPHERTEXT.header_bytes, 'a key id has 16 bytes, a material id 32');
  return header;
}

export function formatCiphertext(header: Uint8Array, sealed: Sealed): Uint8Array {
  assert(sealed.iv.length === CIPHERTEXT.iv_bytes, 'an IV of 12 bytes');
  assert(sealed.tag.length === CIPHERTEXT.tag_bytes, 'a tag of 16 bytes');
  assert(header.length === CIPHERTEXT.header_bytes, 'a header of 53 bytes');
  const { iv, ciphertext, tag } = sealed;
  const { header_bytes, iv_bytes, tag_bytes } = CIPHERTEXT;
  const textAt = header_bytes + iv_bytes;
  const blob = Buffer.allocUnsafe(textAt + ciphertext.length + tag_bytes);
  blob.set(header, 0);
  blob.set(iv, header_bytes);
  blob.set(ciphertext, textAt);
  blob.set(tag, textAt + ciphertext.length);
  return blob;
}

/** Takes a blob apart; `undefined` when it is not one of ours. Nothing is authentic yet. */
export function parseCiphertext(blob: Uint8Array): ParsedCiphertext | undefined {
  const { header_bytes, iv_bytes, tag_bytes } = CIPHERTEXT;
  if (blob.length > LIMITS.kms_ciphertext_max_bytes) return undefined;
  if (blob.length <= header_bytes + iv_bytes + tag_bytes) return undefined;
  const bytes = asBuffer(blob);
  if (bytes.compare(MAGIC, 0, MAGIC.length, 0, MAGIC.length) !== 0) return undefined;
  const keyId = decodeKeyId(bytes);
  if (keyId === undefined) return undefined;
  const tagAt = blob.length - tag_bytes;
  return {
    keyId,
    materialId: bytes.toString('hex', header_bytes - 32, header_bytes) as MaterialId,
    header: bytes.subarray(0, header_bytes),
    iv: bytes.subarray(header_bytes, header_bytes + iv_bytes),
    ciphertext: bytes.subarray(header_bytes + iv_bytes, tagAt),
    tag: bytes.subarray(tagAt),
  };
}

function decodeKeyId(blob: Buffer): KmsKeyId | undefined {
  const kind = blob[4];
  const hex = blob.toString('hex', 5, 21);
  if (kind === KIND_MULTI_REGION) return `${MRK}${hex}` as KmsKeyId;
  if (kind !== KIND_UUID) return undefined;
  const parts = [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20)];
  return `${parts.join('-')}-${hex.slice(20)}` as KmsKeyId;
}

/**
 * What GCM authenticates beside the plaintext: the header, and the encryption context in an
 * encoding that no other context has.
 * @throws ValidationException when the context is over its bound
 */
export function authenticatedData(
  header: Uint8Array,
  context: EncryptionContext = NO_CONTEXT,
): Uint8Array {
  return Buffer.concat([header, encodeContext(context)]);
}

/**
 * The number of pairs, then each pair in the byte order of the names' UTF-8: length, name,
 * length, value. Numbers are four bytes, big-endian.
 * @throws ValidationException when the context is over its bound
 */
export function encodeContext(context: EncryptionContext): Uint8Array {
  const pairs = Array.from(context, ([name, value]) => ({
    name: Buffer.from(name, 'utf8'),
    value: Buffer.from(value, 'utf8'),
  }));
  if (pairs.length > 1) pairs.sort((a, b) => a.name.compare(b.name));
  let length = 4;
  for (const { name, value } of pairs) length += 8 + name.length + value.length;
  if (length > LIMITS.kms_context_max_bytes) throw contextTooLong();
  const encoded = Buffer.alloc(length);
  let at = encoded.writeUInt32BE(pairs.length, 0);
  for (const { name, value } of pairs) {
    at = encoded.writeUInt32BE(name.length, at);
    at += name.copy(encoded, at);
    at = encoded.writeUInt32BE(value.length, at);
    at += value.copy(encoded, at);
  }
  return encoded;
}

function contextTooLong(): KeyspanError {
  const max = LIMITS.kms_context_max_bytes;
  return new KeyspanError(
    'ValidationException',
    `The encryption context must be at most ${max} bytes long.`,
  );
}
