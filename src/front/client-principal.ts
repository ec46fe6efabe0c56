import type { TLSSocket } from 'node:tls';
import { readPrincipal, type Principal } from '../iam/principal.js';

/**
 * Alternative names as node:tls prints them: `URI:…`, in JSON quotes where they hold a comma or
 * a quote.
 */
const URI_NAME = /(?:^|, )URI:("(?:[^"\\]|\\.)*"|[^,]*)/g;

/** The ARNs among a certificate's alternative names. */
export function uriNames(subjectAltName: string): string[] {
  return Array.from(subjectAltName.matchAll(URI_NAME), ([, name = '']) =>
    name.startsWith('"') ? (JSON.parse(name) as string) : name,
  );
}

/**
 * The principal of a connection: the one ARN of its certificate, if that was signed by the
 * clients' CA.
 */
export function principalOf(socket: TLSSocket): Principal | undefined {
  const certificate = socket.authorized ? socket.getPeerX509Certificate() : undefined;
  const names = uriNames(certificate?.subjectAltName ?? '');
  return names.length === 1 ? readPrincipal(names[0] ?? '') : undefined;
}
