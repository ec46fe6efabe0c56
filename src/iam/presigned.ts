import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { percentDecode, type HeaderValues } from './canonical-request.js';

/** A signature that stands in the query (AWS Signature Version 4, "Signing with query strings"). */
export interface Presigned {
  readonly credential: string;
  readonly signedHeaders: string;
  readonly signature: string;
  readonly date: string;
  readonly token: string | undefined;
  readonly expiresSeconds: number | undefined;
  /** the query as it was sent, without the signature: that is what is signed */
  readonly query: string;
  readonly parameters: ReadonlyMap<string, string>;
}

const ALGORITHM = 'AWS4-HMAC-SHA256';
const NEEDED = ['X-Amz-Credential', 'X-Amz-Signature', 'X-Amz-SignedHeaders', 'X-Amz-Date'];

/**
 * Reads the parameters of a signature in the query; `undefined` when there is none.
 * @throws IncompleteSignatureException for one that lacks a part or has a wrong one
 */
export function readPresigned(query: string): Presigned | undefined {
  // most requests have no query at all
  if (!query.includes('X-Amz-')) return undefined;
  const pieces = query.split('&').filter((piece) => piece !== '');
  const parameters = new Map<string, string>();
  for (const piece of pieces) {
    const { name, value } = pairOf(piece);
    const isTwice = name.startsWith('X-Amz-') && parameters.has(name);
    if (isTwice) throw incomplete(`The parameter ${name} must be there once.`);
    parameters.set(name, value);
  }
  const algorithm = parameters.get('X-Amz-Algorithm');
  if (algorithm === undefined && !parameters.has('X-Amz-Signature')) return undefined;
  if (algorithm !== ALGORITHM) {
    const what = `Unsupported AWS 'algorithm': '${algorithm ?? ''}'`;
    throw incomplete(`${what} (only ${ALGORITHM} for now). `);
  }
  const missing = NEEDED.filter((name) => !parameters.get(name));
  if (missing.length > 0) {
    const sentences = missing.map((name) => `AWS query-string parameters must include '${name}'.`);
    throw incomplete(sentences.join(' '));
  }
  return {
    credential: parameters.get('X-Amz-Credential') ?? '',
    signedHeaders: parameters.get('X-Amz-SignedHeaders') ?? '',
    signature: parameters.get('X-Amz-Signature') ?? '',
    date: parameters.get('X-Amz-Date') ?? '',
    token: parameters.get('X-Amz-Security-Token'),
    expiresSeconds: readExpires(parameters.get('X-Amz-Expires')),
    query: pieces.filter((piece) => pairOf(piece).name !== 'X-Amz-Signature').join('&'),
    parameters,
  };
}

/**
 * What stands for the hash of the body where the client signed that it left the body unsigned: only
 * an empty one may be, since nothing can be changed in it.
 */
export function unsignedPayload(
  parameters: ReadonlyMap<string, string>,
  headers: HeaderValues,
  body: Uint8Array,
): string | undefined {
  const said =
    parameters.get('X-Amz-Content-Sha256') ??
    // as a signer writes it that moves headers into the query
    parameters.get('x-amz-content-sha256') ??
    headers.get('x-amz-content-sha256')?.join(',');
  return said === 'UNSIGNED-PAYLOAD' && body.length === 0 ? said : undefined;
}

function readExpires(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^-?\d{1,12}$/.test(text)) throw incomplete('X-Amz-Expires should be a number');
  const seconds = Number(text);
  if (seconds < 0) throw incomplete('X-Amz-Expires must be non-negative');
  if (seconds <= LIMITS.presigned_max_s) return seconds;
  const bound = `the given X-Amz-Expires must be less than ${LIMITS.presigned_max_s} seconds`;
  throw incomplete(`X-Amz-Expires must be less than a week (in seconds); i.e., ${bound}`);
}

function pairOf(piece: string): { name: string; value: string } {
  const at = piece.indexOf('=');
  const [name, value] = at < 0 ? [piece, ''] : [piece.slice(0, at), piece.slice(at + 1)];
  return { name: percentDecode(name), value: percentDecode(value) };
}

const incomplete = (sentence: string): KeyspanError =>
  new KeyspanError('IncompleteSignatureException', sentence);
