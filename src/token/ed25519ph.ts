import { createHash } from 'node:crypto';
import type { EdDSA } from '@noble/curves/abstract/edwards';
import { KeyspanError } from '../core/errors.js';
import { ed25519Curve, edwardsCurves } from './noble-curves.js';

/** What precedes all that is hashed, with no context (dom2, RFC 8032, section 2). */
const DOMAIN = Buffer.concat([Buffer.from('SigEd25519 no Ed25519 collisions'), Buffer.of(1, 0)]);
const SIGNATURE_BYTES = 64;
const DIGEST_BYTES = 64;

const sha512 = (data: Uint8Array | string): Buffer => createHash('sha512').update(data).digest();

let curve: EdDSA | undefined;

/** Ed25519ph over what is hashed already: digests are signed, too, and the library would hash. */
function overDigests(): EdDSA {
  curve ??= edwardsCurves().eddsa(ed25519Curve().ed25519.Point, sha512, {
    adjustScalarBytes: clamp,
    domain: (data) => Buffer.concat([DOMAIN, data]),
    prehash: (digest) => digest as Uint8Array,
  });
  return curve;
}

/** RFC 8032, section 5.1.5, step 2. */
function clamp(bytes: Uint8Array): Uint8Array {
  bytes[0] = (bytes[0] ?? 0) & 0b1111_1000;
  bytes[31] = ((bytes[31] ?? 0) & 0b0111_1111) | 0b0100_0000;
  return bytes;
}

function digestOf(data: Uint8Array, digested: boolean): Uint8Array {
  if (!digested) return sha512(data);
  if (data.length === DIGEST_BYTES) return data;
  throw new KeyspanError('HsmDataInvalid', `the data is no digest of ${DIGEST_BYTES} bytes`);
}

/**
 * Signs with Ed25519ph (RFC 8032, no context), which neither the token nor OpenSSL 3.0 has: it is
 * done in the HSM's process, in JavaScript. Numbers made of the seed stay in memory until they are
 * collected, and how long it takes depends on them.
 * @param seed 32 bytes; the caller wipes it
 * @throws KeyspanError HsmDataInvalid for a digest of another length than that of SHA-512
 */
export function signEd25519ph(
  seed: Uint8Array,
  data: Uint8Array,
  how: { readonly digested: boolean },
): Buffer {
  return Buffer.from(overDigests().sign(digestOf(data, how.digested), seed));
}

/** @param point the public key, 32 bytes */
export function verifyEd25519ph(
  point: Uint8Array,
  given: { readonly data: Uint8Array; readonly signature: Uint8Array; readonly digested: boolean },
): boolean {
  const { data, signature, digested } = given;
  const digest = digestOf(data, digested);
  if (signature.length !== SIGNATURE_BYTES) return false;
  // the strict rules of RFC 8032, as OpenSSL has them for Ed25519
  return overDigests().verify(signature, digest, point, { zip215: false });
}
