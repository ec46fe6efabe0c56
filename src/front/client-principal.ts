import type { TLSSocket } from 'node:tls';
import { readPrincipal, type Principal } from '../iam/principal.js';

/**
 * An alternative name as node:tls prints it: `KIND:…`, in JSON quotes where it holds a comma or a
 * quote. Names of every kind are read, so that none can hide in another.
 */
const NAME = /(?:^|, )([^:,]+):("(?:[^"\\]|\\.)*"|[^,]*)/g;

/** The URIs among a certificate's alternative names. */
export function uriNames(subjectAltName: string): string[] {
  return Array.from(subjectAltName.matchAll(NAME), ([, kind, name = '']) =>
    kind === 'URI' ? [name.startsWith('"') ? (JSON.parse(name) as string) : name] : [],
  ).flat();
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
