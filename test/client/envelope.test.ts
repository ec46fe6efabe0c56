import { createHash, randomBytes, webcrypto } from 'node:crypto';
import { readFileSync } from 'node:fs';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  CHUNK_BYTES,
  decryptStream,
  encryptStream,
  openEnvelope,
  sealEnvelope,
  type ByteSource,
} from '../../src/client/envelope.js';
import type { EnvelopeHeader } from '../../src/client/envelope-header.js';
import { KeyspanError } from '../../src/core/errors.js';

interface Vector {
  readonly name: string;
  readonly dataKey: string;
  readonly encryptedDataKey: string;
  readonly context: Record<string, string>;
  /** the plaintext is the bytes (31 * i + 7) mod 256 for i below this */
  readonly plaintextBytes: number;
  readonly fileBytes: number;
  readonly fileSha256: string;
  /** hex, where the file is short */
  readonly file?: string;
}

const path = new URL('../vectors/envelope.json', import.meta.url);
const { vectors } = JSON.parse(readFileSync(path, 'utf8')) as { vectors: Vector[] };

const pattern = (length: number): Buffer =>
  Buffer.from(Uint8Array.from({ length }, (_, i) => (31 * i + 7) % 256));

async function* pieces(bytes: Uint8Array, size = 10_000): ByteSource & AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
  await Promise.resolve();
}

async function collect(source: ByteSource): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of source) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

const dataKey = (): Uint8Array => new Uint8Array(32).fill(9);
const header: EnvelopeHeader = { encryptedDataKey: Buffer.from('blob'), context: { a: 'bc' } };
const seal = (plaintext: Uint8Array, size?: number): Promise<Buffer> =>
  collect(sealEnvelope(pieces(plaintext, size), header, dataKey()));
const open = (file: Uint8Array, size?: number): Promise<Buffer> =>
  collect(openEnvelope(pieces(file, size), () => Promise.resolve(dataKey())));

/** Opens a file by DESIGN.md alone: WebCrypto and offsets, no code of ours. */
async function openIndependently(file: Buffer, key: Buffer): Promise<Buffer> {
  const { subtle } = webcrypto;
  expect(file.subarray(0, 11).toString('latin1')).toBe('KEYSPANENV\x01');
  const C = file.readUInt16BE(11);
  const B = file.readUInt16BE(13 + C);
  const head = file.subarray(0, 15 + C + B);
  const ikm = await subtle.importKey('raw', key, 'HKDF', false, ['deriveBits']);
  const salt = await subtle.digest('SHA-256', head);
  const info = Buffer.from('keyspan envelope 1');
  const okm = Buffer.from(
    await subtle.deriveBits({ name: 'HKDF', hash: 'SHA-256', salt, info }, ikm, 512),
  );
  expect(file.subarray(15 + C + B, 47 + C + B)).toEqual(okm.subarray(32));
  const aes = await subtle.importKey('raw', okm.subarray(0, 32), 'AES-GCM', false, ['decrypt']);
  const plaintext: Buffer[] = [];
  let rest = file.subarray(47 + C + B);
  for (let i = 0; rest.length > 0; i += 1) {
    const chunk = rest.subarray(0, 65_552);
    rest = rest.subarray(65_552);
    const iv = Buffer.alloc(12);
    iv.writeUInt32BE(i, 7);
    iv[11] = rest.length === 0 ? 1 : 0;
    plaintext.push(Buffer.from(await subtle.decrypt({ name: 'AES-GCM', iv }, aes, chunk)));
  }
  return Buffer.concat(plaintext);
}

describe.each(vectors)('vector $name', (vector) => {
  const key = Buffer.from(vector.dataKey, 'hex');
  const plaintext = pattern(vector.plaintextBytes);
  const encryptedDataKey = Buffer.from(vector.encryptedDataKey, 'hex');
  const build = (): Promise<Buffer> =>
    collect(sealEnvelope(pieces(plaintext), { encryptedDataKey, context: vector.context }, key));

  test('is what is written', async () => {
    const file = await build();
    expect(file.length).toBe(vector.fileBytes);
    expect(createHash('sha256').update(file).digest('hex')).toBe(vector.fileSha256);
    if (vector.file !== undefined) expect(file.toString('hex')).toBe(vector.file);
  });

  test('is read', async () => {
    const seen: EnvelopeHeader[] = [];
    const opened = openEnvelope(pieces(await build()), (found) => {
      seen.push(found);
      return Promise.resolve(Uint8Array.from(key));
    });
    expect((await collect(opened)).equals(plaintext)).toBe(true);
    expect(seen[0]?.context).toEqual(vector.context);
    expect(seen[0]?.encryptedDataKey).toEqual(encryptedDataKey);
  });

  test('is read by what is written in DESIGN.md', async () => {
    expect((await openIndependently(await build(), key)).equals(plaintext)).toBe(true);
  });
});

describe('round trips', () => {
  test.each([0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])(
    '%i bytes',
    async (length) => {
      const plaintext = pattern(length);
      const chunks = Math.max(1, Math.ceil(length / CHUNK_BYTES));
      const file = await seal(plaintext);
      expect(file.length).toBe(length + 47 + 7 + 4 + 16 * chunks);
      expect((await open(file)).equals(plaintext)).toBe(true);
    },
  );

  test('whatever the pieces', async () => {
    const bytes = fc.uint8Array({ maxLength: 300 });
    const size = fc.integer({ min: 1, max: 400 });
    await fc.assert(
      fc.asyncProperty(bytes, size, size, async (plaintext, write, read) => {
        const opened = await open(await seal(plaintext, write), read);
        expect(opened.equals(plaintext)).toBe(true);
      }),
      { numRuns: 50 },
    );
  });
});

describe('what was changed is refused', () => {
  const plaintext = pattern(2 * CHUNK_BYTES + 100);
  const first = 47 + 7 + 4;
  const full = CHUNK_BYTES + 16;
  const refused = async (file: Buffer): Promise<void> => {
    await expect(open(file)).rejects.toMatchObject({ code: 'KeyspanFileFormat' });
  };

  test('every flipped bit of a short file', async () => {
    const file = await seal(Buffer.from('hi'));
    for (let bit = 0; bit < file.length * 8; bit += 1) {
      const changed = Buffer.from(file);
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      await refused(changed);
    }
  });

  test('every shorter form of a short file', async () => {
    const file = await seal(Buffer.from('hi'));
    for (let length = 0; length < file.length; length += 1) await refused(file.subarray(0, length));
  });

  test('cut at the end of a chunk, or within one', async () => {
    const file = await seal(plaintext);
    for (const end of [first, first + full, first + 2 * full, file.length - 1, first + full + 5]) {
      await refused(file.subarray(0, end));
    }
  });

  test('extended', async () => {
    const file = await seal(plaintext);
    await refused(Buffer.concat([file, Buffer.of(0)]));
    await refused(Buffer.concat([file, file.subarray(first + 2 * full)]));
    const exact = await seal(pattern(CHUNK_BYTES));
    await refused(Buffer.concat([exact, exact.subarray(first)]));
  });

  test('chunks in another order, twice, or left out', async () => {
    const file = await seal(plaintext);
    const head = file.subarray(0, first);
    const [a, b] = [
      file.subarray(first, first + full),
      file.subarray(first + full, first + 2 * full),
    ];
    const c = file.subarray(first + 2 * full);
    for (const order of [[b, a, c], [a, a, c], [a, c], [a, b, b, c], [c]]) {
      await refused(Buffer.concat([head, ...order]));
    }
  });

  test('a chunk of another file under the same data key', async () => {
    const other = { ...header, context: { a: 'bd' } };
    const file = await seal(pattern(10));
    const foreign = await collect(sealEnvelope(pieces(pattern(10)), other, dataKey()));
    await refused(Buffer.concat([file.subarray(0, first), foreign.subarray(first)]));
  });

  test('another data key', async () => {
    const file = await seal(pattern(10));
    const opened = openEnvelope(pieces(file), () => Promise.resolve(new Uint8Array(32)));
    await expect(collect(opened)).rejects.toMatchObject({ code: 'KeyspanFileFormat' });
  });

  test('what comes out before the damage was verified', async () => {
    const file = await seal(plaintext);
    file[first + full + 3] = (file[first + full + 3] ?? 0) ^ 1;
    const out: Buffer[] = [];
    const reading = (async () => {
      const opened = openEnvelope(pieces(file), () => Promise.resolve(dataKey()));
      for await (const chunk of opened) out.push(Buffer.from(chunk));
    })();
    await expect(reading).rejects.toBeInstanceOf(KeyspanError);
    expect(Buffer.concat(out).equals(plaintext.subarray(0, CHUNK_BYTES))).toBe(true);
  });
});

describe('with KMS', () => {
  const key = randomBytes(32);
  const kms = {
    generateDataKey: (request: { EncryptionContext?: object }) =>
      Promise.resolve({
        Plaintext: Uint8Array.from(key),
        CiphertextBlob: Buffer.from(JSON.stringify(request.EncryptionContext ?? {})),
        KeyId: 'k',
      }),
    decrypt: (request: { CiphertextBlob: Uint8Array; EncryptionContext?: object }) => {
      const bound = Buffer.from(request.CiphertextBlob).toString('utf8');
      const given = JSON.stringify(request.EncryptionContext ?? {});
      if (bound !== given) return Promise.reject(new Error(`${bound} is not ${given}`));
      return Promise.resolve({ Plaintext: Uint8Array.from(key), KeyId: 'k' });
    },
  };

  test('the file says what it is bound to, and the reader may insist', async () => {
    const sealed = encryptStream(kms, pieces(pattern(5)), { keyId: 'k', context: { a: 'bc' } });
    const file = await collect(sealed);
    const accepted: (Record<string, string> | undefined)[] = [undefined, {}, { a: 'bc' }];
    for (const context of accepted) {
      const options = context === undefined ? {} : { context };
      const opened = await collect(decryptStream(kms, pieces(file), options));
      expect(opened.equals(pattern(5))).toBe(true);
    }
    const wrong: Record<string, string>[] = [{ a: 'bd' }, { ab: 'c' }];
    for (const context of wrong) {
      await expect(collect(decryptStream(kms, pieces(file), { context }))).rejects.toThrow(
        'is not',
      );
    }
  });

  test('a stream that is not read to its end lets go of its source', async () => {
    let released = false;
    const source = (async function* endless() {
      try {
        for (;;) yield await Promise.resolve(pattern(CHUNK_BYTES));
      } finally {
        released = true;
      }
    })();
    let chunks = 0;
    for await (const chunk of encryptStream(kms, source, { keyId: 'k' })) {
      expect(chunk.length).toBeGreaterThan(0);
      chunks += 1;
      if (chunks === 4) break;
    }
    expect(released).toBe(true);
  });
});
