import { pause } from '../core/deadline.js';
import type { HsmId, HsmKeyId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import type { Logger } from '../core/log.js';
import type { ClusterCheck } from '../protocol/admin.js';
import { lasting, summarize, type Examined, type Look } from './check.js';
import type { KeyLedger } from './key-ledger.js';
import type { Lease } from './lease.js';
import type { Member } from './member.js';
import type { RecordChanges } from './record-changes.js';
import type { Replicator } from './replicator.js';
import type { Rising } from './rising.js';
import type { StoreAge } from './store-age.js';

export interface UpkeepOptions {
  readonly members: () => readonly Member[];
  readonly ledger: KeyLedger;
  readonly replicator: Replicator;
  readonly rising: Rising;
  readonly age: StoreAge;
  readonly records: RecordChanges;
  readonly lease: Lease;
  readonly needed: () => number;
  readonly log: Logger;
  /** between rounds in which HSMs are brought into agreement; 30 s unless given */
  readonly syncMs?: number | undefined;
}

/**
 * Keeps the HSMs in agreement with the ledger while they serve: one that is reported is looked
 * at soon, all of them are from time
 * to time by the daemon that holds the lease, and what is buried is forgotten once everybody
 * has confirmed it.
 */
export class Upkeep implements AsyncDisposable {
  readonly #options: UpkeepOptions;
  readonly #repairs = new Map<HsmId, Promise<void>>();
  /** HSMs that were reported while they were being repaired */
  readonly #again = new Set<HsmId>();
  readonly #closing = new AbortController();
  #rounds: Promise<void> = Promise.resolve();

  constructor(options: UpkeepOptions) {
    this.#options = options;
  }

  /** Whether this daemon holds the lease; it takes it when nobody does. */
  leads(): Promise<boolean> {
    return this.#options.lease.hold();
  }

  /** Begins the rounds. */
  start(): void {
    this.#rounds = this.#walk();
  }

  async #walk(): Promise<void> {
    const { lease, log } = this.#options;
    const { signal } = this.#closing;
    for (;;) {
      await pause(this.#options.syncMs ?? LIMITS.repair_interval_ms, signal);
      if (signal.aborted) return;
      try {
        if (await lease.hold()) await this.round();
      } catch (error) {
        log.warn({ err: error }, 'a round of repairs failed');
      }
    }
  }

  /** Brings every HSM that serves up to date, and forgets what is buried everywhere. */
  async round(): Promise<void> {
    const { rising, age, members, log } = this.#options;
    for (const member of members()) {
      if (this.#closing.signal.aborted) return;
      if (!member.channel) continue;
      try {
        await rising.catchUp(member);
        await age.note(member);
      } catch (error) {
        log.warn({ err: error, hsm: member.id }, 'bringing up to date failed');
      }
    }
    await this.#forget();
  }

  /** One repair of an HSM at a time; a report meanwhile may be of what this one did not see. */
  report(member: Member, reason: string, requestId?: string): void {
    if (this.#closing.signal.aborted) return;
    if (this.#repairs.has(member.id)) {
      this.#again.add(member.id);
      return;
    }
    const { log, rising } = this.#options;
    log.warn({ hsm: member.id, reason, requestId }, 'the HSM is brought up to date');
    const repair = pause(LIMITS.repair_pause_ms, this.#closing.signal)
      .then(async () => {
        if (member.isReachable) await rising.catchUp(member);
      })
      .catch((error: unknown) => log.warn({ err: error }, 'bringing up to date failed'))
      .finally(() => {
        this.#repairs.delete(member.id);
        if (this.#again.delete(member.id)) this.report(member, 'reported again');
      });
    this.#repairs.set(member.id, repair);
  }

  /**
   * Entries of the ledger changed: a key that was destroyed goes from the tokens at once, and a
   * record that not this daemon's client changed is brought to all of them.
   */
  changed(ids: readonly HsmKeyId[]): void {
    const { ledger, age, members, records } = this.#options;
    if (age.isBehind || this.#closing.signal.aborted) return;
    for (const id of ids) {
      const entry = ledger.get(id);
      if (entry?.state === 'tombstone') this.#bury(id);
      if (entry?.state !== 'live' || !entry.record || records.isChanging(id)) continue;
      for (const member of members()) this.report(member, 'a record was changed');
    }
  }

  #bury(id: HsmKeyId): void {
    const { replicator, log } = this.#options;
    replicator.bury(id).catch((error: unknown) => {
      log.warn({ err: error, key: id }, 'a destroyed key is not gone from every token yet');
    });
  }

  /** When an HSM came up, others may get from it what they lack. */
  sweep(): void {
    const { members, replicator, log } = this.#options;
    for (const member of members()) {
      const lacks = member.channel && replicator.lackedBy(member.id).length > 0;
      if (lacks) this.report(member, 'lacks keys');
    }
    this.#forget().catch((error: unknown) => {
      log.warn({ err: error }, 'a buried key could not be forgotten');
    });
  }

  /** Only when all members can confirm that a key is gone. */
  async #forget(): Promise<void> {
    const { members, ledger, replicator, age } = this.#options;
    if (age.isBehind || !members().every((member) => member.isReachable)) return;
    for (const [id, { state }] of ledger.all()) {
      if (state === 'abandoned' || state === 'tombstone') await replicator.bury(id);
    }
  }

  /** What is where. @param repair bring every HSM up to date before looking */
  async check(repair: boolean): Promise<ClusterCheck> {
    if (repair) await this.round();
    const { members, needed } = this.#options;
    const first = await this.#look();
    const atOnce = summarize(first, Math.min(needed(), members().length));
    if (atOnce.clean) return atOnce;
    // copies that are on their way, or going, are not where they belong for a moment
    await pause(LIMITS.repair_pause_ms, this.#closing.signal);
    const both = lasting(first, await this.#look());
    return summarize(both, Math.min(needed(), members().length));
  }

  async #look(): Promise<Look> {
    const { members, ledger } = this.#options;
    const examined = await Promise.all(members().map((member) => this.#examine(member)));
    return { examined, ledger: new Map(ledger.all()) };
  }

  async #examine(member: Member): Promise<Examined> {
    const { id } = member;
    const { state } = member.supervisor;
    const nothing = { id, state, held: undefined, differences: undefined };
    if (!member.channel) return nothing;
    try {
      return { id, state, ...(await this.#options.rising.examine(member)) };
    } catch {
      return nothing;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    await Promise.all([this.#rounds, ...this.#repairs.values()]);
    await this.#options.lease[Symbol.asyncDispose]();
  }
}
