import { hash } from 'node:crypto';
import { LIMITS } from '../core/limits.js';
import { Memo } from '../core/memo.js';

/** A request as it came over the wire. Texts hold one byte in each character (latin1). */
export interface WireRequest {
  readonly method: string;
  /** the request target: path and query as they were sent, nothing decoded */
  readonly target: string;
  readonly headers: HeaderValues;
  readonly body: Uint8Array;
}

/** What was sent for each header, by its name in lower case; repeated ones in their order. */
export type HeaderValues = ReadonlyMap<string, readonly string[]>;

/**
 * Read once for a request: a client may send, and sign, a thousand headers.
 * @param headers names and values in turn, in the order and the case in which they were sent
 */
export function readHeaders(headers: readonly string[]): HeaderValues {
  const values = new Map<string, string[]>();
  for (let at = 0; at + 1 < headers.length; at += 2) {
    const name = (headers[at] ?? '').toLowerCase();
    const known = values.get(name);
    if (known) known.push(headers[at + 1] ?? '');
    else values.set(name, [headers[at + 1] ?? '']);
  }
  return values;
}

/** The query of a request target as it was sent; empty when there is none. */
export function queryOf(target: string): string {
  const at = target.indexOf('?');
  return at < 0 ? '' : target.slice(at + 1);
}

/**
 * The canonical request (AWS Signature Version 4, "Create a canonical request"), with the hash of
 * the body that was received: what a client says in `x-amz-content-sha256` counts for nothing,
 * since the services behind this know no unsigned payloads.
 * @param signedHeaders the value of SignedHeaders, as the client sent it
 * @param query what is signed of the query
 * @param payload what stands for the body's hash, where that is not it
 */
export function canonicalRequest(
  request: WireRequest,
  signedHeaders: string,
  { query = queryOf(request.target), payload }: { query?: string; payload?: string } = {},
): string {
  const { method, target, headers, body } = request;
  const at = target.indexOf('?');
  const path = at < 0 ? target : target.slice(0, at);
  const uri = path === '/' ? path : canonicalUri(path);
  let text = `${method}\n${uri}\n${query === '' ? '' : canonicalQuery(query)}\n`;
  for (const name of SIGNED_HEADERS.of(signedHeaders).sorted) {
    text += `${name}:${canonicalValue(headers.get(name) ?? [])}\n`;
  }
  return `${text}\n${signedHeaders}\n${payload ?? hash('sha256', body, 'hex')}`;
}

/** The names in a value of SignedHeaders: a client's requests have the same again and again. */
export const SIGNED_HEADERS = new Memo((text) => {
  const sorted = text.split(';').sort();
  return { sorted, set: new Set(sorted) };
}, LIMITS.signing_texts_max);

/** The path without redundant parts (RFC 3986, section 5.2.4), encoded once more. */
export function canonicalUri(path: string): string {
  const segments: string[] = [];
  for (const segment of path.split('/')) {
    if (segment === '..') segments.pop();
    else if (segment !== '' && segment !== '.') segments.push(uriEncode(segment));
  }
  const end = segments.length > 0 && path.endsWith('/') ? '/' : '';
  return `/${segments.join('/')}${end}`;
}

/** Names and values decoded and encoded in the one canonical way, sorted by name, then value. */
export function canonicalQuery(query: string): string {
  const pairs = query.split('&').filter((pair) => pair !== '');
  return pairs
    .map((pair) => {
      const at = pair.indexOf('=');
      const [name, value] = at < 0 ? [pair, ''] : [pair.slice(0, at), pair.slice(at + 1)];
      return { name: uriEncode(percentDecode(name)), value: uriEncode(percentDecode(value)) };
    })
    .sort((a, b) => compare(a.name, b.name) || compare(a.value, b.value))
    .map(({ name, value }) => `${name}=${value}`)
    .join('&');
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

const UNCANONICAL = /\t| {2}|^ | $/;

/** Values of one header joined by commas; white space around them goes, runs of it become one. */
function canonicalValue(values: readonly string[]): string {
  const [first = ''] = values;
  if (values.length === 1 && !UNCANONICAL.test(first)) return first;
  return values.map((value) => value.replaceAll(/[ \t]+/g, ' ').replace(/^ | $/g, '')).join(',');
}

/** Every byte but those that RFC 3986 leaves unreserved becomes `%XX`. */
function uriEncode(text: string): string {
  return text.replaceAll(/[^A-Za-z0-9._~-]/g, (one) => {
    const code = one.charCodeAt(0).toString(16).toUpperCase();
    return `%${code.padStart(2, '0')}`;
  });
}

/** A percent sign that encodes nothing stands for itself. */
export function percentDecode(text: string): string {
  return text.replaceAll(/%([0-9A-Fa-f]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
}
