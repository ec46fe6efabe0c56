import { assert } from '../core/assert.js';
import { asBuffer } from '../core/bytes.js';
import { KeyspanError } from '../core/errors.js';
import { ckrOf } from './ckr.js';
import { aesGcm, GCM_IV_BYTES, GCM_TAG_BYTES } from './mechanism.js';
import type { Handle, Token } from './token.js';

/**
 * AES-GCM with a 12-byte IV (NIST SP 800-38D).
 * @returns the ciphertext and, behind it, the 16-byte tag
 * @throws KeyspanError HsmBadFrame when there is nothing to encrypt: SoftHSM refuses it and the
 * session would be stuck
 */
export function gcmEncrypt(
  token: Token,
  key: Handle,
  iv: Uint8Array,
  aad: Uint8Array,
  plaintext: Uint8Array,
): Buffer {
  assert(iv.length === GCM_IV_BYTES, 'an IV is 12 bytes');
  if (plaintext.length === 0) throw new KeyspanError('HsmBadFrame', 'there is nothing to encrypt');
  const { cryptoki, sessions } = token;
  const sealed = Buffer.allocUnsafe(plaintext.length + GCM_TAG_BYTES);
  const mechanism = aesGcm(asBuffer(iv), asBuffer(aad));
  return sessions.operate(
    'C_Encrypt',
    (session) => cryptoki.C_EncryptInit(session, mechanism, key),
    (session) => cryptoki.C_Encrypt(session, asBuffer(plaintext), sealed),
  );
}

/**
 * Opens what `gcmEncrypt` made. The caller wipes the plaintext.
 * @throws KeyspanError HsmDataInvalid when the tag does not fit the data, the IV, the AAD or
 * the key
 */
export function gcmDecrypt(
  token: Token,
  key: Handle,
  iv: Uint8Array,
  aad: Uint8Array,
  ciphertextAndTag: Uint8Array,
): Buffer {
  assert(iv.length === GCM_IV_BYTES, 'an IV is 12 bytes');
  if (ciphertextAndTag.length <= GCM_TAG_BYTES) throw new KeyspanError('HsmDataInvalid');
  const { cryptoki, sessions } = token;
  const failures = token.profile.quirks.gcmAuthenticationFailures;
  const opened = Buffer.allocUnsafe(ciphertextAndTag.length);
  const mechanism = aesGcm(asBuffer(iv), asBuffer(aad));
  let begun = false;
  try {
    return sessions.operate(
      'C_Decrypt',
      (session) => cryptoki.C_DecryptInit(session, mechanism, key),
      (session) => {
        begun = true;
        return cryptoki.C_Decrypt(session, asBuffer(ciphertextAndTag), opened);
      },
      failures,
    );
  } catch (error) {
    opened.fill(0);
    const ckr = ckrOf(error);
    if (!begun || ckr === undefined || !failures.has(ckr)) throw error;
    throw new KeyspanError('HsmDataInvalid', undefined, { cause: error });
  }
}
