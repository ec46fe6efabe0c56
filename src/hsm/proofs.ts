import { createHash } from 'node:crypto';
import { proveHandle } from '../token/key-proof.js';
import type { KeyKind } from '../token/key-kind.js';
import { proveKey } from '../token/mac.js';
import type { Handle, Token } from '../token/token.js';
import type { KeyRecord } from './records.js';

const PROOF_BYTES = 16;

/** The proof of what is kept as bytes: a sealed secret, or a public key. */
export const proofOfSecret = (secret: Uint8Array, keyId: string): Buffer =>
  createHash('sha256')
    .update(`keyspan proof v1\0${keyId}\0`)
    .update(secret)
    .digest()
    .subarray(0, PROOF_BYTES);

/** What a key is to the token; undefined: it is no object of it. */
export function kindOf({ kind, object }: Pick<KeyRecord, 'kind' | 'object'>): KeyKind | undefined {
  if (kind === 'aes-256') return { class: 'secret-key', type: 'aes', lengthBytes: 32 };
  if (!object || object.class === 'public-key') return undefined;
  const { type, curve, length } = object;
  if (type === 'aes') {
    return { class: 'secret-key', type, lengthBytes: length === 16 || length === 24 ? length : 32 };
  }
  if (type === 'rsa') return { class: 'private-key', type };
  if (type === 'ec' && curve && curve !== 'ed25519') return { class: 'private-key', type, curve };
  return undefined;
}

/**
 * What this copy of a key, an object of the token, proves itself with.
 * @throws KeyspanError HsmKeyUnproven, or what the token says of an object that does not work
 */
export function proveCopy(token: Token, handle: Handle, record: KeyRecord): Buffer {
  const kind = record.object && kindOf(record);
  if (!kind) return proveKey(token, handle, record.id);
  return proveHandle(token, handle, kind, { keyId: record.id, spki: record.object?.public });
}
