import { CKM } from '../core/pkcs11.js';
import type { P11Reader, P11Version, P11Writer } from './p11-wire.js';

/** A mechanism's parameter; numbers are the standard's (CKM_, CKG_, CKZ_, CKD_). */
export type P11Parameter =
  | {
      readonly kind: 'pss';
      readonly hash: number;
      readonly mgf: number;
      readonly saltLength: number;
    }
  | {
      readonly kind: 'oaep';
      readonly hash: number;
      readonly mgf: number;
      readonly source: number;
      readonly label: Uint8Array | null;
    }
  | {
      readonly kind: 'ecdh';
      readonly kdf: number;
      readonly sharedData: Uint8Array | null;
      readonly publicData: Uint8Array | null;
    }
  /** not checked: 16 bytes for AES, 8 for DES */
  | { readonly kind: 'iv'; readonly iv: Uint8Array }
  | { readonly kind: 'ctr'; readonly bits: number; readonly block: Uint8Array }
  | {
      readonly kind: 'gcm';
      readonly iv: Uint8Array;
      /** some callers leave it 0 or undefined: the length of `iv` counts */
      readonly ivBits: number;
      readonly aad: Uint8Array | null;
      readonly tagBits: number;
    }
  /** length of a MAC in bytes */
  | { readonly kind: 'length'; readonly length: number }
  /** whatever comes with a mechanism that is not served */
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array };

/** CK_MECHANISM. */
export interface P11Mechanism {
  readonly type: number;
  readonly parameter?: P11Parameter | undefined;
}

type ParameterKind = P11Parameter['kind'];

/** Mechanisms that have a parameter on the wire. */
const WITH_PARAMETERS: Readonly<Record<ParameterKind, readonly number[]>> = {
  pss: [
    CKM.RSA_PKCS_PSS,
    CKM.SHA1_RSA_PKCS_PSS,
    CKM.SHA224_RSA_PKCS_PSS,
    CKM.SHA256_RSA_PKCS_PSS,
    CKM.SHA384_RSA_PKCS_PSS,
    CKM.SHA512_RSA_PKCS_PSS,
  ],
  oaep: [CKM.RSA_PKCS_OAEP],
  ecdh: [CKM.ECDH1_DERIVE],
  iv: [
    CKM.AES_CBC,
    CKM.AES_CBC_PAD,
    CKM.AES_CTS,
    CKM.AES_OFB,
    CKM.AES_CFB64,
    CKM.AES_CFB8,
    CKM.AES_CFB128,
    CKM.AES_CFB1,
    CKM.DES3_CBC,
    CKM.DES3_CBC_PAD,
    0x122, // DES_CBC
    0x125, // DES_CBC_PAD
    0x150, // DES_OFB64
    0x152, // DES_CFB64
    0x153, // DES_CFB8
  ],
  ctr: [CKM.AES_CTR],
  gcm: [CKM.AES_GCM],
  length: [
    CKM.SHA_1_HMAC_GENERAL,
    CKM.SHA224_HMAC_GENERAL,
    CKM.SHA256_HMAC_GENERAL,
    CKM.SHA384_HMAC_GENERAL,
    CKM.SHA512_HMAC_GENERAL,
    CKM.AES_MAC_GENERAL,
    CKM.AES_CMAC_GENERAL,
    0x4a, // SHA512_224_HMAC_GENERAL
    0x4e, // SHA512_256_HMAC_GENERAL
    0x135, // DES3_MAC_GENERAL
    0x137, // DES3_CMAC_GENERAL
  ],
  bytes: [CKM.DH_PKCS_DERIVE],
};

const PARAMETER_KINDS: ReadonlyMap<number, ParameterKind> = new Map(
  (Object.keys(WITH_PARAMETERS) as ParameterKind[]).flatMap((kind) =>
    WITH_PARAMETERS[kind].map((type) => [type, kind]),
  ),
);

/** What kind of parameter stands after this mechanism's type; undefined: none. */
export function parameterKind(type: number): ParameterKind | undefined {
  return PARAMETER_KINDS.get(type);
}

/** No mechanism at all: C_SignInit and its like end the operation that is under way. */
const NULL_MECHANISM = 0xffff_ffff;

const VENDOR_DEFINED = 0x8000_0000;

/**
 * Whether the bytes after this mechanism have a form that is not known here: vendors' mechanisms.
 * What follows in the body cannot be read.
 */
export function isOpaque({ type }: P11Mechanism): boolean {
  return type >= VENDOR_DEFINED;
}

const NOTHING = new Uint8Array(0);

/**
 * Reads a mechanism (`M`); `null` is a pointer that is NULL. Its form goes by what the client
 * offered: before version 2, one without a parameter is followed by a byte array that is not there.
 * @throws P11WireError
 */
export function readMechanism(reader: P11Reader, version: P11Version): P11Mechanism | null {
  const type = reader.u32();
  if (type === NULL_MECHANISM) return null;
  if (type >= VENDOR_DEFINED) return { type, parameter: undefined };
  const kind = PARAMETER_KINDS.get(type);
  if (version >= 2) {
    const has = kind !== undefined && reader.u8() !== 0;
    return { type, parameter: has ? readParameter(reader, kind) : undefined };
  }
  if (kind !== undefined) return { type, parameter: readParameter(reader, kind) };
  const bytes = reader.array();
  return { type, parameter: bytes === null ? undefined : { kind: 'bytes', bytes } };
}

function readParameter(reader: P11Reader, kind: ParameterKind): P11Parameter {
  switch (kind) {
    case 'pss':
      return { kind, hash: reader.u64(), mgf: reader.u64(), saltLength: reader.u64() };
    case 'oaep': {
      const [hash, mgf, source] = [reader.u64(), reader.u64(), reader.u64()];
      return { kind, hash, mgf, source, label: reader.array() };
    }
    case 'ecdh':
      return { kind, kdf: reader.u64(), sharedData: reader.array(), publicData: reader.array() };
    case 'iv':
      return { kind, iv: reader.array() ?? NOTHING };
    case 'ctr':
      return { kind, bits: reader.u64(), block: reader.array() ?? NOTHING };
    case 'gcm': {
      const [iv, ivBits] = [reader.array() ?? NOTHING, reader.u64()];
      return { kind, iv, ivBits, aad: reader.array(), tagBits: reader.u64() };
    }
    case 'length':
      return { kind, length: reader.u64() };
    case 'bytes':
      return { kind, bytes: reader.array() ?? NOTHING };
  }
}

/** Writes a mechanism (`M`) as a client that offers `version` does. */
export function writeMechanism(
  writer: P11Writer,
  mechanism: P11Mechanism | null,
  version: P11Version,
): void {
  writer.u32(mechanism?.type ?? NULL_MECHANISM);
  if (mechanism === null || isOpaque(mechanism)) return;
  const { type, parameter } = mechanism;
  const kind = PARAMETER_KINDS.get(type);
  if (kind === undefined) {
    if (version < 2) writer.array(parameter?.kind === 'bytes' ? parameter.bytes : null);
    return;
  }
  if (version >= 2) writer.u8(parameter === undefined ? 0 : 1);
  if (parameter?.kind === kind) {
    writeParameter(writer, parameter);
  } else if (parameter !== undefined || version < 2) {
    throw new TypeError(`mechanism 0x${type.toString(16)} wants a parameter of the kind ${kind}`);
  }
}

function writeParameter(writer: P11Writer, parameter: P11Parameter): void {
  switch (parameter.kind) {
    case 'pss':
      writer.u64(parameter.hash);
      writer.u64(parameter.mgf);
      writer.u64(parameter.saltLength);
      return;
    case 'oaep':
      writer.u64(parameter.hash);
      writer.u64(parameter.mgf);
      writer.u64(parameter.source);
      writer.array(parameter.label);
      return;
    case 'ecdh':
      writer.u64(parameter.kdf);
      writer.array(parameter.sharedData);
      writer.array(parameter.publicData);
      return;
    case 'iv':
      writer.array(parameter.iv);
      return;
    case 'ctr':
      writer.u64(parameter.bits);
      writer.array(parameter.block);
      return;
    case 'gcm':
      writer.array(parameter.iv);
      writer.u64(parameter.ivBits);
      writer.array(parameter.aad);
      writer.u64(parameter.tagBits);
      return;
    case 'length':
      writer.u64(parameter.length);
      return;
    case 'bytes':
      writer.array(parameter.bytes);
  }
}

/**
 * `P` of C_DeriveKey2's answer: whether the mechanism came with a parameter; `null` for one that
 * has none, of which the answer says nothing.
 */
export function updatedParameter({ type, parameter }: P11Mechanism): boolean | null {
  return PARAMETER_KINDS.has(type) ? parameter !== undefined : null;
}

/** What clients up to 0.24.1 let pass. */
const FIRST_MECHANISMS: readonly number[] = [
  // RSA, with OAEP (9) and PSS (d)
  [0x0, 0x1, 0x2, 0x3, 0x5, 0x6, 0x7, 0x8, 0x9, 0xa, 0xb, 0xc, 0xd, 0x40, 0x41, 0x42],
  // DSA, Diffie-Hellman, elliptic curves
  [0x10, 0x11, 0x12, 0x2000, 0x20, 0x2001, 0x30, 0x2002, 0x1040, 0x1041, 0x1042],
  // RC2, RC4, DES, CDMF
  [0x100, 0x101, 0x103, 0x110, 0x111, 0x120, 0x121, 0x123, 0x130, 0x131, 0x132, 0x134],
  [0x140, 0x141, 0x143],
  // CAST, IDEA
  [0x300, 0x301, 0x303, 0x310, 0x311, 0x313, 0x320, 0x321, 0x323, 0x340, 0x341, 0x343],
  // digests and their HMACs: MD2, MD5, SHA-1, RIPEMD-128 and -160, SHA-256, -384 and -512
  [0x200, 0x201, 0x210, 0x211, 0x220, 0x221, 0x230, 0x231, 0x240, 0x241],
  [0x250, 0x251, 0x260, 0x261, 0x270, 0x271],
  // generic secrets, AES: key, ECB, MAC
  [0x350, 0x1080, 0x1081, 0x1083],
].flat();

/** What 0.25.0 added besides the mechanisms with parameters. */
const LATER_MECHANISMS: readonly number[] = [
  // SHA-224: digest, HMAC, RSA
  [0x255, 0x256, 0x46],
  // SHA-512/224, SHA-512/256, SHA-512/t
  [0x48, 0x49, 0x4b, 0x4c, 0x4d, 0x4f, 0x50, 0x51, 0x52, 0x53],
  // ECDSA with SHA-224 to SHA-512
  [0x1043, 0x1044, 0x1045, 0x1046],
  // CMAC of AES and of triple DES
  [0x108a, 0x138],
  // keys derived by digests
  [0x392, 0x393, 0x394, 0x395, 0x396],
].flat();

const FIRST: ReadonlySet<number> = new Set(FIRST_MECHANISMS);
const ALL: ReadonlySet<number> = new Set([
  ...FIRST_MECHANISMS,
  ...LATER_MECHANISMS,
  ...PARAMETER_KINDS.keys(),
]);

/**
 * The mechanisms that a client of this version lets pass. It refuses all others by itself and takes
 * them out of a token's list, so they should not stand in it.
 */
export function mechanismsOf(version: P11Version): ReadonlySet<number> {
  return version === 0 ? FIRST : ALL;
}
