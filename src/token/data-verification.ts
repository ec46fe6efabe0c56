import { asBuffer } from '../core/bytes.js';
import { CKR } from '../core/pkcs11.js';
import { ckrOf } from './ckr.js';
import { tokenWork, type SignatureMechanism } from './data-signature.js';
import { importPublic } from './signing.js';
import type { Token } from './token.js';

/** What a verification that fails answers: the session is as good as before. */
const NO_SIGNATURE: ReadonlySet<number> = new Set([CKR.SIGNATURE_INVALID, CKR.SIGNATURE_LEN_RANGE]);

/**
 * Whether a signature is that of a public key.
 * @param key `spki` is its SubjectPublicKeyInfo in DER
 * @throws KeyspanError as `signAs`
 */
export function verifyAs(
  token: Token,
  key: { readonly spki: Uint8Array; readonly curveBytes?: number | undefined },
  mechanism: SignatureMechanism,
  given: { readonly data: Uint8Array; readonly signature: Uint8Array },
): boolean {
  const { by, input } = tokenWork(mechanism, given.data, key);
  if (given.signature.length === 0) return false;
  const handle = importPublic(token, key.spki);
  const { cryptoki, sessions } = token;
  let begun = false;
  try {
    return sessions.operate(
      'C_Verify',
      (session) => cryptoki.C_VerifyInit(session, by, handle),
      (session) => {
        begun = true;
        // SoftHSM takes nothing for a mistake of the caller
        return input.length === 0
          ? cryptoki.C_VerifyFinal(session, asBuffer(given.signature))
          : cryptoki.C_Verify(session, input, asBuffer(given.signature));
      },
      NO_SIGNATURE,
    );
  } catch (error) {
    const ckr = ckrOf(error);
    if (begun && ckr !== undefined && NO_SIGNATURE.has(ckr)) return false;
    throw error;
  } finally {
    token.destroy(handle);
  }
}
