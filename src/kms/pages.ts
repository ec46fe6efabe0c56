import { KeyspanError } from '../core/errors.js';
import type { Answer } from './request.js';

/** A marker begins with the version of its form. */
const VERSION = '1:';
const MARKER = /^[A-Za-z0-9_-]+$/;

/**
 * The name that a marker says the last page ended with.
 * @throws InvalidMarkerException
 */
export function readMarker(marker: string | undefined): string | undefined {
  if (marker === undefined) return undefined;
  const text = MARKER.test(marker) ? Buffer.from(marker, 'base64url').toString('utf8') : '';
  if (text.startsWith(VERSION) && text.length > VERSION.length) return text.slice(VERSION.length);
  throw new KeyspanError('InvalidMarkerException');
}

const formatMarker = (name: string): string =>
  Buffer.from(VERSION + name, 'utf8').toString('base64url');

/** What a list call says beside its items: whether there are more, and how to go on. */
export function pageMembers<T>(
  found: readonly T[],
  limit: number,
  nameOf: (item: T) => string,
): { readonly items: readonly T[]; readonly members: Answer } {
  if (found.length <= limit) return { items: found, members: { Truncated: false } };
  const items = found.slice(0, limit);
  const last = items.at(-1);
  const members = last ? { NextMarker: formatMarker(nameOf(last)), Truncated: true } : {};
  return { items, members };
}
