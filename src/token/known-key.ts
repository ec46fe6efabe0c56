import { assert } from '../core/assert.js';
import { asBuffer } from '../core/bytes.js';
import { CKA, CKK, CKO } from '../core/pkcs11.js';
import { attempt } from './ckr.js';
import type { Handle, Token } from './token.js';

/**
 * An AES key in memory whose value is known, for known-answer tests. No key of a user is made this
 * way.
 */
export function importSessionKey(token: Token, value: Uint8Array): Handle {
  // SoftHSM takes any length
  assert([16, 24, 32].includes(value.length), 'an AES key is 16, 24 or 32 bytes');
  return attempt('C_CreateObject', () =>
    token.cryptoki.C_CreateObject(token.anchor, [
      { type: CKA.CLASS, value: CKO.SECRET_KEY },
      { type: CKA.KEY_TYPE, value: CKK.AES },
      { type: CKA.TOKEN, value: false },
      { type: CKA.PRIVATE, value: true },
      { type: CKA.ENCRYPT, value: true },
      { type: CKA.DECRYPT, value: true },
      { type: CKA.SIGN, value: true },
      { type: CKA.VALUE, value: asBuffer(value) },
    ]),
  );
}
