import { formatBase64 } from '../core/bytes.js';
import { CborWriter, decodeCborItem, encodeCborItem } from '../core/cbor.js';
import type { Message } from './message-writer.js';
import { FormError, int, object, optional, orElse, text, type FormOf } from './form.js';

const requestNumber = int({ min: 0 });
const requestName = text({ max: 64 });

/** The WebSocket subprotocols: one message is one JSON text or one CBOR binary frame. */
export const SUBPROTOCOLS = ['keyspan.v1.cbor', 'keyspan.v1.json'] as const;
export type Subprotocol = (typeof SUBPROTOCOLS)[number];

/**
 * The subprotocol of PKCS #11 applications on other machines, at the path `/p11/<region>`: binary
 * messages are the bytes of p11-kit's protocol, one behind the other.
 */
export const P11_SUBPROTOCOL = 'keyspan.p11.v1';

/** The port of every ENI (CloudHSM uses 2223 to 2225). */
export const WEBSOCKET_PORT = 2225;

/**
 * A request. `id` is the client's own, unique among its requests in flight on this connection.
 * `token` makes a mutating request
 * idempotent for ten minutes: a client that fails over sends it again with the same token.
 */
export const clientRequest = object({
  id: requestId,
  action: text({ max: 64 }),
  params: orElse(members, {}),
  token: optional(text({ max: 64 })),
});
export type ClientRequest = FormOf<typeof clientRequest>;

function requestId(value: unknown): number | string {
  if (typeof value === 'number') return requestNumber(value);
  return requestName(value);
}

function members(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    return value as Readonly<Record<string, unknown>>;
  }
  throw new FormError('is not an object');
}

export interface ClientResult {
  readonly id: number | string;
  readonly result: Readonly<Record<string, unknown>>;
  /** the HSM that did the work, when one did */
  readonly hsm?: string;
}

export interface ClientError {
  /** null when the request was so malformed that it has no id */
  readonly id: number | string | null;
  readonly error: { readonly code: string; readonly message: string };
}

/** Sent after a `Subscribe` request with `{"Events": ["hsm", …]}`. */
export interface ClientEvent {
  readonly event: string;
  readonly data: Readonly<Record<string, unknown>>;
}

export type ServerMessage = ClientResult | ClientError | ClientEvent;

/** In JSON a blob is standard base64, as on the AWS wire. */
function blobsToBase64(_name: string, value: unknown): unknown {
  if (value instanceof Uint8Array) return formatBase64(value);
  // a Buffer has turned itself into {type, data} before a replacer sees it
  if (isBufferJson(value)) return Buffer.from(value.data).toString('base64');
  return value;
}

function isBufferJson(value: unknown): value is { type: 'Buffer'; data: number[] } {
  return (
    typeof value === 'object' &&
    value !== null &&
    (value as { type?: unknown }).type === 'Buffer' &&
    Array.isArray((value as { data?: unknown }).data)
  );
}

/** JSON as it is on the wire: blobs are in base64. */
export const toJson = (message: object): string => JSON.stringify(message, blobsToBase64);

const writer = new CborWriter();

/** Encodes a message that is put into a frame before the next one is encoded. */
export function encodeForFrame(subprotocol: Subprotocol, message: object): Message {
  if (subprotocol === 'keyspan.v1.json') return toJson(message);
  const length = writer.write(message);
  return { bytes: writer.bytes, length };
}

export function encodeMessage(subprotocol: Subprotocol, message: object): Uint8Array | string {
  if (subprotocol === 'keyspan.v1.cbor') return encodeCborItem(message);
  return toJson(message);
}

/**
 * Reads one message without checking its form. @throws SyntaxError or Error when it is not
 * well-formed
 */
export function decodeMessage(subprotocol: Subprotocol, data: Uint8Array): unknown {
  if (subprotocol === 'keyspan.v1.cbor') return decodeCborItem(data);
  return JSON.parse(Buffer.from(data.buffer, data.byteOffset, data.length).toString('utf8'));
}
