import { KeyspanError, isKeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import type { Entry, Store } from './store.js';

/**
 * Changes one value in a conditional commit, and begins again where another was faster.
 * @param to what it becomes; undefined: there is none yet
 * @returns the store's revision from then on
 * @throws KeyspanError StoreConflict when others were faster every time, or what `to` throws
 */
export async function changeValue(
  store: Store,
  key: string,
  to: (entry: Entry | undefined) => Uint8Array,
): Promise<number> {
  for (let attempt = 0; attempt < LIMITS.commit_attempts_max; attempt += 1) {
    const entry = await store.get(key);
    const value = to(entry);
    const compare = { key, modRevision: entry?.modRevision ?? null };
    try {
      return await store.commit({ compares: [compare], writes: [{ op: 'put', key, value }] });
    } catch (error) {
      if (!isKeyspanError(error, 'StoreConflict')) throw error;
    }
  }
  throw new KeyspanError('StoreConflict');
}
