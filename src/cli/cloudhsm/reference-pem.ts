import { createPublicKey } from 'node:crypto';
import { parseHex } from '../../core/bytes.js';
import { octetString, pointOf, rsaPartsOf } from '../../core/spki.js';
import { isKeyReference } from '../../protocol/objects.js';

/**
 * A private key never leaves its HSM, but programs want a file of it. CloudHSM gives them one that
 * reads as a private key and is none (CloudHSM CLI, "key generate-file"): web servers load it, find
 * that it belongs to their certificate, and leave it to CloudHSM's engine to sign.
 *
 * The public half in it is the key's own. The private number is the seven bytes `KSREF1` and 0, and
 * the eight bytes of the reference, big-endian:
 *
 * - RSA (PKCS #1, RFC 8017): the private exponent is that number, and the primes and all that comes
 *   of them are 0, so that OpenSSL loads the file and fails to sign with it.
 * - EC (SEC 1, RFC 5915): the private number is filled up with zeros to the length of the curve's
 *   field. What OpenSSL signs with it does not verify.
 * - Ed25519 has no room beside its seed: `CLOUDHSM KEY REFERENCE` is a SEQUENCE of the number in an
 *   OCTET STRING and the SubjectPublicKeyInfo. Only CloudHSM's own programs read that.
 */
const MAGIC = Buffer.from('KSREF1\0', 'latin1');
const REFERENCE_BYTES = 8;

/** Octets of a private number on each curve (SEC 1, 2.3.7). */
const FIELD_BYTES: Readonly<Record<string, number>> = {
  secp224r1: 28,
  secp256r1: 32,
  secp384r1: 48,
  secp256k1: 32,
  secp521r1: 66,
};

const SEQUENCE = 0x30;
const OCTET_STRING = 0x04;

function lengthOf(bytes: number): Buffer {
  if (bytes < 0x80) return Buffer.of(bytes);
  return bytes < 0x100 ? Buffer.of(0x81, bytes) : Buffer.of(0x82, bytes >> 8, bytes & 0xff);
}

function element(tag: number, ...parts: readonly Buffer[]): Buffer {
  const value = Buffer.concat(parts);
  return Buffer.concat([Buffer.of(tag), lengthOf(value.length), value]);
}

/** A number that is not negative, big-endian. */
function integer(bytes: Buffer): Buffer {
  const isHigh = ((bytes[0] ?? 0) & 0x80) !== 0;
  return element(0x02, isHigh ? Buffer.concat([Buffer.of(0), bytes]) : bytes);
}

function pem(title: string, der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return [`-----BEGIN ${title}-----`, ...lines, `-----END ${title}-----`, ''].join('\n');
}

/** What the encodings of the command say, as far as a key has them. */
export type ReferenceEncoding = 'reference-pem' | 'cloudhsm-reference-pem';

/**
 * @param key its reference (`0x` and 16 hex digits), `rsa` or its curve, and its public half in PEM
 * @returns undefined: a key of this kind has no such file
 */
export function referencePem(
  key: { readonly reference: string; readonly kind: string; readonly publicPem: string },
  encoding: ReferenceEncoding,
): string | undefined {
  const number = Buffer.concat([MAGIC, parseHex(key.reference.slice(2))]);
  const spki = createPublicKey(key.publicPem).export({ format: 'der', type: 'spki' });
  if (encoding === 'cloudhsm-reference-pem') {
    const der = element(SEQUENCE, element(OCTET_STRING, number), spki);
    return pem('CLOUDHSM KEY REFERENCE', der);
  }
  if (key.kind === 'rsa') return pem('RSA PRIVATE KEY', rsaPrivateKey(number, spki));
  const bytes = FIELD_BYTES[key.kind];
  return bytes === undefined
    ? undefined
    : pem('EC PRIVATE KEY', ecPrivateKey(number, { spki, bytes }));
}

function rsaPrivateKey(number: Buffer, spki: Buffer): Buffer {
  const { n, e } = rsaPartsOf(spki);
  const nothing = integer(Buffer.of(0));
  const version = nothing;
  // two primes, their exponents, and the coefficient
  const ofPrimes = Array.from({ length: 5 }, () => nothing);
  return element(SEQUENCE, version, integer(n), integer(e), integer(number), ...ofPrimes);
}

function ecPrivateKey(number: Buffer, key: { spki: Buffer; bytes: number }): Buffer {
  const { spki, bytes } = key;
  const filled = Buffer.concat([Buffer.alloc(bytes - number.length), number]);
  const point = element(0x03, Buffer.of(0), pointOf(spki));
  return element(
    SEQUENCE,
    integer(Buffer.of(1)),
    octetString(filled),
    element(0xa0, curveIn(spki)),
    element(0xa1, point),
  );
}

/** The OBJECT IDENTIFIER of the curve: behind that of EC keys in the AlgorithmIdentifier. */
function curveIn(spki: Buffer): Buffer {
  const isLong = ((spki[1] ?? 0) & 0x80) !== 0;
  const ecPublicKey = isLong ? 5 : 4;
  const at = ecPublicKey + 2 + (spki[ecPublicKey + 1] ?? 0);
  return spki.subarray(at, at + 2 + (spki[at + 1] ?? 0));
}

/** The reference in such a file; undefined: it is none. */
export function referenceIn(text: string): string | undefined {
  const body = /-----BEGIN [A-Z ]+-----([\s\S]*?)-----END /.exec(text)?.[1];
  const der = Buffer.from(body ?? '', 'base64');
  const at = der.indexOf(MAGIC);
  if (at < 0) return undefined;
  const begin = at + MAGIC.length;
  const reference = `0x${der.subarray(begin, begin + REFERENCE_BYTES).toString('hex')}`;
  return isKeyReference(reference) ? reference : undefined;
}
