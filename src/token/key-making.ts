import { createPublicKey } from 'node:crypto';
import { KeyspanError } from '../core/errors.js';
import { CKA } from '../core/pkcs11.js';
import { attempt } from './ckr.js';
import type { Mechanism, Template } from './cryptoki.js';
import { EC_PARAMETERS, type EcCurve, type KeyKind } from './key-kind.js';
import { proveHandle } from './key-proof.js';
import { AES_KEY_GEN, EC_KEY_PAIR_GEN, RSA_KEY_PAIR_GEN } from './mechanism.js';
import { readAttributes } from './objects.js';
import { ofLength, storedKey } from './template.js';
import type { Handle, Token } from './token.js';
import { wrapKey } from './wrapping.js';

/** A private key in the token's memory, and its public half: SubjectPublicKeyInfo in DER. */
export interface NewPair {
  readonly handle: Handle;
  readonly spki: Buffer;
}

/** A new AES key in memory, with the attributes it will have on tokens. About 30 µs. */
export function generateAes(token: Token, lengthBytes: 16 | 24 | 32): Handle {
  const kind: KeyKind = { class: 'secret-key', type: 'aes', lengthBytes };
  const template = ofLength(storedKey(kind, { place: 'session' }), lengthBytes);
  return attempt('C_GenerateKey', () =>
    token.cryptoki.C_GenerateKey(token.anchor, AES_KEY_GEN, template),
  );
}

/** A new EC key in memory. */
export function generateEc(token: Token, curve: EcCurve): NewPair {
  const parameters = EC_PARAMETERS[curve];
  const made = generatePair(token, EC_KEY_PAIR_GEN, { class: 'private-key', type: 'ec', curve }, [
    { type: CKA.EC_PARAMS, value: parameters },
  ]);
  return finishPair(token, made, [CKA.EC_POINT], ([point]) => ecSpki(parameters, point));
}

/** A new RSA key in memory. 4096 bits take about a second: not for the main thread. */
export function generateRsa(token: Token, of: { bits: number; exponent: number }): NewPair {
  const made = generatePair(token, RSA_KEY_PAIR_GEN, { class: 'private-key', type: 'rsa' }, [
    { type: CKA.MODULUS_BITS, value: of.bits },
    { type: CKA.PUBLIC_EXPONENT, value: bigEndian(of.exponent) },
  ]);
  return finishPair(token, made, [CKA.MODULUS, CKA.PUBLIC_EXPONENT], (parts) => {
    const [n, e] = parts.map((part) => part.toString('base64url'));
    const key = createPublicKey({ key: { kty: 'RSA', n, e }, format: 'jwk' });
    return key.export({ type: 'spki', format: 'der' });
  });
}

/**
 * A new RSA key that was proved and is wrapped: nothing of it is left in memory, so it can be made
 * in a thread of its own.
 */
export function makeRsaKey(
  token: Token,
  wrapping: Handle,
  of: { readonly bits: number; readonly exponent: number; readonly keyId: string },
): { readonly blob: Buffer; readonly spki: Buffer; readonly proof: Buffer } {
  const { handle, spki } = generateRsa(token, of);
  try {
    const kind: KeyKind = { class: 'private-key', type: 'rsa' };
    const proof = proveHandle(token, handle, kind, { keyId: of.keyId, spki });
    return { blob: wrapKey(token, wrapping, handle), spki, proof };
  } finally {
    token.destroy(handle);
  }
}

interface MadePair {
  readonly publicKey: Handle;
  readonly privateKey: Handle;
}

function generatePair(
  token: Token,
  mechanism: Mechanism,
  kind: KeyKind,
  parameters: Template,
): MadePair {
  const open: Template = [
    { type: CKA.TOKEN, value: false },
    { type: CKA.PRIVATE, value: true },
    { type: CKA.VERIFY, value: true },
    ...parameters,
  ];
  // what the class and the type are the mechanism says
  const secret = storedKey(kind, { place: 'session' }).filter(
    ({ type }) => type !== CKA.CLASS && type !== CKA.KEY_TYPE,
  );
  return attempt('C_GenerateKeyPair', () =>
    token.cryptoki.C_GenerateKeyPair(token.anchor, mechanism, open, secret),
  );
}

/** Reads the public half and does away with its object: the record holds it as a whole. */
function finishPair(
  token: Token,
  { publicKey, privateKey }: MadePair,
  parts: readonly number[],
  read: (values: Buffer[]) => Buffer,
): NewPair {
  try {
    return { handle: privateKey, spki: read(readAttributes(token, publicKey, parts)) };
  } catch (error) {
    token.destroy(privateKey);
    throw error;
  } finally {
    token.destroy(publicKey);
  }
}

function bigEndian(value: number): Buffer {
  const hex = value.toString(16);
  return Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, 'hex');
}

const EC_PUBLIC_KEY = Buffer.from('06072a8648ce3d0201', 'hex');

/** SubjectPublicKeyInfo of an EC key (RFC 5480), from CKA_EC_POINT: an OCTET STRING. */
function ecSpki(parameters: Buffer, octets: Buffer | undefined): Buffer {
  const long = octets?.[1] === 0x81;
  const point = octets?.subarray(long ? 3 : 2);
  if (!point || point[0] !== 0x04) {
    throw new KeyspanError('HsmDeviceError', 'the token made no uncompressed point');
  }
  const algorithm = der(0x30, Buffer.concat([EC_PUBLIC_KEY, parameters]));
  return der(0x30, Buffer.concat([algorithm, der(0x03, Buffer.concat([Buffer.of(0), point]))]));
}

/** One element of DER; its value is shorter than 256 bytes. */
function der(tag: number, value: Buffer): Buffer {
  const length = value.length < 0x80 ? [value.length] : [0x81, value.length];
  return Buffer.concat([Buffer.from([tag, ...length]), value]);
}
