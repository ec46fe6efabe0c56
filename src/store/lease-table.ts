import { randomBytes } from 'node:crypto';
import { assert } from '../core/assert.js';
import type { CommitPart } from '../core/commit.js';
import { KeyspanError } from '../core/errors.js';
import type { StoreSession } from './store.js';

interface Lease {
  readonly id: string;
  readonly ttlMs: number;
  readonly lost: AbortController;
  readonly timer: NodeJS.Timeout;
  /** monotonic time; the lease has ended when this passed without a renewal */
  deadline: number;
  ended: boolean;
}

/**
 * The sessions of an embedded store. Holder and store are one process, so a lease runs out only
 * when the whole process stood still for longer than its ttl: others may then have concluded that
 * it is gone, and it must not go on as if nothing had happened.
 */
export class LeaseTable {
  readonly #now: () => number;
  readonly #deleteEntries: (lease: string) => Promise<unknown>;
  readonly #leases = new Map<string, Lease>();
  #closed = false;

  constructor(options: {
    now: () => number;
    /** deletes what was put under the lease, in one revision */
    deleteEntries: (lease: string) => Promise<unknown>;
  }) {
    this.#now = options.now;
    this.#deleteEntries = options.deleteEntries;
  }

  /** Opens a session and keeps it alive. */
  open(ttlMs: number): StoreSession {
    assert(ttlMs > 0, 'a lease lives for some time');
    const lease: Lease = {
      id: randomBytes(16).toString('hex'),
      ttlMs,
      lost: new AbortController(),
      timer: setInterval(() => this.#renew(lease), Math.max(1, ttlMs / 3)).unref(),
      deadline: this.#now() + ttlMs,
      ended: false,
    };
    this.#leases.set(lease.id, lease);
    return {
      id: lease.id,
      lost: lease.lost.signal,
      [Symbol.asyncDispose]: () => this.#release(lease),
    };
  }

  /** @throws StoreSessionLost when the commit puts something under a lease that has ended */
  check(part: CommitPart): void {
    for (const write of part.writes) {
      if (write.op !== 'put' || write.lease === undefined) continue;
      const lease = this.#leases.get(write.lease);
      if (lease && !lease.ended && this.#now() >= lease.deadline) this.#expire(lease);
      if (!lease || lease.ended) throw new KeyspanError('StoreSessionLost');
    }
  }

  #renew(lease: Lease): void {
    const now = this.#now();
    if (lease.ended || now >= lease.deadline) this.#expire(lease);
    else lease.deadline = now + lease.ttlMs;
  }

  #expire(lease: Lease): void {
    lease.ended = true;
    lease.lost.abort(new KeyspanError('StoreSessionLost'));
    // it fails only when the store does; the timer then tries again
    this.#deleteEntries(lease.id).then(
      () => this.#forget(lease),
      () => undefined,
    );
  }

  async #release(lease: Lease): Promise<void> {
    if (lease.ended || this.#closed) return;
    lease.ended = true;
    await this.#deleteEntries(lease.id);
    this.#forget(lease);
  }

  #forget(lease: Lease): void {
    clearInterval(lease.timer);
    this.#leases.delete(lease.id);
  }

  /** The store is gone: every session is lost. */
  close(): void {
    this.#closed = true;
    for (const lease of this.#leases.values()) {
      clearInterval(lease.timer);
      if (!lease.ended) lease.lost.abort(new KeyspanError('StoreSessionLost'));
      lease.ended = true;
    }
    this.#leases.clear();
  }
}
