import { createHash } from 'node:crypto';
import { KeyspanError } from '../core/errors.js';
import { CKM } from '../core/pkcs11.js';
import type { KeyKind } from './key-kind.js';
import { proveKey } from './mac.js';
import { sign, verifySignature, type SignMechanism } from './signing.js';
import type { Handle, Token } from './token.js';

const PROOF_BYTES = 16;
const PROOF_TEXT = Buffer.from('keyspan proof v1');

/**
 * The proof that this HSM's copy of a key is the right one: the same on every HSM that holds it. A
 * secret key makes a CMAC; a private key signs, and the signature is checked with its public half,
 * which the proof then names.
 * @param of `spki`: the public half, of a private key
 * @returns 16 bytes that say nothing about the key
 * @throws KeyspanError HsmKeyUnproven when it is the private key of another public one
 */
export function proveHandle(
  token: Token,
  handle: Handle,
  kind: KeyKind,
  of: { readonly keyId: string; readonly spki?: Uint8Array | undefined },
): Buffer {
  const { keyId, spki } = of;
  if (kind.class === 'secret-key') return proveKey(token, handle, keyId);
  if (!spki) throw new KeyspanError('HsmKeyUnproven');
  const name = kind.type === 'rsa' ? 'rsa-pkcs' : 'ecdsa';
  const mechanism: SignMechanism = { name, hash: 'sha256' };
  const signature = sign(token, handle, mechanism, PROOF_TEXT, { digested: false });
  const given = { data: PROOF_TEXT, signature, digested: false };
  if (!verifySignature(token, spki, mechanism, given)) throw new KeyspanError('HsmKeyUnproven');
  const proof = createHash('sha256').update(`keyspan proof v1\0${keyId}\0`).update(spki).digest();
  return proof.subarray(0, PROOF_BYTES);
}

const AES_ECB = { mechanism: CKM.AES_ECB };
const BLOCK_BYTES = 16;
const CHECK_BYTES = 3;

/** CKA_CHECK_VALUE of an AES key: the beginning of a block of zeros under it (PKCS #11 2.40). */
export function checkValue(token: Token, key: Handle): Buffer {
  const { cryptoki, sessions } = token;
  const block = Buffer.alloc(2 * BLOCK_BYTES);
  const made = sessions.operate(
    'C_Encrypt',
    (session) => cryptoki.C_EncryptInit(session, AES_ECB, key),
    (session) => cryptoki.C_Encrypt(session, Buffer.alloc(BLOCK_BYTES), block),
  );
  return Buffer.from(made.subarray(0, CHECK_BYTES));
}
