import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { LIMITS } from '../../src/core/limits.js';
import {
  FrameReader,
  FrameWriter,
  decodeCbor,
  encodeCbor,
  encodeFrame,
} from '../../src/protocol/frame-codec.js';

const bad = expect.objectContaining({ code: 'HsmBadFrame' });
const MAX = LIMITS.frame_size_max_bytes;

/** A prefix that announces `length` bytes. */
function prefix(length: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(length);
  return bytes;
}

/** What is read from the stream when it comes in these pieces. */
const readAll = (...chunks: Buffer[]): unknown[] => {
  const reader = new FrameReader();
  return chunks.flatMap((chunk) => reader.push(chunk));
};

const ITEMS = [
  [1, 250, 7, 'encrypt', 3, { keyId: 'k', data: Buffer.from('hello'), aad: Buffer.alloc(0) }],
  [2, 0, {}],
  [3, 1, 'HsmBusy', 'später ☃'],
];

describe('a frame', () => {
  test('is its length and one CBOR item', () => {
    const frame = encodeFrame([1, 'a']);
    expect(frame.toString('hex')).toBe('0000000482016161');
    expect(readAll(frame)).toEqual([[1, 'a']]);
  });

  test('brings numbers, bytes, texts and maps as they were', () => {
    const item = {
      zero: 0,
      big: Number.MAX_SAFE_INTEGER,
      half: 1.5,
      less: -1,
      bytes: Buffer.from([0, 255]),
      nothing: null,
      yes: true,
      list: [[], {}],
    };
    expect(readAll(encodeFrame(item))).toEqual([item]);
  });

  test('keeps a member that would be the prototype harmless', () => {
    const frame = encodeCbor({ a: 1 }).toString('hex').replace('6161', '695f5f70726f746f5f5f');
    const body = Buffer.from(frame, 'hex');
    const read = decodeCbor(body, 'HsmBadFrame');
    expect(Object.getPrototypeOf(read)).toBe(Object.prototype);
  });

  test('over the bound is not written', () => {
    expect(encodeFrame(Buffer.alloc(MAX - 5))).toHaveLength(4 + MAX);
    expect(() => encodeFrame(Buffer.alloc(MAX - 4))).toThrow(bad);
  });
});

describe('a stream of frames', () => {
  const stream = Buffer.concat(ITEMS.map(encodeFrame));

  test('is read the same wherever it is cut', () => {
    for (let at = 0; at <= stream.length; at += 1) {
      expect(readAll(stream.subarray(0, at), stream.subarray(at))).toEqual(ITEMS);
    }
  });

  test('is read byte by byte, and all in one', () => {
    const bytes = Array.from(stream, (_, at) => stream.subarray(at, at + 1));
    expect(readAll(...bytes)).toEqual(ITEMS);
    expect(readAll(stream, stream)).toEqual([...ITEMS, ...ITEMS]);
    const many = Buffer.concat(Array.from({ length: 1_000 }, (_, at) => encodeFrame([at])));
    expect(readAll(many)).toHaveLength(1_000);
  });

  test('is read the same in any pieces', () => {
    const cuts = fc.array(fc.nat({ max: stream.length }), { maxLength: 8 });
    fc.assert(
      fc.property(cuts, (places) => {
        const sorted = [0, ...places.sort((a, b) => a - b), stream.length];
        const pieces = sorted.slice(1).map((end, at) => stream.subarray(sorted[at], end));
        expect(readAll(...pieces)).toEqual(ITEMS);
      }),
    );
  });

  test('gives nothing before a frame is whole', () => {
    const reader = new FrameReader();
    const frame = encodeFrame(ITEMS[0]);
    expect(reader.push(frame.subarray(0, 3))).toEqual([]);
    expect(reader.push(frame.subarray(3, -1))).toEqual([]);
    expect(reader.push(frame.subarray(-1))).toEqual([ITEMS[0]]);
    expect(reader.push(Buffer.alloc(0))).toEqual([]);
  });

  test('ends at a length of zero or over the bound, before its bytes come', () => {
    for (const length of [0, MAX + 1, 0x7fffffff, 0xffffffff]) {
      expect(() => readAll(prefix(length))).toThrow(bad);
      expect(() => readAll(encodeFrame([1]), prefix(length))).toThrow(bad);
    }
    expect(readAll(prefix(MAX))).toEqual([]);
  });

  test('takes the largest frame in many pieces', () => {
    const frame = encodeFrame(Buffer.alloc(MAX - 5, 7));
    const pieces: Buffer[] = [];
    for (let at = 0; at < frame.length; at += 65_536) pieces.push(frame.subarray(at, at + 65_536));
    const [item] = readAll(...pieces);
    expect((item as Buffer).equals(Buffer.alloc(MAX - 5, 7))).toBe(true);
  });

  test('ends at bytes that are not one CBOR item', () => {
    const bodies = [
      'ff', // a break without a beginning
      '1c', // a reserved length
      '6261', // a text that is cut short
      '0101', // two items
      '9affffffff', // a list longer than all memory
      'bb001fffffffffffff', // a map longer than all memory
      '81'.repeat(100_000), // a list within a list within …
    ];
    for (const hex of bodies) {
      const body = Buffer.from(hex, 'hex');
      expect(() => readAll(prefix(body.length), body)).toThrow(bad);
    }
  });

  test('that is garbage ends, waits, or reads as something: nothing else', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          expect(Array.isArray(readAll(Buffer.from(bytes)))).toBe(true);
        } catch (error) {
          expect(error).toEqual(bad);
        }
      }),
      { numRuns: 2_000 },
    );
  });
});

describe('CBOR of what is stored', () => {
  test('is refused with the code of its reader', () => {
    expect(decodeCbor(encodeCbor({ a: [1] }), 'HsmBadRecord')).toEqual({ a: [1] });
    const refused = expect.objectContaining({ code: 'HsmBadRecord' });
    expect(() => decodeCbor(Buffer.alloc(0), 'HsmBadRecord')).toThrow(refused);
    expect(() => decodeCbor(Buffer.from([0x82, 1]), 'HsmBadRecord')).toThrow(refused);
  });

  test('does not change when more is encoded', () => {
    const first = encodeCbor(['a', Buffer.alloc(100, 1)]);
    const copy = Buffer.from(first);
    for (let at = 0; at < 1_000; at += 1) encodeCbor(['b', Buffer.alloc(100, 2)]);
    expect(first.equals(copy)).toBe(true);
  });
});

describe('a writer', () => {
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

  test('writes the frames of one turn together, in their order', async () => {
    const writes: Buffer[] = [];
    const writer = new FrameWriter((bytes) => writes.push(bytes));
    for (const item of ITEMS) writer.push(item);
    expect(writes).toEqual([]);
    await turn();
    expect(writes).toHaveLength(1);
    expect(readAll(...writes)).toEqual(ITEMS);
    writer.push([4]);
    await turn();
    expect(readAll(...writes)).toEqual([...ITEMS, [4]]);
  });

  test('writes at once when it is told to, and then nothing twice', async () => {
    const writes: Buffer[] = [];
    const writer = new FrameWriter((bytes) => writes.push(bytes));
    writer.push([1]);
    writer.flush();
    writer.flush();
    await turn();
    expect(readAll(...writes)).toEqual([[1]]);
  });

  test('lets a long turn leave in batches, and loses nothing', async () => {
    const writes: Buffer[] = [];
    const writer = new FrameWriter((bytes) => writes.push(bytes));
    const items = Array.from({ length: 3 * LIMITS.batch_frames_max + 2 }, (_, at) => [at]);
    for (const item of items) writer.push(item);
    expect(writes).toHaveLength(3);
    await turn();
    expect(readAll(...writes)).toEqual(items);
  });

  test('does not send a part of what it refuses', async () => {
    const writes: Buffer[] = [];
    const writer = new FrameWriter((bytes) => writes.push(bytes));
    writer.push([1]);
    expect(() => writer.push(Buffer.alloc(MAX))).toThrow(bad);
    writer.push([2]);
    await turn();
    expect(readAll(...writes)).toEqual([[1], [2]]);
  });
});
