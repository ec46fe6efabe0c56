import type { PeerCertificate } from 'node:tls';
import { KeyspanError } from '../core/errors.js';

/** What the common name of a cluster's certificate begins with; AWS's CSRs have it too. */
export const HSM_NAME_PREFIX = 'HSM:';

/**
 * Judges a certificate whose chain was verified already. It replaces Node's own check, which
 * wants the address as a subjectAltName: a cluster's certificate that was signed as AWS's
 * documentation says has no v3 extensions at all. What is left to check is that the certificate
 * is a cluster's, and with `hsmName` that it is this cluster's. The operator's CA signs nothing
 * but clusters, so its chain says who the server is, and the address adds nothing.
 */
export function checkHsmIdentity(
  certificate: Pick<PeerCertificate, 'subject'>,
  hsmName?: string,
): KeyspanError | undefined {
  const name: unknown = certificate.subject?.CN;
  if (typeof name !== 'string' || !name.startsWith(HSM_NAME_PREFIX)) {
    return new KeyspanError('KeyspanConnection', "the server's certificate is not a cluster's");
  }
  if (hsmName !== undefined && name !== hsmName) {
    return new KeyspanError('KeyspanConnection', "the server's certificate names another cluster");
  }
  return undefined;
}
