import { deadlineIn, pause, remainingMs } from '../core/deadline.js';
import type { HsmId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import type { Logger } from '../core/log.js';
import { KEYSPACE } from '../store/keyspace.js';
import type { Store } from '../store/store.js';
import type { ClusterRecord } from './cluster.js';
import type { Member } from './member.js';

/** Revisions are far below this; an adoption counts more than all of them. */
const ADOPTION_WEIGHT = 2 ** 40;

/**
 * Compares the store with what the tokens saw of it (ARCHITECTURE §3). A store that is behind a
 * token is an old copy: it would
 * bring back keys that were destroyed and give up keys that were acknowledged, so nothing is
 * repaired and nothing deleted by it
 * until the operator adopts it.
 */
export class StoreAge {
  readonly #store: Store;
  readonly #record: () => ClusterRecord;
  readonly #log: Logger;
  /** HSMs that start with the daemon and were not asked yet */
  #awaited = new Set<HsmId>();
  #isBehind = false;
  /** the highest stamp that a token told of */
  #newest = 0;

  constructor(options: { store: Store; record: () => ClusterRecord; log: Logger }) {
    this.#store = options.store;
    this.#record = options.record;
    this.#log = options.log;
  }

  /** the store is older than what a token saw */
  get isBehind(): boolean {
    return this.#isBehind;
  }

  /** How far the store has come, comparable over its adoptions. */
  stampAt(revision: number): number {
    return this.#record().adoption * ADOPTION_WEIGHT + revision;
  }

  /** How far the store has come now. */
  async now(): Promise<number> {
    const { revision } = await this.#store.range(KEYSPACE.schema, { limit: 1 });
    return this.stampAt(revision);
  }

  /** HSMs whose answers a repair waits for after a start. */
  expect(members: readonly HsmId[]): void {
    this.#awaited = new Set(members);
  }

  /** Asks a token that came up what it saw. */
  async compare(member: Member): Promise<void> {
    const deadline = deadlineIn(LIMITS.request_timeout_ms);
    const seen = await member.ask('store-seen', {}, deadline);
    this.#newest = Math.max(this.#newest, seen.stamp);
    const foreign = seen.store !== null && seen.store !== this.#store.id;
    if (foreign || seen.stamp > (await this.now())) {
      this.#isBehind = true;
      const what = { hsm: member.id, ...seen };
      this.#log.error(
        what,
        'the store is behind this token: nothing is repaired until it is adopted',
      );
    }
    this.#awaited.delete(member.id);
  }

  /** Waits a moment for HSMs that start at the same time: one of them may know of a newer store. */
  async settled(): Promise<void> {
    const deadline = deadlineIn(LIMITS.store_compare_wait_ms);
    while (this.#awaited.size > 0 && remainingMs(deadline) > 0) await pause(10);
    this.#awaited.clear();
  }

  /** Lets a token remember how far the store has come. */
  async note(member: Member): Promise<void> {
    if (this.#isBehind) return;
    const note = { store: this.#store.id, stamp: await this.now() };
    await member.ask('store-seen', { note }, deadlineIn(LIMITS.request_timeout_ms));
  }

  /**
   * The number of an adoption after which this store is ahead of every token that was asked: a
   * store may be replaced by an old copy more than once, and the tokens remember each adoption.
   */
  nextAdoption(): number {
    const seen = StoreAge.adoptionsIn(this.#newest);
    return Math.max(this.#record().adoption, seen) + 1;
  }

  /** The number of adoptions that a stamp tells of. */
  static adoptionsIn(stamp: number): number {
    return Math.floor(stamp / ADOPTION_WEIGHT);
  }

  /** The operator says that this store is the one that counts. */
  adopted(): void {
    this.#isBehind = false;
  }
}
