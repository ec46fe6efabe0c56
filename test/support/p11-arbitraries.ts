import * as fc from 'fast-check';
import {
  attributeKind,
  type P11Attribute,
  type P11AttributeRoom,
} from '../../src/protocol/p11-attributes.js';
import { P11_CALLS, callNamed, type P11CallName } from '../../src/protocol/p11-calls.js';
import {
  mechanismsOf,
  parameterKind,
  type P11Mechanism,
  type P11Parameter,
} from '../../src/protocol/p11-mechanism.js';
import type { P11Version } from '../../src/protocol/p11-wire.js';

export const P11_VERSIONS: readonly P11Version[] = [0, 1, 2];
export const P11_NAMES = Object.keys(P11_CALLS) as P11CallName[];

const bytes = (max = 40): fc.Arbitrary<Buffer> =>
  fc.uint8Array({ maxLength: max }).map((value) => Buffer.from(value));
const bytesOrNull = fc.option(bytes(), { nil: null });
const ulong = fc.oneof(
  fc.nat(),
  fc.constantFrom(-2, -1, 0, 2 ** 32 - 1, 2 ** 32, Number.MAX_SAFE_INTEGER),
);
const word = fc.integer({ min: 0, max: 0xffff_ffff });
/** as texts are once their blanks are cut off */
const text = (max: number): fc.Arbitrary<string> =>
  fc.string({ maxLength: max }).map((value) => value.replaceAll('\0', '').replace(/ +$/, ''));

const ONE_OF_EACH_KIND = [0x1, 0x162, 0x0, 0x161, 0x3, 0x172, 0x110, 0x4000_0600, 0x8000_1234];
const TEMPLATES = [0x4000_0211, 0x4000_0212, 0x4000_0213];

function attributeValue(type: number, depth: number): fc.Arbitrary<P11Attribute['value']> {
  switch (attributeKind(type)) {
    case 'byte':
      return fc.boolean();
    case 'ulong':
      return ulong;
    case 'bytes':
    case 'date':
      return bytesOrNull;
    case 'mechanisms':
      return fc.array(ulong, { maxLength: 5 });
    case 'templates':
      return attributes(depth - 1);
  }
}

/** A template, with templates in it to this depth. */
export function attributes(depth = 3): fc.Arbitrary<P11Attribute[]> {
  const types = depth > 1 ? [...ONE_OF_EACH_KIND, ...TEMPLATES] : ONE_OF_EACH_KIND;
  const one = fc
    .constantFrom(...types)
    .chain((type) =>
      fc
        .option(attributeValue(type, depth), { nil: undefined })
        .map((value): P11Attribute => ({ type, value, length: undefined })),
    );
  return fc.array(one, { maxLength: 4 });
}

/** What a client of this version asks to be filled. */
export function rooms(version: P11Version, depth = 3): fc.Arbitrary<P11AttributeRoom[]> {
  const types = depth > 1 && version > 0 ? [...ONE_OF_EACH_KIND, ...TEMPLATES] : ONE_OF_EACH_KIND;
  const one = fc.tuple(fc.constantFrom(...types), fc.integer({ min: 0, max: 99 }));
  const filled = one.chain(([type, room]) =>
    room > 0 && attributeKind(type) === 'templates'
      ? rooms(version, depth - 1).map((nested): P11AttributeRoom => ({ type, room, nested }))
      : fc.constant<P11AttributeRoom>({ type, room, nested: undefined }),
  );
  return fc.array(filled, { maxLength: 4 });
}

const PARAMETERS: { [K in P11Parameter['kind']]: fc.Arbitrary<P11Parameter> } = {
  pss: fc.record({ kind: fc.constant('pss' as const), hash: ulong, mgf: ulong, saltLength: ulong }),
  oaep: fc.record({
    kind: fc.constant('oaep' as const),
    hash: ulong,
    mgf: ulong,
    source: ulong,
    label: bytesOrNull,
  }),
  ecdh: fc.record({
    kind: fc.constant('ecdh' as const),
    kdf: ulong,
    sharedData: bytesOrNull,
    publicData: bytesOrNull,
  }),
  iv: fc.record({ kind: fc.constant('iv' as const), iv: bytes(16) }),
  ctr: fc.record({ kind: fc.constant('ctr' as const), bits: ulong, block: bytes(16) }),
  gcm: fc.record({
    kind: fc.constant('gcm' as const),
    iv: bytes(16),
    ivBits: ulong,
    aad: bytesOrNull,
    tagBits: ulong,
  }),
  length: fc.record({ kind: fc.constant('length' as const), length: ulong }),
  bytes: fc.record({ kind: fc.constant('bytes' as const), bytes: bytes() }),
};

/** A mechanism that a client of this version may send, or none. */
export function mechanisms(version: P11Version): fc.Arbitrary<P11Mechanism | null> {
  const one = fc.constantFrom(...mechanismsOf(version)).chain((type) => {
    const kind = parameterKind(type);
    const without = fc.constant<P11Mechanism>({ type, parameter: undefined });
    if (kind === undefined) return without;
    const filled = PARAMETERS[kind].map((parameter): P11Mechanism => ({ type, parameter }));
    return version < 2 ? filled : fc.oneof(filled, without);
  });
  return fc.oneof({ weight: 9, arbitrary: one }, { weight: 1, arbitrary: fc.constant(null) });
}

function requestValue(token: string, size: number, version: P11Version): fc.Arbitrary<unknown> {
  const byToken: Readonly<Record<string, () => fc.Arbitrary<unknown>>> = {
    y: () => fc.integer({ min: 0, max: 255 }),
    u: () => ulong,
    s: () => text(size).map((value) => fitting(value, size)),
    z: () => text(40),
    ay: () => bytesOrNull,
    fy: () =>
      fc.oneof(
        fc.constant('none'),
        // before version 1 a buffer of no bytes looks like none
        fc.integer({ min: version === 0 ? 1 : 0, max: 0xffff_fffe }),
      ),
    fu: () => word,
    aA: () => attributes(),
    fA: () => rooms(version),
    M: () => mechanisms(version),
  };
  return byToken[token]?.() ?? fc.constant(undefined);
}

function replyValue(token: string, size: number): fc.Arbitrary<unknown> {
  const byte = fc.integer({ min: 0, max: 255 });
  const byToken: Readonly<Record<string, () => fc.Arbitrary<unknown>>> = {
    u: () => ulong,
    v: () => fc.record({ major: byte, minor: byte }),
    s: () => text(size).map((value) => fitting(value, size)),
    ay: () => fc.oneof(bytes(), word),
    au: () => fc.oneof(fc.array(ulong, { maxLength: 9 }), word),
    aA: () => attributes(),
    P: () => fc.constantFrom(null, true, false),
  };
  return byToken[token]?.() ?? fc.constant(undefined);
}

/** The text cut to what its place holds: letters have one to four bytes. */
function fitting(value: string, size: number): string {
  let cut = value;
  while (Buffer.byteLength(cut) > size) cut = cut.slice(0, -1);
  return cut.replace(/ +$/, '');
}

/** Arguments of a call as a client of this version sends them. */
export function requestArgs(call: P11CallName, version: P11Version): fc.Arbitrary<unknown[]> {
  const fields = callNamed(call).requestFields;
  return fc.tuple(...fields.map(({ token, size }) => requestValue(token, size, version)));
}

/** Values of a call's reply. */
export function replyValues(call: P11CallName): fc.Arbitrary<unknown[]> {
  const fields = callNamed(call).responseFields;
  return fc.tuple(...fields.map(({ token, size }) => replyValue(token, size)));
}
