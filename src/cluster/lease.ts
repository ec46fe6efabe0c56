import { KeyspanError, isKeyspanError } from '../core/errors.js';
import type { ClusterId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import { KEYSPACE } from '../store/keyspace.js';
import type { Store, StoreSession } from '../store/store.js';

/**
 * The one daemon that repairs a cluster and runs its jobs: whoever holds this lease
 * (ARCHITECTURE §3, epochs).
 */
export class Lease implements AsyncDisposable {
  readonly #store: Store;
  readonly #key: string;
  #session: StoreSession | undefined;
  #taking: Promise<boolean> | undefined;

  constructor(store: Store, cluster: ClusterId) {
    this.#store = store;
    this.#key = KEYSPACE.lease(cluster);
  }

  /** Whether this daemon holds the lease; takes it when nobody does. */
  async hold(): Promise<boolean> {
    if (this.#session && !this.#session.lost.aborted) return true;
    // who asks at the same time is not another daemon
    this.#taking ??= this.#take().finally(() => (this.#taking = undefined));
    return await this.#taking;
  }

  async #take(): Promise<boolean> {
    const session = await this.#store.session(LIMITS.store_session_ttl_ms);
    try {
      await this.#store.commit({
        compares: [{ key: this.#key, modRevision: null }],
        writes: [{ op: 'put', key: this.#key, value: Buffer.from(session.id), lease: session.id }],
      });
      this.#session = session;
      return true;
    } catch (error) {
      await session[Symbol.asyncDispose]();
      if (isKeyspanError(error, 'StoreConflict')) return false;
      throw error instanceof Error ? error : new KeyspanError('StoreFailed');
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#session?.[Symbol.asyncDispose]();
    this.#session = undefined;
  }
}
