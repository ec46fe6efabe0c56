import { decodeCborItem, encodeCborItem } from '../core/cbor.js';
import { KeyspanError } from '../core/errors.js';

/** What checks and types a decoded value. It throws where the value has another form. */
export type Schema<T> = (value: unknown) => T;

/** A CBOR map (RFC 8949) whose first member, `v`, is the version of its form. */
export function encodeValue(version: number, members: object): Uint8Array {
  return encodeCborItem({ v: version, ...members });
}

/**
 * Reads what `encodeValue` made. The schema sees `v` too: a form that has several versions is a
 * union over it. Blobs may share memory with `bytes`.
 * @throws StoreCorrupt when the bytes are no CBOR or the schema refuses them
 */
export function decodeValue<T>(bytes: Uint8Array, schema: Schema<T>): T {
  try {
    return schema(decodeCborItem(bytes));
  } catch (cause) {
    throw new KeyspanError('StoreCorrupt', 'A stored value cannot be read.', { cause });
  }
}
