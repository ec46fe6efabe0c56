import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import type { Members, Shape } from './aws-shapes.js';

/** AWS's Query protocol: parameters of a form come in, XML goes out. */
export type QueryParameters = ReadonlyMap<string, string>;

/**
 * The parameters of a request, from its query and its body (application/x-www-form-urlencoded).
 * Those of a signature in the query are none.
 * @throws SerializationException for one that is there twice, or too many, or no UTF-8
 */
export function readQuery(query: string, body: Uint8Array): QueryParameters {
  const parameters = new Map<string, string>();
  for (const text of [query, utf8(body)]) {
    for (const [name, value] of new URLSearchParams(text)) {
      if (/^x-amz-/i.test(name)) continue;
      if (parameters.has(name)) throw unreadable(`The parameter ${name} is there twice.`);
      parameters.set(name, value);
      if (parameters.size > LIMITS.query_parameters_max) {
        throw unreadable(`A request has at most ${LIMITS.query_parameters_max} parameters.`);
      }
    }
  }
  return parameters;
}

function utf8(body: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(body);
  } catch (cause) {
    throw new KeyspanError('SerializationException', 'The body is not UTF-8.', { cause });
  }
}

/**
 * The members of a request as JSON would have them, for aws-parser to check: `Tags.member.1.Key`
 * is a member of the first tag.
 * @throws SerializationException for a value that is no number or no boolean
 */
export function queryMembers(
  members: Members,
  parameters: QueryParameters,
  prefix = '',
): Record<string, unknown> {
  const read: Record<string, unknown> = {};
  for (const [name, shape] of Object.entries(members)) {
    const value = valueOf(shape, parameters, prefix + name);
    if (value !== undefined) read[name] = value;
  }
  return read;
}

function valueOf(shape: Shape, parameters: QueryParameters, name: string): unknown {
  if (shape.kind === 'list') return listOf(shape.of, parameters, name);
  if (shape.kind === 'structure') {
    const found = queryMembers(shape.members, parameters, `${name}.`);
    return Object.keys(found).length === 0 ? undefined : found;
  }
  const text = parameters.get(name);
  if (text === undefined) return undefined;
  if (shape.kind === 'integer') {
    if (/^[+-]?\d{1,15}$/.test(text)) return Number(text);
    throw malformed(`${name} is not a number.`);
  }
  if (shape.kind === 'boolean') {
    if (text === 'true' || text === 'false') return text === 'true';
    throw malformed(`${name} is neither true nor false.`);
  }
  return text;
}

/** An empty list is sent as the bare name. */
function listOf(of: Shape, parameters: QueryParameters, name: string): unknown[] | undefined {
  const items: unknown[] = [];
  for (let at = 1; at <= LIMITS.query_parameters_max; at += 1) {
    const item = valueOf(of, parameters, `${name}.member.${at}`);
    if (item === undefined) break;
    items.push(item);
  }
  return items.length > 0 || parameters.has(name) ? items : undefined;
}

const malformed = (sentence: string): KeyspanError =>
  new KeyspanError('SerializationException', sentence);
const unreadable = malformed;

/** What an answer is made of: members in their order; a list's items are `member` elements. */
export type XmlValue =
  | string
  | number
  | boolean
  | Date
  | undefined
  | readonly XmlValue[]
  | { readonly [name: string]: XmlValue };

/** What XML 1.0 cannot hold at all, not even escaped. */
// eslint-disable-next-line no-control-regex
const FORBIDDEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]|\p{Surrogate}/gu;
const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  '\r': '&#xD;',
};

const escapeXml = (text: string): string =>
  text.replaceAll(FORBIDDEN, '\ufffd').replaceAll(/[&<>"\r]/g, (one) => ESCAPES[one] ?? one);

/** Elements of the members that are there. */
export function toXml(members: { readonly [name: string]: XmlValue }): string {
  return Object.entries(members)
    .map(([name, value]) => (value === undefined ? '' : element(name, value)))
    .join('');
}

function element(name: string, value: XmlValue): string {
  return `<${name}>${contentOf(value)}</${name}>`;
}

function contentOf(value: XmlValue): string {
  if (value === undefined) return '';
  if (value instanceof Date) return `${value.toISOString().slice(0, 19)}Z`;
  if (typeof value !== 'object') return escapeXml(String(value));
  if (isList(value)) return value.map((item) => element('member', item)).join('');
  return toXml(value);
}

const isList = (value: object): value is readonly XmlValue[] => Array.isArray(value);
