import * as fc from 'fast-check';
import { createDecipheriv } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { newKmsKeyId, newMaterialId, type KmsKeyId, type MaterialId } from '../../src/core/ids.js';
import {
  authenticatedData,
  encodeContext,
  encodeHeader,
  formatCiphertext,
  parseCiphertext,
  VERSION_EXTERNAL,
} from '../../src/kms/ciphertext.js';

interface Vector {
  readonly name: string;
  readonly keyId: string;
  readonly materialId: string;
  readonly context: readonly (readonly [string, string])[];
  readonly iv: string;
  readonly plaintext: string;
  readonly aad: string;
  readonly blob: string;
}
const file = new URL('../vectors/ciphertext.json', import.meta.url);
const { key, vectors } = JSON.parse(readFileSync(file, 'utf8')) as {
  key: string;
  vectors: Vector[];
};

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const bytes = (text: string): Buffer => Buffer.from(text, 'hex');

/** Written out by hand from DESIGN.md, apart from the code under test. */
function openByHand(vector: Vector): string {
  const blob = bytes(vector.blob);
  const isMultiRegion = vector.keyId.startsWith('mrk-');
  const digits = vector.keyId.replace(/^mrk-/, '').split('-').join('');
  const header = `4b535001${isMultiRegion ? '01' : '00'}${digits}${vector.materialId}`;
  const length = (text: string): string => Buffer.byteLength(text).toString(16).padStart(8, '0');
  const field = (text: string): string => length(text) + Buffer.from(text).toString('hex');
  const pairs = [...vector.context]
    .sort(([a], [b]) => (hex(Buffer.from(a)) < hex(Buffer.from(b)) ? -1 : 1))
    .map(([name, value]) => field(name) + field(value));
  const count = vector.context.length.toString(16).padStart(8, '0');
  const cipher = createDecipheriv('aes-256-gcm', bytes(key), blob.subarray(53, 65));
  cipher.setAAD(bytes(header + count + pairs.join('')));
  cipher.setAuthTag(blob.subarray(-16));
  return cipher.update(blob.subarray(65, -16), undefined, 'hex') + cipher.final('hex');
}

describe('published vectors', () => {
  test.each(vectors)('$name opens as DESIGN.md says', (vector) => {
    expect(openByHand(vector)).toBe(vector.plaintext);
  });

  test.each(vectors)('$name is what the code reads and writes', (vector) => {
    const parsed = parseCiphertext(bytes(vector.blob));
    expect(parsed).toBeDefined();
    if (!parsed) return;
    expect(parsed.keyId).toBe(vector.keyId);
    expect(parsed.materialId).toBe(vector.materialId);
    expect(hex(parsed.iv)).toBe(vector.iv);
    const header = encodeHeader(vector.keyId as KmsKeyId, vector.materialId as MaterialId);
    expect(hex(parsed.header)).toBe(hex(header));
    expect(hex(authenticatedData(header, new Map(vector.context)))).toBe(vector.aad);
    expect(hex(formatCiphertext(header, parsed))).toBe(vector.blob);
  });
});

const sealed = (length: number): { iv: Buffer; ciphertext: Buffer; tag: Buffer } => ({
  iv: Buffer.alloc(12, 1),
  ciphertext: Buffer.alloc(length, 2),
  tag: Buffer.alloc(16, 3),
});

describe('parseCiphertext', () => {
  const good = formatCiphertext(encodeHeader(newKmsKeyId(), newMaterialId()), sealed(32));

  test('gives back what was put together, for both kinds of key id', () => {
    for (const id of [newKmsKeyId(), 'mrk-0123456789abcdef0123456789abcdef' as KmsKeyId]) {
      const material = newMaterialId();
      const blob = formatCiphertext(encodeHeader(id, material), sealed(5));
      expect(blob).toHaveLength(5 + 81);
      const parsed = parseCiphertext(new Uint8Array(blob));
      expect(parsed).toMatchObject({ keyId: id, materialId: material });
      expect(hex(parsed?.ciphertext ?? Buffer.of())).toBe(hex(sealed(5).ciphertext));
    }
  });

  test('refuses every shorter blob and none of the right size', () => {
    for (let length = 0; length <= 81; length += 1) {
      expect(parseCiphertext(good.subarray(0, length))).toBeUndefined();
    }
    expect(parseCiphertext(good.subarray(0, 82))).toBeDefined();
  });

  test('refuses another magic, another version, the reserved one, and another kind of id', () => {
    for (const at of [0, 1, 2, 3]) {
      const changed = Buffer.from(good);
      changed[at] = (changed[at] ?? 0) ^ 0x20;
      expect(parseCiphertext(changed)).toBeUndefined();
    }
    const external = Buffer.from(good);
    external[3] = VERSION_EXTERNAL;
    expect(parseCiphertext(external)).toBeUndefined();
    const kind = Buffer.from(good);
    kind[4] = 2;
    expect(parseCiphertext(kind)).toBeUndefined();
  });

  test('refuses what is over the bound of a blob', () => {
    const header = encodeHeader(newKmsKeyId(), newMaterialId());
    expect(parseCiphertext(formatCiphertext(header, sealed(6144 - 81)))).toBeDefined();
    expect(parseCiphertext(formatCiphertext(header, sealed(6144 - 80)))).toBeUndefined();
  });

  test('never throws on foreign bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (blob) => {
        expect(parseCiphertext(blob)).toBeUndefined();
      }),
    );
  });
});

const context = fc.array(
  fc.tuple(fc.string({ unit: 'grapheme', maxLength: 6 }), fc.string({ maxLength: 6 })),
  { maxLength: 4 },
);

describe('encodeContext', () => {
  test('does not depend on the order in which pairs are given', () => {
    fc.assert(
      fc.property(context, (pairs) => {
        const map = new Map(pairs);
        const reversed = new Map([...map].reverse());
        expect(hex(encodeContext(map))).toBe(hex(encodeContext(reversed)));
      }),
    );
  });

  test('is injective: it can be read back', () => {
    fc.assert(
      fc.property(context, (pairs) => {
        const map = new Map(pairs);
        const encoded = Buffer.from(encodeContext(map));
        const read = new Map<string, string>();
        let at = 4;
        const text = (): string => {
          const end = at + 4 + encoded.readUInt32BE(at);
          const found = encoded.toString('utf8', at + 4, end);
          at = end;
          return found;
        };
        for (let left = encoded.readUInt32BE(0); left > 0; left -= 1) read.set(text(), text());
        expect(at).toBe(encoded.length);
        expect(read).toEqual(map);
      }),
    );
  });

  test('tells apart contexts with the same characters', () => {
    // all ways to cut one text into names and values
    const texts = [
      [['a', 'bc']],
      [['ab', 'c']],
      [['abc', '']],
      [['', 'abc']],
      [
        ['a', 'b'],
        ['c', ''],
      ],
      [
        ['a', ''],
        ['b', 'c'],
      ],
    ].map((pairs) => hex(encodeContext(new Map(pairs as [string, string][]))));
    expect(new Set(texts).size).toBe(texts.length);
  });

  test('is bounded', () => {
    const fits = new Map([['n', 'x'.repeat(8192 - 4 - 8 - 1)]]);
    expect(encodeContext(fits)).toHaveLength(8192);
    const over = new Map([['n', 'x'.repeat(8192 - 4 - 8)]]);
    expect(() => encodeContext(over)).toThrow(/at most 8192 bytes/);
  });
});
