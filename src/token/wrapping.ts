import { asBuffer } from '../core/bytes.js';
import { isKeyspanError, KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { attempt, tokenError } from './ckr.js';
import { moveToToken } from './objects.js';
import { AES_KEY_GEN, AES_KWP } from './mechanism.js';
import type { Template } from './cryptoki.js';
import { AES_256, type KeyKind } from './key-kind.js';
import { ofAes256, storedAesKey, storedKey, working } from './template.js';
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
 * Unwraps a key to a private object of the token.
 * @param named the key's first record is 1 to LIMITS.hsm_record_max_bytes
 * @throws KeyspanError HsmDataInvalid when the blob was not wrapped by `unwrapping` or was changed
 */
export function unwrapToToken(
  token: Token,
  unwrapping: Handle,
  blob: Uint8Array,
  named: { readonly recordBytes: Uint8Array; readonly label: string },
  kind: KeyKind = AES_256,
): Handle {
  const { recordBytes } = named;
  if (recordBytes.length === 0 || recordBytes.length > LIMITS.hsm_record_max_bytes) {
    throw new KeyspanError('HsmBadFrame', "the length of the key's record is out of range");
  }
  const template = storedKey(kind, { place: 'session', ...named });
  return moveToToken(token, unwrapInMemory(token, unwrapping, blob, template));
}

/** As `unwrapToToken`, to the token's memory. */
export function unwrapToSession(
  token: Token,
  unwrapping: Handle,
  blob: Uint8Array,
  kind: KeyKind,
): Handle {
  return unwrapInMemory(token, unwrapping, blob, storedKey(kind, { place: 'session' }));
}

/**
 * A copy of a key in memory, to work with: twice to four times as fast as the key on the token,
 * whose file SoftHSM looks at each time, and by a third faster than what C_CopyObject makes, which
 * stays private. As sensitive as the key is. It lives until it is destroyed.
 * @param maskWrap the trusted key that every user's key may be wrapped with
 */
export function workingCopy(token: Token, maskWrap: Handle, key: Handle, kind: KeyKind): Handle {
  const template = working(storedKey(kind, { place: 'session' }));
  return unwrapInMemory(token, maskWrap, wrapKey(token, maskWrap, key), template);
}

/** Whether `unwrapping` is the key that wrapped the blob. Nothing is put on the token. */
export function unwraps(token: Token, unwrapping: Handle, blob: Uint8Array): boolean {
  try {
    token.destroy(unwrapToSession(token, unwrapping, blob, AES_256));
    return true;
  } catch {
    return false;
  }
}

/** @throws KeyspanError HsmDataInvalid: in memory nothing else stands in the way of a good blob */
export function unwrapInMemory(
  token: Token,
  unwrapping: Handle,
  blob: Uint8Array,
  template: Template,
): Handle {
  try {
    return token.cryptoki.C_UnwrapKey(
      token.anchor,
      AES_KWP,
      asBuffer(unwrapping),
      asBuffer(blob),
      template,
    );
  } catch (error) {
    const failure = tokenError(error, 'C_UnwrapKey');
    // SoftHSM's word for a blob that does not open is that of a general failure
    if (!isKeyspanError(failure, 'HsmDeviceError')) throw failure;
    throw new KeyspanError('HsmDataInvalid', undefined, { cause: failure });
  }
}
