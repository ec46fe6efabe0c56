import { Decoder, Encoder } from 'cbor-x';
import { z } from 'zod';
import { formatBase64 } from '../core/bytes.js';

/** The WebSocket subprotocols: one message is one JSON text or one CBOR binary frame. */
export const SUBPROTOCOLS = ['keyspan.v1.cbor', 'keyspan.v1.json'] as const;
export type Subprotocol = (typeof SUBPROTOCOLS)[number];

/** The port of every ENI (CloudHSM uses 2223 to 2225). */
export const WEBSOCKET_PORT = 2225;

/**
 * A request. `id` is the client's own, unique among its requests in flight on this connection.
 * `token` makes a mutating request
 * idempotent for ten minutes: a client that fails over sends it again with the same token.
 */
export const clientRequest = z.strictObject({
  id: z.union([z.int().min(0), z.string().min(1).max(64)]),
  action: z.string().min(1).max(64),
  params: z.record(z.string(), z.unknown()).default({}),
  token: z.string().min(1).max(64).optional(),
});
export type ClientRequest = z.infer<typeof clientRequest>;

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

const cborEncoder = new Encoder({ useRecords: false, tagUint8Array: false });
const cborDecoder = new Decoder({ useRecords: false, mapsAsObjects: true });

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

export function encodeMessage(subprotocol: Subprotocol, message: object): Uint8Array | string {
  if (subprotocol === 'keyspan.v1.cbor') return cborEncoder.encode(message);
  return JSON.stringify(message, blobsToBase64);
}

/**
 * Reads one message without checking its form. @throws SyntaxError or Error when it is not
 * well-formed
 */
export function decodeMessage(subprotocol: Subprotocol, data: Uint8Array): unknown {
  if (subprotocol === 'keyspan.v1.cbor') return cborDecoder.decode(data);
  return JSON.parse(Buffer.from(data.buffer, data.byteOffset, data.length).toString('utf8'));
}
