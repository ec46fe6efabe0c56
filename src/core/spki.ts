import { createPublicKey } from 'node:crypto';
import { asBuffer } from './bytes.js';

/** Reads what stands in a SubjectPublicKeyInfo in DER (RFC 5280) that OpenSSL wrote. */

/**
 * The point of an EC key, or the 32 bytes of an Ed25519 one: what its BIT STRING holds. Not by way
 * of a JWK: that knows no P-224.
 */
export function pointOf(spki: Uint8Array): Buffer {
  const outer = headerEnd(spki, 0);
  const algorithm = headerEnd(spki, outer);
  const bits = algorithm + (spki[algorithm - 1] ?? 0);
  // behind the count of unused bits
  return asBuffer(spki).subarray(headerEnd(spki, bits) + 1);
}

/** Where the value of a DER element begins. */
function headerEnd(der: Uint8Array, at: number): number {
  const length = der[at + 1] ?? 0;
  return at + 2 + (length < 0x80 ? 0 : length & 0x7f);
}

/** An OCTET STRING in DER of less than 256 bytes: as PKCS #11 has the points of keys. */
export function octetString(value: Uint8Array): Buffer {
  const length = value.length < 0x80 ? [value.length] : [0x81, value.length];
  return Buffer.concat([Buffer.from([0x04, ...length]), value]);
}

/** Modulus and public exponent of an RSA key, big-endian. */
export function rsaPartsOf(spki: Uint8Array): { readonly n: Buffer; readonly e: Buffer } {
  const key = createPublicKey({ key: asBuffer(spki), format: 'der', type: 'spki' });
  const { n = '', e = '' } = key.export({ format: 'jwk' });
  return { n: Buffer.from(n, 'base64url'), e: Buffer.from(e, 'base64url') };
}
