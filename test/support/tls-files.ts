import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface TlsFiles {
  /** PEM: the CA of the server's certificate */
  readonly ca: string;
  readonly server: { readonly certificate: string; readonly privateKey: string };
  readonly client: { readonly certificate: string; readonly privateKey: string };
}

/**
 * Certificates as an operator makes them with openssl: a self-signed CA, a cluster certificate
 * without any v3 extension, and a client certificate.
 */
export function makeTlsFiles(serverName = 'HSM:0123456789ABCDEF:PARTN:1, for FIPS mode'): TlsFiles {
  const folder = mkdtempSync(join(tmpdir(), 'keyspan-tls-'));
  const path = (name: string): string => join(folder, name);
  const openssl = (...args: string[]): void => {
    execFileSync('openssl', args, { stdio: 'pipe', cwd: folder });
  };
  const ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  const issue = (name: string, subject: string): { certificate: string; privateKey: string } => {
    openssl(
      'req',
      '-new',
      ...ec,
      '-subj',
      subject,
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.csr`,
    );
    const signer = ['-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '30'];
    openssl('x509', '-req', '-in', `${name}.csr`, ...signer, '-out', `${name}.crt`);
    return {
      certificate: readFileSync(path(`${name}.crt`), 'utf8'),
      privateKey: readFileSync(path(`${name}.key`), 'utf8'),
    };
  };
  try {
    const subject = ['-subj', '/CN=an operator'];
    openssl(
      'req',
      '-x509',
      ...ec,
      ...subject,
      '-keyout',
      'ca.key',
      '-out',
      'ca.crt',
      '-days',
      '30',
    );
    return {
      ca: readFileSync(path('ca.crt'), 'utf8'),
      server: issue('server', `/CN=${serverName}`),
      client: issue('client', '/CN=a client'),
    };
  } finally {
    rmSync(folder, { recursive: true });
  }
}
