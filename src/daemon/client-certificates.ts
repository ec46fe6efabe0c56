import { readFileSync } from 'node:fs';
import type { Events } from '../audit/events.js';
import type { Secrets } from '../cluster/secrets.js';
import type { Home } from '../core/home.js';
import { parsePrincipal } from '../iam/principal.js';
import type { CertificateDocument } from '../protocol/admin.js';

/** Makes a client certificate for a principal. @throws ValidationException when it is none */
export async function issueCertificate(
  parts: { readonly home: Home; readonly secrets: Secrets; readonly events: Events },
  params: { readonly principal: string; readonly days: number },
): Promise<CertificateDocument> {
  const { home, secrets, events } = parts;
  const { arn } = parsePrincipal(params.principal);
  // x509's code is loaded with the first one
  const { certifyClient, privateKeyPem } = await import('../cluster/certificates.js');
  const authority = await secrets.authority('clients');
  const issued = await certifyClient({ authority, principal: arn, days: params.days });
  events.operatorEvent({ action: 'cert issue', target: arn });
  return {
    certificate: issued.certificate,
    privateKey: privateKeyPem(issued.privateKey),
    serverCa: readFileSync(home.customerCa, 'utf8'),
  };
}
