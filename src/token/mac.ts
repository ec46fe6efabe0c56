import { asBuffer } from '../core/bytes.js';
import { KeyspanError } from '../core/errors.js';
import { AES_CMAC } from './mechanism.js';
import type { Handle, Token } from './token.js';

const CMAC_BYTES = 16;
/** what a key's proof is a CMAC of, followed by the key's id */
const PROOF_LABEL = 'keyspan proof v1';

/** AES-CMAC (NIST SP 800-38B, RFC 4493), 16 bytes. `data` is not empty. */
export function cmac(token: Token, key: Handle, data: Uint8Array): Buffer {
  if (data.length === 0) throw new KeyspanError('HsmBadFrame', 'there is nothing to authenticate');
  const { cryptoki, sessions } = token;
  const mac = Buffer.allocUnsafe(CMAC_BYTES);
  return sessions.operate(
    'C_Sign',
    (session) => cryptoki.C_SignInit(session, AES_CMAC, key),
    (session) => cryptoki.C_Sign(session, asBuffer(data), mac),
  );
}

/**
 * The proof that this HSM's copy of a key is the right one: the same on every HSM that holds
 * it, and
 * it says nothing about the key. 16 bytes.
 * @param keyId the HSM key's id
 */
export function proveKey(token: Token, key: Handle, keyId: string): Buffer {
  return cmac(token, key, Buffer.from(`${PROOF_LABEL}${keyId}`, 'utf8'));
}
