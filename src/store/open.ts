import { MemoryStore } from './memory.js';
import { SqliteStore } from './sqlite.js';
import type { Store } from './store.js';

export type StoreOptions =
  { readonly kind: 'memory' } | { readonly kind: 'sqlite'; readonly directory: string };

/** @throws StoreInUse, StoreVersion, StoreCorrupt, StoreFailed */
export async function openStore(options: StoreOptions): Promise<Store> {
  if (options.kind === 'memory') return MemoryStore.open();
  return SqliteStore.open(options.directory);
}
