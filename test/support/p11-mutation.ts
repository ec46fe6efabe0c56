import { CKA, CKF, CKK, CKM, CKO, CKU } from '../../src/core/pkcs11.js';
import type { P11Attribute } from '../../src/protocol/p11-attributes.js';
import {
  callNamed,
  P11_CALLS,
  P11_HANDSHAKE,
  type P11Args,
  type P11CallName,
  type P11Token,
} from '../../src/protocol/p11-calls.js';
import { readRequest, writeRequest } from '../../src/protocol/p11-codec.js';
import { P11FrameReader } from '../../src/protocol/p11-frames.js';
import type { P11Mechanism } from '../../src/protocol/p11-mechanism.js';
import { P11WireError, type P11Version } from '../../src/protocol/p11-wire.js';
import { Dice, flippedBytes, mutatedBytes } from './mutation.js';

/** What exists at the server that is tried. */
export interface P11Handles {
  readonly slot: number;
  readonly session: number;
  readonly secretKey: number;
  readonly publicKey: number;
  readonly privateKey: number;
  readonly pin: string;
}

/** A request in its right form. */
export interface P11Seed {
  readonly call: P11CallName;
  readonly args: readonly unknown[];
}

/**
 * What a server makes of bytes on a fresh connection: `answered` each frame has a reply; `pending`
 * the same, but for a call that may wait for ever; `dropped` the connection must end; `incomplete`
 * it waits for more.
 */
export type P11Fate = 'answered' | 'pending' | 'dropped' | 'incomplete';

export interface P11Mutant {
  readonly bytes: Buffer;
  readonly fate: P11Fate;
  /** codes of the requests that have an answer, in their order */
  readonly codes: readonly number[];
  /** the calls that are reached */
  readonly calls: readonly P11CallName[];
}

const label: P11Attribute = { type: CKA.LABEL, value: Buffer.from('fuzz') };
const SESSION_OBJECT: P11Attribute = { type: CKA.TOKEN, value: false };
const aesKey: readonly P11Attribute[] = [
  { type: CKA.CLASS, value: CKO.SECRET_KEY },
  { type: CKA.KEY_TYPE, value: CKK.AES },
  { type: CKA.VALUE_LEN, value: 32 },
  SESSION_OBJECT,
  { type: CKA.ENCRYPT, value: true },
  label,
];
const strange: readonly P11Attribute[] = [
  { type: CKA.START_DATE, value: Buffer.from('20250101') },
  { type: CKA.ALLOWED_MECHANISMS, value: [CKM.AES_GCM, CKM.AES_CBC] },
  { type: CKA.WRAP_TEMPLATE, value: [{ type: CKA.EXTRACTABLE, value: true }, label] },
  { type: CKA.VALUE, value: null, length: 32 },
  { type: CKA.CHECK_VALUE, value: undefined },
  { type: 0x8000_0001, value: Buffer.alloc(8) },
];
const publicTemplate: readonly P11Attribute[] = [
  SESSION_OBJECT,
  { type: CKA.EC_PARAMS, value: Buffer.from('06082a8648ce3d030107', 'hex') },
  { type: CKA.VERIFY, value: true },
];
const data: readonly P11Attribute[] = [
  { type: CKA.CLASS, value: CKO.DATA },
  SESSION_OBJECT,
  { type: CKA.VALUE, value: Buffer.from('some data') },
];
const template: readonly (readonly P11Attribute[])[] = [
  [],
  [label],
  data,
  aesKey,
  publicTemplate,
  strange,
];

const iv = Buffer.alloc(16, 7);
const pss = { kind: 'pss', hash: CKM.SHA256, mgf: 2, saltLength: 32 } as const;
const gcm = {
  kind: 'gcm',
  iv: Buffer.alloc(12, 9),
  ivBits: 96,
  aad: Buffer.from('aad'),
  tagBits: 128,
} as const;
const ecdh = {
  kind: 'ecdh',
  kdf: 1,
  sharedData: null,
  publicData: Buffer.concat([Buffer.from([4]), Buffer.alloc(64, 3)]),
} as const;
const oaep = { kind: 'oaep', hash: CKM.SHA_1, mgf: 1, source: 1, label: null } as const;

const MECHANISMS: readonly P11Mechanism[] = [
  { type: CKM.RSA_PKCS },
  { type: CKM.ECDSA },
  { type: CKM.SHA256 },
  { type: CKM.SHA256_HMAC },
  { type: CKM.SHA256_RSA_PKCS },
  { type: CKM.AES_ECB },
  { type: CKM.AES_KEY_GEN },
  { type: CKM.EC_KEY_PAIR_GEN },
  { type: CKM.AES_CMAC },
  { type: CKM.EDDSA },
  { type: CKM.RSA_PKCS_PSS, parameter: pss },
  { type: CKM.RSA_PKCS_OAEP, parameter: oaep },
  { type: CKM.AES_CBC, parameter: { kind: 'iv', iv } },
  { type: CKM.AES_CBC_PAD, parameter: { kind: 'iv', iv } },
  { type: CKM.AES_CTR, parameter: { kind: 'ctr', bits: 128, block: iv } },
  { type: CKM.AES_GCM, parameter: gcm },
  { type: CKM.ECDH1_DERIVE, parameter: ecdh },
  { type: CKM.SHA256_HMAC_GENERAL, parameter: { kind: 'length', length: 8 } },
  { type: CKM.DH_PKCS_DERIVE, parameter: { kind: 'bytes', bytes: Buffer.alloc(128, 5) } },
  { type: CKM.DES3_CBC, parameter: { kind: 'iv', iv: Buffer.alloc(8) } },
  { type: 0x8001_0005 },
];

const BYTES: readonly (Buffer | null)[] = [
  null,
  Buffer.alloc(0),
  Buffer.from('a'),
  Buffer.alloc(16, 1),
  Buffer.alloc(32, 2),
  Buffer.alloc(64, 3),
  Buffer.alloc(300, 4),
];

/** What a value may be, by its token. */
function choices(token: P11Token, handles: P11Handles): readonly unknown[] {
  const { slot, session, secretKey, publicKey, privateKey } = handles;
  const byToken: Partial<Record<P11Token, readonly unknown[]>> = {
    y: [0, 1, 255],
    u: [0, 1, 2, 6, slot, session, secretKey, publicKey, privateKey, 2 ** 32, -1, -2],
    s: ['', 'fuzz', 'x'.repeat(32)],
    z: ['', 'fuzz', 'x'.repeat(40)],
    ay: BYTES,
    fy: ['none', 0, 1, 16, 64, 512, 65_536, 0xffff_fffe],
    fu: [0, 1, 10, 1_000, 0xffff_ffff],
    aA: template,
    fA: ROOMS,
    M: [null, ...MECHANISMS],
  };
  return byToken[token] ?? [];
}

const ROOMS: readonly unknown[] = [
  [],
  [{ type: CKA.CLASS, room: 8 }],
  [{ type: CKA.LABEL, room: 0 }],
  [CKA.CLASS, CKA.KEY_TYPE, CKA.ID, CKA.MODULUS].map((type) => ({ type, room: 512 })),
  [CKA.VALUE, CKA.PRIVATE_EXPONENT, 0x8000_0001].map((type) => ({ type, room: 64 })),
  [{ type: CKA.WRAP_TEMPLATE, room: 24, nested: [{ type: CKA.LABEL, room: 9 }] }],
  [{ type: CKA.ALLOWED_MECHANISMS, room: 0xffff_ffff }],
];

const SLOT_CALLS: readonly P11CallName[] = [
  'C_GetSlotInfo',
  'C_GetTokenInfo',
  'C_GetMechanismList',
  'C_GetMechanismInfo',
  'C_CloseAllSessions',
];

/** At least one request for each call, with handles that exist. */
export function p11Seeds(handles: P11Handles): P11Seed[] {
  const special = specialSeeds(handles);
  const named = new Set(special.map(({ call }) => call));
  const others = (Object.keys(P11_CALLS) as P11CallName[]).filter((call) => !named.has(call));
  const plain = others.map((call): P11Seed => {
    const args = callNamed(call).requestFields.map(({ token }, at) => {
      if (token === 'u' && at === 0) {
        return SLOT_CALLS.includes(call) ? handles.slot : handles.session;
      }
      if (token === 'u') return handles.secretKey;
      return choices(token, handles).at(token === 'ay' ? 3 : -2);
    });
    return { call, args };
  });
  return [...plain, ...special];
}

function seed<N extends P11CallName>(call: N, args: P11Args<N>): P11Seed {
  return { call, args };
}

function specialSeeds(handles: P11Handles): P11Seed[] {
  const { slot, session, secretKey, publicKey, privateKey } = handles;
  const pin = Buffer.from(handles.pin);
  const wrong = Buffer.from('wrong PIN');
  const ecdsa = { type: CKM.ECDSA };
  const withGcm = { type: CKM.AES_GCM, parameter: gcm };
  return [
    seed('C_Initialize', [Buffer.from(P11_HANDSHAKE), 0, Buffer.from([0])]),
    seed('C_GetSlotList', [1, 0]),
    seed('C_GetSlotList', [1, 16]),
    seed('C_InitToken', [slot, wrong, 'fuzz']),
    seed('C_InitToken2', [slot, wrong, 'fuzz']),
    seed('C_OpenSession', [slot, CKF.SERIAL_SESSION | CKF.RW_SESSION]),
    seed('C_InitPIN', [session, wrong]),
    seed('C_SetPIN', [session, wrong, wrong]),
    seed('C_Login', [session, CKU.USER, pin]),
    seed('C_LoginUser', [session, CKU.USER, pin, Buffer.from('user')]),
    ...template.map((one) => seed('C_CreateObject', [session, one])),
    seed('C_CopyObject', [session, secretKey, [label]]),
    seed('C_DestroyObject', [session, 0x7fff_ffff]),
    ...ROOMS.map((one) =>
      seed('C_GetAttributeValue', [session, privateKey, one as P11Args<'C_GetAttributeValue'>[2]]),
    ),
    seed('C_SetAttributeValue', [session, secretKey, [label]]),
    seed('C_FindObjectsInit', [session, []]),
    seed('C_FindObjectsInit', [session, [label]]),
    seed('C_FindObjects', [session, 10]),
    ...MECHANISMS.flatMap((mechanism) => [
      seed('C_EncryptInit', [session, mechanism, secretKey]),
      seed('C_DecryptInit', [session, mechanism, secretKey]),
      seed('C_SignInit', [session, mechanism, privateKey]),
      seed('C_VerifyInit', [session, mechanism, publicKey]),
      seed('C_DigestInit', [session, mechanism]),
    ]),
    seed('C_GenerateKey', [session, { type: CKM.AES_KEY_GEN }, aesKey]),
    seed('C_GenerateKeyPair', [
      session,
      { type: CKM.EC_KEY_PAIR_GEN },
      publicTemplate,
      [SESSION_OBJECT, label],
    ]),
    seed('C_SignInit', [session, ecdsa, privateKey]),
    seed('C_Sign', [session, Buffer.alloc(32, 1), 512]),
    seed('C_WrapKey', [session, withGcm, secretKey, privateKey, 512]),
    seed('C_UnwrapKey', [session, withGcm, secretKey, Buffer.alloc(48), aesKey]),
    seed('C_DeriveKey', [session, { type: CKM.ECDH1_DERIVE, parameter: ecdh }, privateKey, aesKey]),
    seed('C_DeriveKey2', [
      session,
      { type: CKM.ECDH1_DERIVE, parameter: ecdh },
      privateKey,
      aesKey,
    ]),
    seed('C_GenerateRandom', [session, 32]),
    seed('C_WaitForSlotEvent', [1]),
  ];
}

/** Calls that take from the others what they work with: they come seldom. */
const ENDING: ReadonlySet<P11CallName> = new Set<P11CallName>([
  'C_Finalize',
  'C_CloseAllSessions',
  'C_CloseSession',
  'C_Logout',
  'C_InitToken',
  'C_InitToken2',
]);
const ENDING_CHANCE = 0.05;

export interface P11MutationPlan {
  /** of the dice: the same gives the same frames */
  readonly seed: number;
  readonly handles: P11Handles;
  /** what the connection offered */
  readonly version: P11Version;
  readonly count: number;
}

/** so many of the frames, at the least, reach a call */
const REACHING = 0.6;

/**
 * So many requests with something wrong in them; six of ten are still well-formed, whose values
 * alone are wrong. Each is meant for a connection that has no frame half read.
 */
export function* p11Mutants(plan: P11MutationPlan): Generator<P11Mutant> {
  const dice = new Dice(plan.seed);
  const seeds = p11Seeds(plan.handles);
  let reached = 0;
  for (let made = 0; made < plan.count; made += 1) {
    const code = 1 + dice.below(0xffff_fffe);
    const chosen = pickSeed(dice, seeds);
    const gentle = reached < made * REACHING || dice.chance(0.3);
    const bytes = gentle
      ? otherValues(dice, chosen, plan, code)
      : damaged(dice, chosen, { plan, code, seeds });
    const mutant = { bytes, ...fateOf(bytes, plan.version) };
    if (mutant.calls.length > 0) reached += 1;
    yield mutant;
  }
}

function pickSeed(dice: Dice, seeds: readonly P11Seed[]): P11Seed {
  for (;;) {
    const chosen = dice.pick(seeds);
    if (!ENDING.has(chosen.call) || dice.chance(ENDING_CHANCE)) return chosen;
  }
}

function frameOf({ call, args }: P11Seed, code: number, version: P11Version): Buffer {
  return writeRequest(code, call, args as P11Args<P11CallName>, version);
}

/** A well-formed request with one or two of its values changed for others of their kind. */
function otherValues(dice: Dice, chosen: P11Seed, plan: P11MutationPlan, code: number): Buffer {
  const { requestFields } = callNamed(chosen.call);
  const args = [...chosen.args];
  for (let left = 1 + dice.below(2); left > 0 && args.length > 0; left -= 1) {
    const at = dice.below(args.length);
    const token = requestFields[at]?.token;
    if (token === undefined) continue;
    const value = args[at];
    args[at] =
      value instanceof Uint8Array && dice.chance(0.5)
        ? mutatedBytes(dice, value)
        : dice.pick(choices(token, plan.handles));
  }
  return frameOf({ call: chosen.call, args }, code, plan.version);
}

interface Circumstances {
  readonly plan: P11MutationPlan;
  readonly code: number;
  readonly seeds: readonly P11Seed[];
}

const HEAD_BYTES = 12;

function damaged(dice: Dice, chosen: P11Seed, { plan, code, seeds }: Circumstances): Buffer {
  const { version } = plan;
  const frame = frameOf(chosen, code, version);
  const other = frameOf(dice.pick(seeds), code, version);
  const argsAt = argsStart(frame);
  return dice.weighed<() => Buffer>([
    [() => flippedWithin(dice, frame, argsAt), 5],
    [() => withWord(dice, frame, argsAt), 4],
    [() => withLength(mutatedBytes(dice, bodyOf(frame)), code), 2],
    [() => withLength(spliced(dice, bodyOf(frame), bodyOf(other)), code), 2],
    [() => withLength(bodyOf(frame).subarray(0, dice.below(bodyOf(frame).length)), code), 1],
    [() => withLength(Buffer.concat([bodyOf(frame), bodyOf(other)]), code), 1],
    [() => Buffer.concat([flippedBytes(dice, frame.subarray(0, HEAD_BYTES)), bodyOf(frame)]), 0.5],
    [() => frame.subarray(0, 1 + dice.below(frame.length - 1)), 0.5],
    [() => dice.bytes(1 + dice.below(64)), 0.25],
  ])();
}

const bodyOf = (frame: Buffer): Buffer =>
  frame.subarray(HEAD_BYTES + frame.readUInt32BE(4), frame.length);

/** Where the first argument stands, behind the call's number and its signature. */
function argsStart(frame: Buffer): number {
  const bodyAt = HEAD_BYTES + frame.readUInt32BE(4);
  return bodyAt + 8 + frame.readUInt32BE(bodyAt + 4);
}

function withLength(body: Buffer, code: number): Buffer {
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt32BE(code, 0);
  head.writeUInt32BE(body.length, 8);
  return Buffer.concat([head, body]);
}

function flippedWithin(dice: Dice, frame: Buffer, from: number): Buffer {
  if (from === frame.length) return flippedBytes(dice, frame);
  return Buffer.concat([frame.subarray(0, from), flippedBytes(dice, frame.subarray(from))]);
}

const WORDS = [
  0, 1, 2, 255, 4_096, 0x7fff_fffe, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff,
];

/** A length, a count, a type or half a handle is one that is at some bound. */
function withWord(dice: Dice, frame: Buffer, from: number): Buffer {
  const room = frame.length - from - 4;
  if (room < 0) return flippedBytes(dice, frame);
  const changed = Buffer.from(frame);
  changed.writeUInt32BE(dice.pick(WORDS), from + dice.below(room + 1));
  return changed;
}

function spliced(dice: Dice, one: Buffer, other: Buffer): Buffer {
  return Buffer.concat([
    one.subarray(0, dice.below(one.length + 1)),
    other.subarray(dice.below(other.length + 1)),
  ]);
}

/** @throws what is no P11WireError: a mistake of the codec */
function fateOf(bytes: Buffer, version: P11Version): Omit<P11Mutant, 'bytes'> {
  const reader = new P11FrameReader();
  const codes: number[] = [];
  const calls: P11CallName[] = [];
  let pending = false;
  try {
    for (const { code, body } of reader.push(bytes)) {
      const { call, args } = readRequest(body, version);
      if (call !== undefined) calls.push(call);
      const waits = call === 'C_WaitForSlotEvent' && !mayNotBlock(args[0]);
      if (waits) pending = true;
      else codes.push(code);
    }
  } catch (error) {
    if (!(error instanceof P11WireError)) throw error;
    return { fate: 'dropped', codes, calls };
  }
  if (reader.partial) return { fate: 'incomplete', codes, calls };
  return { fate: pending ? 'pending' : 'answered', codes, calls };
}

/** CKF_DONT_BLOCK */
const mayNotBlock = (flags: unknown): boolean => typeof flags === 'number' && flags % 2 !== 0;
