import type { IncomingMessage } from 'node:http';
import { KeyspanError } from '../core/errors.js';
import { queryOf, readHeaders } from '../iam/canonical-request.js';
import { INVALID_TOKEN, type AccessKeys } from '../iam/credentials.js';
import type { Principal } from '../iam/principal.js';
import { verifySignature } from '../iam/sigv4.js';

/** Whose signatures count, and when. */
export interface Callers {
  readonly keys: AccessKeys;
  /** wire time in milliseconds since 1970 */
  readonly wire: () => number;
}

/** Who signed the upgrade of a WebSocket, which outlives the signature. */
export interface SignedCaller {
  readonly principal: Principal;
  /**
   * Whether the credentials are still good: asked before each request, as elsewhere each is signed.
   * @throws ExpiredTokenException, UnrecognizedClientException
   */
  readonly check: () => void;
}

/** Whether an upgrade is signed at all. */
export const isSigned = ({ headers, url = '' }: IncomingMessage): boolean =>
  headers.authorization !== undefined || queryOf(url).includes('X-Amz-Signature=');

/**
 * Verifies AWS Signature Version 4 (service `kms`) of an upgrade, in its headers or its query.
 * @param region that of the connection: another one's signature does not count
 * @throws KeyspanError as verifySignature
 */
export function signedCaller(
  request: IncomingMessage,
  region: string,
  { keys, wire }: Callers,
): SignedCaller {
  const { method = '', url = '', rawHeaders } = request;
  const headers = readHeaders(rawHeaders);
  const signer = verifySignature(
    { method, target: url, headers, body: new Uint8Array() },
    { keys, service: 'kms', nowMs: wire() },
  );
  const { key, token } = signer;
  if (signer.region !== region) {
    const sentence = `Credential should be scoped to a valid region, not '${signer.region}'. `;
    throw new KeyspanError('InvalidSignatureException', sentence);
  }
  const isStranger = keys.find(key.id, token) === undefined;
  const check = (): void => {
    if (isStranger || keys.find(key.id, token)) return;
    throw new KeyspanError('UnrecognizedClientException', INVALID_TOKEN);
  };
  return { principal: key.principal, check };
}
