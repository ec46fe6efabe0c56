import { request as send, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { signedHeaders, type SigningOptions } from './sigv4-signer.js';

export interface AwsRequest extends SigningOptions {
  readonly target: string;
  /** text goes as it is */
  readonly body?: object | string | Uint8Array;
  readonly method?: string;
  readonly path?: string;
  /** sent beside the signed ones, unsigned */
  readonly extra?: Readonly<Record<string, string>>;
  /** false: nothing is signed */
  readonly signed?: boolean;
}

export interface AwsResponse {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** the body, where it is JSON */
  readonly json: unknown;
}

/** One request over the wire, signed by AWS's own signer. */
export async function awsRequest(url: string, request: AwsRequest): Promise<AwsResponse> {
  const { target, body: given = {}, method = 'POST', path = '/', signed = true } = request;
  const isObject = typeof given === 'object' && !(given instanceof Uint8Array);
  const body = isObject ? JSON.stringify(given) : given;
  const headers = {
    host: new URL(url).host,
    'content-type': 'application/x-amz-json-1.1',
    'x-amz-target': target,
  };
  const known = signed ? await signedHeaders({ method, path, headers, body }, request) : headers;
  return await wire(url + path, { method, headers: { ...known, ...request.extra }, body });
}

/** The answer of the server as it came. */
export async function wire(
  url: string,
  message: {
    method?: string;
    headers?: Readonly<Record<string, string>>;
    body?: string | Uint8Array;
  } = {},
): Promise<AwsResponse> {
  const { method = 'GET', headers = {}, body } = message;
  const path = url.replace(/^http:\/\/[^/]+/, '');
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    // the path as it stands: URL would resolve what climbs
    send(url, { method, path, headers, agent: false }, resolve).once('error', reject).end(body);
  });
  const chunks: Buffer[] = [];
  for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk);
  const text = Buffer.concat(chunks).toString('utf8');
  const isJson = response.headers['content-type']?.includes('json') ?? false;
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    text,
    json: isJson ? (JSON.parse(text) as unknown) : undefined,
  };
}
