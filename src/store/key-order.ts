import { LIMITS } from '../core/limits.js';
import type { RangeOptions } from './store.js';

/**
 * Moves the surrogates behind the rest of UTF-16's code units: only there its order differs from
 * the order of UTF-8's bytes.
 */
function rank(unit: number): number {
  if (unit >= 0xe000) return unit - 0x800;
  return unit >= 0xd800 ? unit + 0x2000 : unit;
}

/** The order of the keys' UTF-8 bytes, without encoding them. */
export function compareKeys(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i += 1) {
    const left = a.charCodeAt(i);
    const right = b.charCodeAt(i);
    if (left !== right) return rank(left) - rank(right);
  }
  return a.length - b.length;
}

/** How many entries one page of a range holds at most. */
export function pageSize(options: RangeOptions): number {
  return Math.max(0, Math.min(options.limit ?? LIMITS.store_range_max, LIMITS.store_range_max));
}

/** Keys in byte order; a key that comes last is added at no cost. */
export class SortedKeys {
  readonly #keys: string[] = [];

  /** the first position whose key is not before `key` */
  #find(key: string): number {
    let low = 0;
    let high = this.#keys.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compareKeys(this.#keys[middle] ?? '', key) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  add(key: string): void {
    const last = this.#keys.at(-1);
    if (last === undefined || compareKeys(last, key) < 0) {
      this.#keys.push(key);
      return;
    }
    const at = this.#find(key);
    if (this.#keys[at] !== key) this.#keys.splice(at, 0, key);
  }

  delete(key: string): void {
    const at = this.#find(key);
    if (this.#keys[at] === key) this.#keys.splice(at, 1);
  }

  /** At most `limit` keys that begin with `prefix` and sort after `after`. */
  select(prefix: string, options: { after?: string | undefined; limit: number }): string[] {
    const { after, limit } = options;
    let at = this.#find(prefix);
    if (after !== undefined && compareKeys(after, prefix) >= 0) {
      at = this.#find(after);
      if (this.#keys[at] === after) at += 1;
    }
    const keys: string[] = [];
    for (; keys.length < limit; at += 1) {
      const key = this.#keys[at];
      if (key === undefined || !key.startsWith(prefix)) break;
      keys.push(key);
    }
    return keys;
  }
}
