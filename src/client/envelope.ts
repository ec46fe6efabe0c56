import { createCipheriv, createDecipheriv } from 'node:crypto';
import { asBuffer, equalConstantTime, wipe } from '../core/bytes.js';
import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { ByteReader } from './byte-reader.js';
import {
  COMMITMENT_BYTES,
  damagedHeader,
  DATA_KEY_BYTES,
  deriveKeys,
  ENVELOPE_MAGIC,
  ENVELOPE_VERSION,
  formatHeader,
  parseContext,
  type EnvelopeHeader,
} from './envelope-header.js';
import type { EncryptionContext, KmsActions } from './kms-actions.js';

/** plaintext bytes of every chunk but the last */
export const CHUNK_BYTES = 64 * 1024;
const TAG_BYTES = 16;
const NONCE_BYTES = 12;
const COUNTER_MAX = 0xffffffff;

export type ByteSource = AsyncIterable<Uint8Array>;

/**
 * Encrypts a stream of any length under a fresh data key of `keyId`. Memory is bounded by a few
 * chunks; a consumer that waits makes the source wait.
 * @throws what GenerateDataKey throws
 */
export async function* encryptStream(
  kms: Pick<KmsActions, 'generateDataKey'>,
  source: ByteSource,
  options: { readonly keyId: string; readonly context?: EncryptionContext },
): AsyncGenerator<Uint8Array> {
  const context = options.context ?? {};
  const answer = await kms.generateDataKey({
    KeyId: options.keyId,
    KeySpec: 'AES_256',
    ...contextMember(context),
  });
  try {
    const header = { encryptedDataKey: answer.CiphertextBlob, context };
    yield* sealEnvelope(source, header, answer.Plaintext);
  } finally {
    wipe(answer.Plaintext);
  }
}

/**
 * Decrypts what `encryptStream` made. Only bytes that were verified come out, but the file is
 * known to be whole only when the stream ends without an error: keep the output aside until
 * then. `options.context` is laid over the context in the file, so that a pair that is not in
 * it makes KMS refuse; `keyId` refuses files of other keys.
 * @throws KeyspanError (KeyspanFileFormat) when the file is foreign or was changed, and what
 * Decrypt throws
 */
export async function* decryptStream(
  kms: Pick<KmsActions, 'decrypt'>,
  source: ByteSource,
  options: { readonly keyId?: string; readonly context?: EncryptionContext } = {},
): AsyncGenerator<Uint8Array> {
  yield* openEnvelope(source, async (header) => {
    const answer = await kms.decrypt({
      CiphertextBlob: header.encryptedDataKey,
      ...contextMember({ ...header.context, ...options.context }),
      ...(options.keyId === undefined ? {} : { KeyId: options.keyId }),
    });
    return answer.Plaintext;
  });
}

const contextMember = (context: EncryptionContext): { EncryptionContext?: EncryptionContext } =>
  Object.keys(context).length === 0 ? {} : { EncryptionContext: context };

/**
 * Writes one file: header, commitment, chunks. `dataKey` is 32 bytes and used for this file
 * alone, which is why nonces may begin at zero.
 */
export async function* sealEnvelope(
  source: ByteSource,
  header: EnvelopeHeader,
  dataKey: Uint8Array,
): AsyncGenerator<Uint8Array> {
  const head = formatHeader(header);
  const { chunkKey, commitment } = deriveDataKey(dataKey, head);
  const reader = new ByteReader(source);
  try {
    yield Buffer.concat([head, commitment]);
    let counter = 0;
    for await (const { bytes, last } of reader.blocks(CHUNK_BYTES)) {
      yield sealChunk(chunkKey, nonceOf(counter, last), bytes);
      counter += 1;
    }
  } finally {
    wipe(chunkKey);
    await reader.close();
  }
}

/**
 * Reads one file; `unseal` gives the data key of its header, and it is wiped here.
 * @throws KeyspanError (KeyspanFileFormat), and what `unseal` throws
 */
export async function* openEnvelope(
  source: ByteSource,
  unseal: (header: EnvelopeHeader) => Promise<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  const reader = new ByteReader(source);
  let dataKey: Uint8Array | undefined;
  let chunkKey: Uint8Array | undefined;
  try {
    const { header, head } = await readHeader(reader);
    const stated = await readExactly(reader, COMMITMENT_BYTES);
    dataKey = await unseal(header);
    const keys = deriveDataKey(dataKey, head);
    chunkKey = keys.chunkKey;
    if (!equalConstantTime(keys.commitment, stated)) throw damagedHeader();
    let counter = 0;
    for await (const { bytes, last } of reader.blocks(CHUNK_BYTES + TAG_BYTES)) {
      const plaintext = openChunk(chunkKey, nonceOf(counter, last), bytes);
      // an empty last chunk is only right where the whole file is empty
      if (plaintext.length === 0 && counter > 0) throw damagedChunk();
      if (plaintext.length > 0) yield plaintext;
      counter += 1;
    }
  } finally {
    wipe(dataKey, chunkKey);
    await reader.close();
  }
}

function deriveDataKey(dataKey: Uint8Array, head: Uint8Array): ReturnType<typeof deriveKeys> {
  if (dataKey.length !== DATA_KEY_BYTES) {
    throw new KeyspanError('KeyspanFileFormat', 'the data key is not one of 256 bits');
  }
  return deriveKeys(dataKey, head);
}

/** Seven zero bytes, the chunk's number, and 1 for the last chunk (the STREAM construction). */
function nonceOf(counter: number, last: boolean): Buffer {
  if (counter > COUNTER_MAX) throw new KeyspanError('KeyspanFileFormat', 'the file is too long');
  const nonce = Buffer.alloc(NONCE_BYTES);
  nonce.writeUInt32BE(counter, 7);
  nonce[NONCE_BYTES - 1] = last ? 1 : 0;
  return nonce;
}

function sealChunk(key: Uint8Array, nonce: Buffer, plaintext: Buffer): Buffer {
  const cipher = createCipheriv('aes-256-gcm', key, nonce);
  const ciphertext = cipher.update(plaintext);
  return Buffer.concat([ciphertext, cipher.final(), cipher.getAuthTag()]);
}

function openChunk(key: Uint8Array, nonce: Buffer, sealed: Buffer): Buffer {
  if (sealed.length < TAG_BYTES) throw damagedChunk();
  const end = sealed.length - TAG_BYTES;
  const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES });
  decipher.setAuthTag(sealed.subarray(end));
  const plaintext = decipher.update(sealed.subarray(0, end));
  try {
    decipher.final();
  } catch {
    wipe(plaintext);
    throw damagedChunk();
  }
  return plaintext;
}

/** The header, and its bytes for the derivation of the keys. */
async function readHeader(reader: ByteReader): Promise<{ header: EnvelopeHeader; head: Buffer }> {
  const start = await readExactly(reader, ENVELOPE_MAGIC.length + 1);
  if (!start.subarray(0, -1).equals(ENVELOPE_MAGIC)) {
    throw new KeyspanError('KeyspanFileFormat', 'the file is not one that keyspan encrypt wrote');
  }
  if (start.at(-1) !== ENVELOPE_VERSION) {
    throw new KeyspanError('KeyspanFileFormat', 'the file is of a version not known here');
  }
  const context = await readSized(reader);
  const blob = await readSized(reader);
  const size = blob.bytes.length;
  if (size < 1 || size > LIMITS.kms_ciphertext_max_bytes) throw damagedHeader();
  const header = { encryptedDataKey: blob.bytes, context: parseContext(context.bytes) };
  const parts = [start, context.length, context.bytes, blob.length, blob.bytes];
  return { header, head: Buffer.concat(parts) };
}

async function readSized(reader: ByteReader): Promise<{ length: Buffer; bytes: Buffer }> {
  const length = await readExactly(reader, 2);
  return { length, bytes: await readExactly(reader, length.readUInt16BE()) };
}

async function readExactly(reader: ByteReader, length: number): Promise<Buffer> {
  const bytes = await reader.read(length);
  if (bytes.length < length) {
    throw new KeyspanError('KeyspanFileFormat', 'the file ends within its header');
  }
  return asBuffer(bytes);
}

const damagedChunk = (): KeyspanError =>
  new KeyspanError('KeyspanFileFormat', 'the file was changed, cut short or extended');
