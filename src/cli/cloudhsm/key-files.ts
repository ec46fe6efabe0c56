import { parseHex } from '../../core/bytes.js';

/**
 * A private key never leaves its HSM, but programs want a file. CloudHSM gives them one that looks
 * like a private key and is none: where the private number would be stands the key's reference
 * (CloudHSM CLI, "key generate-file", `reference-pem`).
 *
 * Here it is a PKCS #8 block whose algorithm is that of the key and whose octets are `KSREF1`, a
 * byte 0, and the eight bytes of the reference: nothing takes it for a key that it could use.
 */
const MAGIC = Buffer.from('KSREF1\0', 'latin1');

/** The AlgorithmIdentifier of each kind of key (RFC 8017, RFC 5480, RFC 8410). */
const ALGORITHMS: Readonly<Record<string, Buffer>> = {
  rsa: parse('300d06092a864886f70d0101010500'),
  secp224r1: parse('301006072a8648ce3d020106052b81040021'),
  secp256r1: parse('301306072a8648ce3d020106082a8648ce3d030107'),
  secp384r1: parse('301006072a8648ce3d020106052b81040022'),
  secp256k1: parse('301006072a8648ce3d020106052b8104000a'),
  secp521r1: parse('301006072a8648ce3d020106052b81040023'),
  ed25519: parse('300506032b6570'),
};

function parse(hex: string): Buffer {
  return Buffer.from(hex, 'hex');
}

const element = (tag: number, value: Buffer): Buffer =>
  Buffer.concat([Buffer.of(tag, value.length), value]);

/**
 * @param kind `rsa`, or the curve
 * @param reference `0x` and 16 hex digits
 */
export function referencePem(kind: string, reference: string): string {
  const algorithm = ALGORITHMS[kind] ?? ALGORITHMS['rsa'] ?? Buffer.alloc(0);
  const octets = Buffer.concat([MAGIC, parseHex(reference.slice(2))]);
  const version = Buffer.of(0x02, 0x01, 0x00);
  const der = element(0x30, Buffer.concat([version, algorithm, element(0x04, octets)]));
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return ['-----BEGIN PRIVATE KEY-----', ...lines, '-----END PRIVATE KEY-----', ''].join('\n');
}

/** The reference in such a file; undefined: it is none. */
export function referenceIn(pem: string): string | undefined {
  const body = /-----BEGIN PRIVATE KEY-----([\s\S]*?)-----END PRIVATE KEY-----/.exec(pem)?.[1];
  const der = Buffer.from(body ?? '', 'base64');
  const at = der.indexOf(MAGIC);
  const reference = der.subarray(at + MAGIC.length);
  return at > 0 && reference.length === 8 ? `0x${reference.toString('hex')}` : undefined;
}
