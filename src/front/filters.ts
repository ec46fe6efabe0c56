import { KeyspanError } from '../core/errors.js';

/** What the filters of a Describe action compare, by name. */
export type FilterTable<T> = Readonly<Record<string, (item: T, nowMs: number) => string>>;

/**
 * Whether an item passes all filters: of each it has one of the values.
 * @throws CloudHsmInvalidRequestException for a filter that the action does not have
 */
export function readFilters<T>(
  given: ReadonlyMap<string, readonly string[]> | undefined,
  table: FilterTable<T>,
): (item: T, nowMs: number) => boolean {
  const tests = [...(given ?? [])].map(([name, values]) => {
    const read = Object.hasOwn(table, name) ? table[name] : undefined;
    if (read) return { read, values };
    const sentence = `There is no filter ${name}. Filters are ${Object.keys(table).join(', ')}.`;
    throw new KeyspanError('CloudHsmInvalidRequestException', sentence);
  });
  return (item, nowMs) => tests.every(({ read, values }) => values.includes(read(item, nowMs)));
}
