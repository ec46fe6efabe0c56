import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { LIMITS } from '../../src/core/limits.js';
import { CKA } from '../../src/core/pkcs11.js';
import {
  attributeKind,
  attributeLength,
  readAttributes,
  readRooms,
  writeAttributes,
  writeRooms,
  type P11Attribute,
  type P11AttributeRoom,
} from '../../src/protocol/p11-attributes.js';
import {
  P11Reader,
  P11WireError,
  P11Writer,
  type P11Version,
} from '../../src/protocol/p11-wire.js';
import { attributes, P11_VERSIONS, rooms } from '../support/p11-arbitraries.js';

const readerOf = (hex: string): P11Reader =>
  new P11Reader(Buffer.from(hex.replaceAll(' ', ''), 'hex'));

function written(write: (writer: P11Writer) => void): Buffer {
  const writer = new P11Writer(1);
  write(writer);
  return writer.end().subarray(12);
}

const attributesWritten = (list: readonly P11Attribute[]): Buffer =>
  written((writer) => writeAttributes(writer, list));

const roomsWritten = (list: readonly P11AttributeRoom[], version: P11Version): Buffer =>
  written((writer) => writeRooms(writer, list, version));

describe('kinds of attributes', () => {
  test.each([
    [CKA.TOKEN, 'byte'],
    [0x8001_000d, 'byte'],
    [CKA.CLASS, 'ulong'],
    [0x406, 'ulong'],
    [0x800d_0009, 'ulong'],
    [CKA.LABEL, 'bytes'],
    [CKA.DESTROYABLE, 'bytes'],
    [CKA.PROFILE_ID, 'bytes'],
    [CKA.PUBLIC_KEY_INFO, 'bytes'],
    [0x8000_0001, 'bytes'],
    [CKA.START_DATE, 'date'],
    [CKA.DERIVE_TEMPLATE, 'templates'],
    [CKA.ALLOWED_MECHANISMS, 'mechanisms'],
  ])('0x%i is %s', (type, kind) => expect(attributeKind(type)).toBe(kind));

  test('tell how long a value is in memory', () => {
    const inner = { type: CKA.CLASS, value: 1 };
    const values = [true, 5, Buffer.alloc(3), [1, 2], [inner, inner], [], null, undefined];
    expect(values.map(attributeLength)).toEqual([1, 8, 3, 16, 48, 0, 0, 0]);
  });
});

describe('attributes with values', () => {
  test('are the same after they crossed the wire', () => {
    fc.assert(
      fc.property(attributes(4), (list) => {
        const reader = new P11Reader(attributesWritten(list));
        expect(readAttributes(reader)).toEqual(list);
        expect(reader.left).toBe(0);
      }),
    );
  });

  test('may say their length alone, by any kind', () => {
    const asked = (type: number, length: number): P11Attribute => ({ type, value: null, length });
    const hex = (list: P11Attribute[]): string => attributesWritten(list).toString('hex');
    expect(hex([asked(CKA.LABEL, 9)])).toBe('00000001000000030100000009ffffffff');
    expect(hex([asked(CKA.TOKEN, 1)])).toBe('0000000100000001010000000100');
    expect(hex([asked(CKA.CLASS, 8)])).toBe('000000010000000001000000080000000000000000');
    expect(hex([asked(CKA.ALLOWED_MECHANISMS, 16)])).toBe('0000000140000600010000001000000000');
    expect(hex([asked(CKA.WRAP_TEMPLATE, 48)])).toBe('0000000140000211010000003000000000');
  });

  test('keep a length that is not their own', () => {
    const read = (hex: string): P11Attribute[] => readAttributes(readerOf(hex));
    expect(read('00000001 00000003 01 00000009 ffffffff')).toEqual([
      { type: CKA.LABEL, value: null, length: 9 },
    ]);
    expect(read('00000001 00000003 01 00000000 ffffffff')).toEqual([
      { type: CKA.LABEL, value: null, length: undefined },
    ]);
    // a client whose CK_ULONG has 32 bits
    expect(read('00000001 00000000 01 00000004 0000000000000003')).toEqual([
      { type: CKA.CLASS, value: 3, length: 4 },
    ]);
  });

  test('of another kind than their type are a mistake of ours', () => {
    const wrong: P11Attribute[] = [
      { type: CKA.CLASS, value: true },
      { type: CKA.TOKEN, value: 1 },
      { type: CKA.LABEL, value: 1 },
      { type: CKA.ALLOWED_MECHANISMS, value: Buffer.alloc(8) },
      { type: CKA.WRAP_TEMPLATE, value: Buffer.alloc(24) },
    ];
    for (const one of wrong) {
      expect(() => attributesWritten([one])).toThrow(TypeError);
    }
  });
});

/** A template in a template, this deep, with one attribute of no value innermost. */
const nestedHex = (depth: number): string =>
  depth === 1 ? '00000001 00000003 00' : `00000001 40000211 01 00000018 ${nestedHex(depth - 1)}`;

describe('bounds', () => {
  const max = LIMITS.p11_template_depth_max;

  test('of nesting', () => {
    expect(readAttributes(readerOf(nestedHex(max)))).toHaveLength(1);
    expect(() => readAttributes(readerOf(nestedHex(max + 1)))).toThrow(P11WireError);
    expect(() => readAttributes(readerOf(nestedHex(5_000)))).toThrow(P11WireError);
    const room = (depth: number): string =>
      depth === 1 ? '00000000' : `00000001 40000211 00000018 ${room(depth - 1)}`;
    expect(readRooms(readerOf(room(max)), 2)).toHaveLength(1);
    for (const version of [1, 2] as const) {
      expect(() => readRooms(readerOf(room(max + 1)), version)).toThrow(P11WireError);
    }
  });

  test('of counts, with those of templates within', () => {
    const absent = '0000000300';
    const list = (count: number): string =>
      count.toString(16).padStart(8, '0') + absent.repeat(count);
    const bound = LIMITS.p11_attributes_max;
    expect(readAttributes(readerOf(list(bound)))).toHaveLength(bound);
    expect(() => readAttributes(readerOf(list(bound + 1)))).toThrow(P11WireError);
    const within = `00000002 ${absent} 40000211 01 00000018 ${list(bound - 1)}`;
    expect(() => readAttributes(readerOf(within))).toThrow(P11WireError);
  });

  test.each([
    ['attributes', 'ffffffff'],
    ['attributes', 'ffffffff 00000003 00 00000003 00'],
    ['templates', '00000001 40000211 01 00000018 ffffffff 00000003 00'],
    ['mechanisms', '00000001 40000600 01 00000008 ffffffff 0000000000000001'],
    ['bytes', '00000001 00000003 01 00000008 7ffffffe 61'],
  ])('of %s: %s', (_, hex) => {
    expect(() => readAttributes(readerOf(hex))).toThrow(P11WireError);
    for (const version of P11_VERSIONS) {
      expect(() => readRooms(readerOf('ffffffff 00000003 00000001'), version)).toThrow(
        P11WireError,
      );
    }
  });
});

describe('attributes to be filled', () => {
  test.each(P11_VERSIONS)('are the same after they crossed the wire in version %d', (version) => {
    fc.assert(
      fc.property(rooms(version), (list) => {
        const reader = new P11Reader(roomsWritten(list, version));
        expect(readRooms(reader, version)).toEqual(list);
        expect(reader.left).toBe(0);
      }),
    );
  });

  test('of 0.25.4 have a stray word behind a template without a buffer', () => {
    const last = '00000002 00000003 00000009 40000211 00000000 00000000';
    expect(readRooms(readerOf(last), 1)).toMatchObject([
      { type: CKA.LABEL, room: 9 },
      { type: CKA.WRAP_TEMPLATE, room: 0 },
    ]);
    const amid = '00000002 40000211 00000000 00000000 00000003 00000009';
    expect(readRooms(readerOf(amid), 1)).toMatchObject([
      { type: CKA.WRAP_TEMPLATE, room: 0 },
      { type: CKA.LABEL, room: 9 },
    ]);
  });

  test('of clients before 0.25.4 do not nest', () => {
    const hex = '00000002 40000211 00000030 00000003 00000009';
    const wanted = [
      { type: CKA.WRAP_TEMPLATE, room: 48 },
      { type: CKA.LABEL, room: 9 },
    ];
    expect(readRooms(readerOf(hex), 1)).toMatchObject(wanted);
    expect(readRooms(readerOf(hex), 0)).toMatchObject(wanted);
  });

  test('may be followed by bytes that say nothing', () => {
    for (const version of P11_VERSIONS) {
      expect(readRooms(readerOf('00000001 00000003 00000009 ff'), version)).toHaveLength(1);
    }
  });
});
