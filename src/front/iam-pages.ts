import { KeyspanError } from '../core/errors.js';
import type { QueryResult } from './query-service.js';

export interface PageParams {
  readonly Marker?: string;
  readonly MaxItems?: number;
}

const DEFAULT_ITEMS = 100;
const VERSION = '1:';

/**
 * A page of a list whose items stand in the order of their names: a marker names the last item, so
 * that it survives changes.
 * @throws ValidationException for a marker that is not ours
 */
export function pageOf<T>(
  all: readonly T[],
  { Marker, MaxItems = DEFAULT_ITEMS }: PageParams,
  nameOf: (item: T) => string,
): { readonly items: readonly T[]; readonly members: QueryResult } {
  const after = Marker === undefined ? undefined : readMarker(Marker);
  const rest = after === undefined ? all : all.filter((item) => order(nameOf(item)) > after);
  const items = rest.slice(0, MaxItems);
  const last = items.at(-1);
  if (items.length === rest.length || last === undefined) {
    return { items, members: { IsTruncated: false } };
  }
  const next = Buffer.from(VERSION + order(nameOf(last)), 'utf8').toString('base64url');
  return { items, members: { IsTruncated: true, Marker: next } };
}

/** Names are compared without regard to case. */
const order = (name: string): string => name.toLowerCase();

/** In the order that pages go by. */
export const sortedByName = <T>(all: readonly T[], nameOf: (item: T) => string): T[] =>
  all.toSorted((a, b) => (order(nameOf(a)) < order(nameOf(b)) ? -1 : 1));

function readMarker(marker: string): string {
  const text = Buffer.from(marker, 'base64url').toString('utf8');
  if (text.startsWith(VERSION)) return text.slice(VERSION.length);
  throw new KeyspanError('ValidationException', 'Invalid Marker.');
}
