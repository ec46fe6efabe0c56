import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  BEYOND,
  P11Reader,
  P11WireError,
  P11Writer,
  UNAVAILABLE,
} from '../../src/protocol/p11-wire.js';

const HEAD_BYTES = 12;

/** What a writer writes, without the frame's head. */
function written(write: (writer: P11Writer) => void): Buffer {
  const writer = new P11Writer(1);
  write(writer);
  return writer.end().subarray(HEAD_BYTES);
}

const readerOf = (hex: string): P11Reader => new P11Reader(Buffer.from(hex, 'hex'));

describe('integers of 64 bits', () => {
  test.each([
    ['0000000000000000', 0],
    ['0000000100000000', 2 ** 32],
    ['001fffffffffffff', Number.MAX_SAFE_INTEGER],
    ['ffffffffffffffff', UNAVAILABLE],
    ['fffffffffffffffe', BEYOND],
  ])('%s is %d, both ways', (hex, value) => {
    expect(readerOf(hex).u64()).toBe(value);
    expect(written((writer) => writer.u64(value)).toString('hex')).toBe(hex);
  });

  test('that a number cannot hold are none that exists', () => {
    for (const hex of ['0020000000000000', '8000000000000000', 'ffffffff00000000']) {
      expect(readerOf(hex).u64()).toBe(BEYOND);
    }
  });
});

describe('byte arrays', () => {
  test('are empty or not there at all', () => {
    expect(readerOf('00000000').array()).toEqual(Buffer.alloc(0));
    expect(readerOf('ffffffff').array()).toBeNull();
    expect(written((writer) => writer.array(null)).toString('hex')).toBe('ffffffff');
  });

  test.each(['7fffffff', 'fffffffe', '80000000', '00000001', '0000', ''])(
    'of length %s with nothing behind it are refused',
    (hex) => expect(() => readerOf(hex).array()).toThrow(P11WireError),
  );

  test('share memory with the body', () => {
    const body = Buffer.from('0000000161', 'hex');
    expect(new P11Reader(body).array()?.buffer).toBe(body.buffer);
  });
});

test('a count must have room for its items', () => {
  expect(readerOf('000000020000').count(1)).toBe(2);
  expect(() => readerOf('000000020000').count(2)).toThrow(P11WireError);
  expect(() => readerOf('ffffffff0000').count(8)).toThrow(P11WireError);
});

test('a signature must be the one that is expected', () => {
  expect(() => readerOf('00000002757a').expect('uz')).not.toThrow();
  expect(() => readerOf('00000002757a').expect('uy')).toThrow(P11WireError);
  expect(() => readerOf('00000002757a').expect('u')).toThrow(P11WireError);
  expect(() => readerOf('0000000275').expect('uz')).toThrow(P11WireError);
});

test('a frame has its code, its options and the length of its body, whatever its size', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 0xffff_ffff }),
      fc.uint8Array({ maxLength: 500 }),
      fc.array(fc.uint8Array({ maxLength: 700 }), { maxLength: 6 }),
      (code, options, parts) => {
        const writer = new P11Writer(code, options);
        for (const part of parts) writer.bytes(part);
        const frame = writer.end();
        const body = Buffer.concat(parts);
        expect(frame.readUInt32BE(0)).toBe(code);
        expect(frame.readUInt32BE(4)).toBe(options.length);
        expect(frame.readUInt32BE(8)).toBe(body.length);
        expect(frame.subarray(HEAD_BYTES)).toEqual(Buffer.concat([options, body]));
      },
    ),
  );
});

test('a reader goes back to where it was', () => {
  const reader = readerOf('0000000100000002');
  const { at } = reader;
  expect(reader.u32()).toBe(1);
  reader.rewind(at);
  expect([reader.u32(), reader.u32(), reader.left]).toEqual([1, 2, 0]);
});
