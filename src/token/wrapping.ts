import { asBuffer } from '../core/bytes.js';
import { isKeyspanError, KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { attempt, tokenError } from './ckr.js';
import { AES_KEY_GEN, AES_KWP } from './mechanism.js';
import { ofAes256, storedAesKey, type StoredKey } from './template.js';
import type { Handle, Token } from './token.js';

/** more than any key wraps to: an RSA-4096 private key is about 2.4 KiB */
const WRAPPED_MAX_BYTES = 8 * 1024;

/** A new AES-256 key in memory, with the attributes it will have on tokens. About 30 µs. */
export function generateSessionKey(token: Token): Handle {
  const template = ofAes256(storedAesKey({ place: 'session' }));
  return attempt('C_GenerateKey', () =>
    token.cryptoki.C_GenerateKey(token.anchor, AES_KEY_GEN, template),
  );
}

/**
 * Wraps a key: AES key wrap with padding (RFC 5649).
 * @throws KeyspanError HsmUsageRefused when `wrapping` is not trusted and `key` demands it
 */
export function wrapKey(token: Token, wrapping: Handle, key: Handle): Buffer {
  const blob = Buffer.alloc(WRAPPED_MAX_BYTES);
  const wrapped = attempt('C_WrapKey', () =>
    token.cryptoki.C_WrapKey(token.anchor, AES_KWP, asBuffer(wrapping), asBuffer(key), blob),
  );
  return Buffer.from(wrapped);
}

/**
 * Unwraps an AES key to a private object of the token. It costs milliseconds, since SoftHSM writes
 * the object's file many times.
 * @param recordBytes the key's first record, 1 to LIMITS.hsm_record_max_bytes
 * @throws KeyspanError HsmDataInvalid when the blob was not wrapped by `unwrapping` or was changed
 */
export function unwrapToToken(
  token: Token,
  unwrapping: Handle,
  blob: Uint8Array,
  recordBytes: Uint8Array,
  label: string,
): Handle {
  if (recordBytes.length === 0 || recordBytes.length > LIMITS.hsm_record_max_bytes) {
    throw new KeyspanError('HsmBadFrame', "the length of the key's record is out of range");
  }
  const unwrap = (key: StoredKey): Handle => unwrapAs(token, unwrapping, blob, key);
  try {
    return token.write(() => unwrap({ place: 'token', recordBytes, label }));
  } catch (error) {
    const failure = tokenError(error, 'C_UnwrapKey');
    if (!isKeyspanError(failure, 'HsmDeviceError') || opens(token, unwrap)) throw failure;
    throw new KeyspanError('HsmDataInvalid', undefined, { cause: failure });
  }
}

/** Whether `unwrapping` is the key that wrapped the blob. Nothing is put on the token. */
export function unwraps(token: Token, unwrapping: Handle, blob: Uint8Array): boolean {
  return opens(token, (key) => unwrapAs(token, unwrapping, blob, key));
}

function unwrapAs(token: Token, unwrapping: Handle, blob: Uint8Array, key: StoredKey): Handle {
  return token.cryptoki.C_UnwrapKey(
    token.anchor,
    AES_KWP,
    asBuffer(unwrapping),
    asBuffer(blob),
    storedAesKey(key),
  );
}

/**
 * Whether the blob unwraps in memory. SoftHSM answers CKR_GENERAL_ERROR to a bad blob as well as to
 * a full disk; this tells them apart.
 */
function opens(token: Token, unwrap: (key: StoredKey) => Handle): boolean {
  try {
    token.destroy(unwrap({ place: 'session' }));
    return true;
  } catch {
    return false;
  }
}
