import { asBuffer } from '../core/bytes.js';
import type { QuorumService } from './hsm-session.js';

/**
 * A token of quorum authentication or of a login with a second factor: bytes that one HSM makes and
 * that somebody's key signs (SHA-256, PKCS #1 v1.5, RSA-2048). All tokens have one length, so that
 * those of several HSMs can stand one behind the other and be told apart.
 */
export type TokenService = QuorumService | 'mfa';

/** What a token is for, as its byte says it. */
export const TOKEN_SERVICES = {
  user: 1,
  quorum: 2,
  cluster: 3,
  registration: 4,
  'key-usage': 5,
  'key-management': 6,
  mfa: 7,
} as const satisfies Record<TokenService, number>;

/** Says what is signed, so that the signature is of use for nothing else; the last byte: version */
const MAGIC = Buffer.from('KSTOKEN\u0001', 'latin1');

/** The parts of a token with their lengths in bytes. */
const PARTS = {
  magic: MAGIC.length,
  service: 1,
  hsm: 20,
  cluster: 24,
  username: 31,
  session: 8,
  boot: 16,
  key: 40,
  issued: 8,
  nonce: 57,
  mac: 32,
} as const;
type Part = keyof typeof PARTS;

const PLACES = new Map<Part, { begin: number; end: number }>();
let length = 0;
for (const [part, bytes] of Object.entries(PARTS) as [Part, number][]) {
  PLACES.set(part, { begin: length, end: length + bytes });
  length += bytes;
}
export const TOKEN_BYTES = length;
export const TOKEN_KEY_MAX_CHARS = PARTS.key;
export const TOKEN_NONCE_BYTES = PARTS.nonce;

function partOf(token: Uint8Array, part: Part): Buffer {
  const { begin = 0, end = 0 } = PLACES.get(part) ?? {};
  return asBuffer(token).subarray(begin, end);
}

const textIn = (token: Uint8Array, part: Part): string =>
  partOf(token, part).toString('latin1').replace(/\0+$/, '');

export interface TokenContent {
  readonly service: TokenService;
  readonly hsm: string;
  /** the family of the cluster */
  readonly cluster: string;
  readonly username: string;
  /** of the login that it was given to; 0: there is none yet */
  readonly session: number;
  /** 32 hex digits */
  readonly boot: string;
  /** empty: it is about no key */
  readonly key: string;
  /** monotonic time of the HSM, in milliseconds */
  readonly issuedMs: number;
  readonly nonce: Uint8Array;
}

/** @param mac what the HSM makes of the bytes before it */
export function encodeToken(content: TokenContent, mac: (body: Uint8Array) => Uint8Array): Buffer {
  const token = Buffer.alloc(TOKEN_BYTES);
  MAGIC.copy(partOf(token, 'magic'));
  partOf(token, 'service').writeUInt8(TOKEN_SERVICES[content.service]);
  for (const part of ['hsm', 'cluster', 'username', 'key'] as const) {
    partOf(token, part).write(content[part], 'latin1');
  }
  partOf(token, 'session').writeBigUInt64BE(BigInt(content.session));
  partOf(token, 'boot').write(content.boot, 'hex');
  partOf(token, 'issued').writeDoubleBE(content.issuedMs);
  partOf(token, 'nonce').set(content.nonce);
  partOf(token, 'mac').set(mac(bodyOf(token)));
  return token;
}

const bodyOf = (token: Uint8Array): Buffer => asBuffer(token).subarray(0, PLACES.get('mac')?.begin);

/** A token taken apart; undefined: it is none. Only its HSM knows whether it made it. */
export interface ReadToken {
  readonly service: number;
  readonly hsm: string;
  readonly username: string;
  readonly issuedMs: number;
  readonly body: Uint8Array;
  readonly mac: Uint8Array;
}

export function readToken(token: Uint8Array): ReadToken | undefined {
  if (token.length !== TOKEN_BYTES || !partOf(token, 'magic').equals(MAGIC)) return undefined;
  return {
    service: partOf(token, 'service').readUInt8(),
    hsm: textIn(token, 'hsm'),
    username: textIn(token, 'username'),
    issuedMs: partOf(token, 'issued').readDoubleBE(),
    body: bodyOf(token),
    mac: partOf(token, 'mac'),
  };
}

/** The HSM that a token says it is of; undefined: it is no token. */
export const hsmOfToken = (token: Uint8Array): string | undefined => readToken(token)?.hsm;

/** Tokens that stand one behind the other; undefined: there is something else among them. */
export function splitTokens(data: Uint8Array): Uint8Array[] | undefined {
  if (data.length % TOKEN_BYTES !== 0) return undefined;
  const tokens = Array.from({ length: data.length / TOKEN_BYTES }, (_, at) =>
    data.subarray(at * TOKEN_BYTES, (at + 1) * TOKEN_BYTES),
  );
  return tokens.every((token) => readToken(token) !== undefined) ? tokens : undefined;
}
