import { SignatureV4 } from '@smithy/signature-v4';
import { createHash, createHmac, type Hash, type Hmac } from 'node:crypto';
import { readHeaders, type WireRequest } from '../../src/iam/canonical-request.js';

/** The hash that the SDK's signer is given: node's own. */
class Sha256 {
  readonly #hash: Hash | Hmac;

  constructor(secret?: string | ArrayBuffer | ArrayBufferView) {
    this.#hash = secret === undefined ? createHash('sha256') : createHmac('sha256', bytes(secret));
  }

  update(data: Uint8Array): void {
    this.#hash.update(data);
  }

  async digest(): Promise<Uint8Array> {
    return this.#hash.digest();
  }

  reset(): void {
    throw new Error('a hash is used once');
  }
}

const bytes = (secret: string | ArrayBuffer | ArrayBufferView): Uint8Array | string => {
  if (typeof secret === 'string') return secret;
  if (secret instanceof ArrayBuffer) return new Uint8Array(secret);
  return new Uint8Array(secret.buffer, secret.byteOffset, secret.byteLength);
};

export interface ToSign {
  readonly method: string;
  /** as it is to be sent, percent-encoded */
  readonly path: string;
  /** decoded */
  readonly query?: Readonly<Record<string, string | string[]>>;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | Uint8Array;
}

export interface SigningOptions {
  readonly accessKeyId?: string;
  readonly secretAccessKey?: string;
  readonly sessionToken?: string;
  readonly region?: string;
  readonly service?: string;
  readonly date?: Date;
  readonly applyChecksum?: boolean;
}

function signerOf(options: SigningOptions): SignatureV4 {
  const { accessKeyId = 'test', secretAccessKey = 'test', sessionToken } = options;
  return new SignatureV4({
    service: options.service ?? 'cloudhsm',
    region: options.region ?? 'us-east-1',
    credentials: { accessKeyId, secretAccessKey, ...(sessionToken && { sessionToken }) },
    sha256: Sha256,
    applyChecksum: options.applyChecksum ?? true,
  });
}

/** A request whose signature AWS's own signer put into its query. */
export async function presigned(
  request: ToSign,
  options: SigningOptions & { readonly expiresIn?: number } = {},
): Promise<SentRequest> {
  const { method, path, query = {}, headers, body } = request;
  const { date, expiresIn = 900 } = options;
  const signed = await signerOf(options).presign(
    { method, protocol: 'http:', hostname: 'unused', path, query, headers, body },
    { expiresIn, ...(date && { signingDate: date }) },
  );
  const all = (signed.query ?? {}) as Record<string, string | string[]>;
  return onTheWire({ ...request, query: all }, signed.headers);
}

/** The headers of a request that AWS's own signer signed; the defaults are the root's key. */
export async function signedHeaders(
  request: ToSign,
  options: SigningOptions = {},
): Promise<Record<string, string>> {
  const { date } = options;
  const signer = signerOf(options);
  const { method, path, query, headers, body } = request;
  const signed = await signer.sign(
    { method, protocol: 'http:', hostname: 'unused', path, query: query ?? {}, headers, body },
    date ? { signingDate: date } : {},
  );
  return signed.headers;
}

/** A request as a client sends it: names and values of headers in turn. */
export interface SentRequest extends Omit<WireRequest, 'headers'> {
  readonly headers: readonly string[];
}

/** The same as a door reads it. */
export const received = (request: SentRequest): WireRequest => ({
  ...request,
  headers: readHeaders(request.headers),
});

/** The same request on the wire: the query encoded, the headers in a list. */
export function onTheWire(request: ToSign, headers: Readonly<Record<string, string>>): SentRequest {
  const pairs = Object.entries(request.query ?? {}).flatMap(([name, value]) =>
    [value].flat().map((one) => `${encodeURIComponent(name)}=${encodeURIComponent(one)}`),
  );
  const query = pairs.length === 0 ? '' : `?${pairs.join('&')}`;
  const { method, path, body } = request;
  return {
    method,
    target: `${path}${query}`,
    headers: Object.entries(headers).flat(),
    body: typeof body === 'string' ? Buffer.from(body) : body,
  };
}
