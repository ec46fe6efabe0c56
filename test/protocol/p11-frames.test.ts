import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { LIMITS } from '../../src/core/limits.js';
import { P11FrameReader, type P11Frame } from '../../src/protocol/p11-frames.js';
import { P11WireError } from '../../src/protocol/p11-wire.js';

function frame(code: number, options: Uint8Array, body: Uint8Array): Buffer {
  const head = Buffer.alloc(12);
  head.writeUInt32BE(code, 0);
  head.writeUInt32BE(options.length, 4);
  head.writeUInt32BE(body.length, 8);
  return Buffer.concat([head, options, body]);
}

/** The head alone of a frame that claims these lengths. */
function head(code: number, options: number, body: number): Buffer {
  const bytes = Buffer.alloc(12);
  bytes.writeUInt32BE(code, 0);
  bytes.writeUInt32BE(options, 4);
  bytes.writeUInt32BE(body, 8);
  return bytes;
}

describe('a stream', () => {
  test('is cut into the same frames however it arrives', () => {
    const given = fc.record({
      code: fc.integer({ min: 1, max: 0xffff_ffff }),
      options: fc.uint8Array({ maxLength: 9 }),
      body: fc.uint8Array({ maxLength: 200 }),
    });
    fc.assert(
      fc.property(
        fc.array(given, { maxLength: 6 }),
        fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1 }),
        (frames, lengths) => {
          const stream = Buffer.concat(
            frames.map(({ code, options, body }) => frame(code, options, body)),
          );
          const reader = new P11FrameReader();
          const got: P11Frame[] = [];
          for (let at = 0, i = 0; at < stream.length; i += 1) {
            const length = lengths[i % lengths.length] ?? 1;
            // each chunk has memory of its own, which is overwritten once it was read
            const chunk = Buffer.from(stream.subarray(at, at + length));
            got.push(...reader.push(chunk).map(copied));
            chunk.fill(0xff);
            at += length;
          }
          const wanted = frames.map(({ code, options, body }) => ({
            code,
            options: Buffer.from(options),
            body: Buffer.from(body),
          }));
          expect(got).toEqual(wanted);
          expect(reader.partial).toBe(false);
        },
      ),
    );
  });

  test('keeps the frames that it gave', () => {
    const reader = new P11FrameReader();
    const first = frame(1, Buffer.alloc(0), Buffer.from('first'));
    expect(reader.push(first.subarray(0, 5))).toEqual([]);
    const [got] = reader.push(first.subarray(5));
    expect(reader.push(frame(2, Buffer.alloc(0), Buffer.from('other')).subarray(0, 7))).toEqual([]);
    expect(got?.body.toString()).toBe('first');
    expect(reader.partial).toBe(true);
  });

  test('of a large body in small pieces takes time in proportion', () => {
    const body = Buffer.alloc(LIMITS.p11_body_max_bytes, 'x');
    const stream = frame(7, Buffer.alloc(0), body);
    const reader = new P11FrameReader();
    const got: P11Frame[] = [];
    const begun = performance.now();
    for (let at = 0; at < stream.length; at += 1_000) {
      got.push(...reader.push(stream.subarray(at, at + 1_000)));
    }
    // copied anew for each piece it would be 140 GB
    expect(performance.now() - begun).toBeLessThan(5_000);
    expect(got).toHaveLength(1);
    expect(got[0]?.body.equals(body)).toBe(true);
  });
});

const copied = ({ code, options, body }: P11Frame): P11Frame => ({
  code,
  options: Buffer.from(options),
  body: Buffer.from(body),
});

describe('a head', () => {
  test.each([
    ['the code 0', head(0, 0, 8)],
    ['long options', head(1, LIMITS.p11_options_max_bytes + 1, 8)],
    ['a long body', head(1, 0, LIMITS.p11_body_max_bytes + 1)],
    ['lengths of all ones', head(1, 0xffff_ffff, 0xffff_ffff)],
  ])('with %s ends the stream', (_, bytes) => {
    expect(() => new P11FrameReader().push(bytes)).toThrow(P11WireError);
    const reader = new P11FrameReader();
    reader.push(bytes.subarray(0, 11));
    expect(() => reader.push(bytes.subarray(11))).toThrow(P11WireError);
  });

  test('that claims much takes no memory for it', () => {
    const before = process.memoryUsage().arrayBuffers;
    const readers = Array.from({ length: 64 }, () => {
      const reader = new P11FrameReader();
      reader.push(head(1, LIMITS.p11_options_max_bytes, LIMITS.p11_body_max_bytes));
      return reader;
    });
    expect(readers.every(({ partial }) => partial)).toBe(true);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1 << 20);
  });
});
