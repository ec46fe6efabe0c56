import { CKR } from '../core/pkcs11.js';
import { ckrOf } from './ckr.js';
import { inputOf, tokenMechanism, type SignatureMechanism } from './data-signature.js';
import { addressed } from './mechanism.js';
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
  const by = tokenMechanism(mechanism);
  const input = inputOf(mechanism, given.data, key);
  const handle = importPublic(token, key.spki);
  const { cryptoki, sessions } = token;
  let begun = false;
  try {
    return sessions.operate(
      'C_Verify',
      (session) => cryptoki.C_VerifyInit(session, by, handle),
      (session) => {
        begun = true;
        return cryptoki.C_Verify(session, addressed(input), addressed(given.signature));
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
