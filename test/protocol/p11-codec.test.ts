import { readFileSync } from 'node:fs';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { packageFile } from '../../src/core/entry.js';
import { CKR } from '../../src/core/pkcs11.js';
import {
  callNamed,
  type P11Args,
  type P11CallName,
  type P11Values,
} from '../../src/protocol/p11-calls.js';
import {
  readReply,
  readRequest,
  writeError,
  writeReply,
  writeRequest,
} from '../../src/protocol/p11-codec.js';
import { P11FrameReader } from '../../src/protocol/p11-frames.js';
import { P11WireError, type P11Version } from '../../src/protocol/p11-wire.js';
import { P11_NAMES, P11_VERSIONS, replyValues, requestArgs } from '../support/p11-arbitraries.js';

const CODE = 0x10;

/** The body of the one frame. */
function bodyOf(frame: Buffer): Buffer {
  const [only, ...others] = new P11FrameReader().push(frame);
  expect(others).toEqual([]);
  expect(only?.code).toBe(CODE);
  return only?.body ?? Buffer.alloc(0);
}

function requestBody(call: P11CallName, args: readonly unknown[], version: P11Version): Buffer {
  return bodyOf(writeRequest(CODE, call, args as P11Args<P11CallName>, version));
}

function replyBody(call: P11CallName, values: readonly unknown[]): Buffer {
  return bodyOf(writeReply(CODE, call, values as P11Values<P11CallName>));
}

interface Vector {
  readonly name: string;
  readonly hex: string;
  readonly call: P11CallName;
  readonly values: readonly unknown[];
}

/** Vectors say bytes as `{"hex": "…"}`. */
function vectors(name: string): unknown {
  const text = readFileSync(packageFile(`test/vectors/p11-rpc/${name}.json`), 'utf8');
  return JSON.parse(text, (_, value: unknown) => {
    const hex = typeof value === 'object' && value !== null && Object.keys(value).join() === 'hex';
    return hex ? Buffer.from((value as { hex: string }).hex, 'hex') : value;
  });
}

describe('bytes captured from stock clients and servers', () => {
  type Request = Vector & { readonly versions: readonly P11Version[] };
  for (const { name, hex, call, values, versions } of vectors('requests') as readonly Request[]) {
    test.each(versions)(`${name}, version %d`, (version) => {
      const read = readRequest(Buffer.from(hex, 'hex'), version);
      expect(read).toEqual({ call, id: callNamed(call).id, args: values, refusal: undefined });
      expect(requestBody(call, values, version).toString('hex')).toBe(hex);
    });
  }

  test.each(vectors('replies') as readonly Vector[])('$name', ({ hex, call, values }) => {
    expect(readReply(Buffer.from(hex, 'hex'))).toEqual({ call, rv: CKR.OK, values });
    expect(replyBody(call, values).toString('hex')).toBe(hex);
  });

  type Failure = Pick<Vector, 'name' | 'hex'> & { readonly rv: number };
  test.each(vectors('errors') as readonly Failure[])('$name', (vector) => {
    const { hex, rv } = vector;
    expect(readReply(Buffer.from(hex, 'hex'))).toEqual({ call: undefined, rv, values: [] });
    expect(bodyOf(writeError(CODE, rv)).toString('hex')).toBe(hex);
  });

  type Frame = Vector & { direction: string; version: P11Version; code: number; options: string };
  test.each(vectors('frames') as readonly Frame[])('$name, the whole frame', (vector) => {
    const { hex, call, values, direction, version, code, options } = vector;
    const [frame] = new P11FrameReader().push(Buffer.from(hex, 'hex'));
    expect([frame?.code, frame?.options.toString()]).toEqual([code, options]);
    const body = frame?.body ?? Buffer.alloc(0);
    if (direction === 'request') {
      expect(readRequest(body, version)).toMatchObject({ call, args: values });
      const args = values as P11Args<P11CallName>;
      expect(writeRequest(code, call, args, version).toString('hex')).toBe(hex);
    } else {
      expect(readReply(body)).toEqual({ call, rv: CKR.OK, values });
      const reply = writeReply(code, call, values as P11Values<P11CallName>);
      expect(reply.toString('hex')).toBe(hex);
    }
  });
});

describe.each(P11_VERSIONS)('in version %d', (version) => {
  test('every request is the same after it crossed the wire', () => {
    for (const call of P11_NAMES) {
      fc.assert(
        fc.property(requestArgs(call, version), (args) => {
          const read = readRequest(requestBody(call, args, version), version);
          expect(read).toEqual({ call, id: callNamed(call).id, args, refusal: undefined });
        }),
        { numRuns: 40 },
      );
    }
  });

  test('no request can be cut off', () => {
    for (const call of P11_NAMES) {
      // its lists can be read in several ways, of which some are shorter
      if (call === 'C_GetAttributeValue' && version === 1) continue;
      fc.assert(
        fc.property(requestArgs(call, version), (args) => {
          const body = requestBody(call, args, version);
          for (let length = 0; length < body.length; length += 1) {
            const cut = body.subarray(0, length);
            expect(() => readRequest(cut, version)).toThrow(P11WireError);
          }
        }),
        { numRuns: 4 },
      );
    }
  });

  test('what follows a request is not looked at', () => {
    const body = requestBody('C_CloseSession', [7], version);
    const longer = Buffer.concat([body, Buffer.from([1, 2, 3])]);
    expect(readRequest(longer, version).args).toEqual([7]);
  });
});

describe('replies', () => {
  test('are the same after they crossed the wire', () => {
    for (const call of P11_NAMES) {
      fc.assert(
        fc.property(replyValues(call), (values) => {
          expect(readReply(replyBody(call, values))).toEqual({ call, rv: CKR.OK, values });
        }),
        { numRuns: 40 },
      );
    }
  });

  test('cannot be cut off', () => {
    for (const call of P11_NAMES) {
      // whether its second value is there is told by the length alone
      if (call === 'C_DeriveKey2') continue;
      fc.assert(
        fc.property(replyValues(call), (values) => {
          const body = replyBody(call, values);
          for (let length = 0; length < body.length; length += 1) {
            expect(() => readReply(body.subarray(0, length))).toThrow(P11WireError);
          }
        }),
        { numRuns: 4 },
      );
    }
  });

  test('of a megabyte are one frame', () => {
    const data = Buffer.alloc(1 << 20, 'x');
    const read = readReply(replyBody('C_Encrypt', [data]));
    expect((read.values[0] as Buffer).equals(data)).toBe(true);
  });
});

const body = (hex: string): Buffer => Buffer.from(hex.replaceAll(' ', ''), 'hex');
const expectRefused = (hex: string): void => {
  for (const version of P11_VERSIONS) {
    expect(() => readRequest(body(hex), version)).toThrow(P11WireError);
  }
};

describe('a request', () => {
  test('of a number that is not known is told from one that is malformed', () => {
    for (const id of ['00000000', '0000005a', 'ffffffff']) {
      expect(readRequest(body(id), 2)).toMatchObject({ call: undefined, args: [] });
    }
    expectRefused('');
    expectRefused('0000000b');
  });

  test('must have the signature of its call', () => {
    expectRefused('0000000b 00000001 79 0000000000000011');
    expectRefused('0000000b 00000002 7575 0000000000000011 0000000000000011');
    expectRefused('0000000b ffffffff 0000000000000011');
  });

  test('claims no more than it brings', () => {
    // C_CreateObject, C_SignUpdate and C_GetAttributeValue with counts and lengths of all ones
    expectRefused('00000014 00000003 756141 0000000000000011 ffffffff');
    expectRefused('0000002c 00000003 756179 0000000000000011 01 7ffffffe 61');
    expectRefused('0000002c 00000003 756179 0000000000000011 01 fffffffe 61');
    expectRefused('00000018 00000004 75756641 0000000000000011 0000000000000011 ffffffff');
  });

  test('has handles beyond what a number holds as one that cannot exist', () => {
    const close = (handle: string): unknown =>
      readRequest(body(`0000000b 00000001 75 ${handle}`), 2).args[0];
    expect(close('8000000000000001')).toBe(-2);
    expect(close('ffffffffffffffff')).toBe(-1);
  });

  test('may claim a length for bytes that are not there', () => {
    const read = readRequest(body('0000002c 00000003 756179 0000000000000011 00 00000009'), 0);
    expect(read.args).toEqual([0x11, null]);
  });

  test('is refused where a mechanism cannot be read past', () => {
    const hex = '0000002a 00000003 754d75 0000000000000011 80010005 01 00';
    expect(readRequest(body(hex), 2)).toEqual({
      call: 'C_SignInit',
      id: 42,
      args: [0x11, { type: 0x8001_0005 }],
      refusal: CKR.MECHANISM_INVALID,
    });
  });
});

describe('texts', () => {
  test('of a fixed length are filled with blanks or cut', () => {
    const info = (description: string): string => {
      const version = { major: 2, minor: 40 };
      const frame = replyBody('C_GetInfo', [version, 'Keyspan', 0, description, version]);
      return (readReply(frame).values[3] as string | undefined) ?? '';
    };
    expect(info('a token')).toBe('a token');
    expect(info('x'.repeat(40))).toBe('x'.repeat(32));
    // 31 bytes and a letter of two: it is left out, not halved
    expect(info(`${'x'.repeat(31)}é`)).toBe('x'.repeat(31));
  });

  test('end at a NUL and before their blanks', () => {
    const label = (text: string): unknown =>
      readRequest(requestBody('C_InitToken', [1, null, text], 0), 0).args[2];
    expect(label('my token   ')).toBe('my token');
    expect(label('my\0token')).toBe('my');
    expect(label('')).toBe('');
  });

  test('of a wrong length are refused', () => {
    const head = '00000058 00000004 75617973 0000000000000001 01 00000000';
    expectRefused(`${head} 00000003 616263`);
    expectRefused(`${head} ffffffff`);
    expect(readRequest(body(`${head} 00000020 ${'61'.repeat(32)}`), 2).args[2]).toHaveLength(32);
  });
});
