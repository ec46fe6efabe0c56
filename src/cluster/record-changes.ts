import type { Call } from '../core/call.js';
import { hasPassed, within } from '../core/deadline.js';
import { KeyspanError, isKeyspanError } from '../core/errors.js';
import type { HsmId, HsmKeyId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import type { Logger } from '../core/log.js';
import { TaskQueue } from '../core/queue.js';
import type { CarriedRecord } from '../protocol/hsm-frames.js';
import type { HsmApproval } from '../protocol/quorum-frames.js';
import type { RecordChange } from '../protocol/hsm-key-frames.js';
import type { ClusterSession } from './cluster-session.js';
import type { KeyLedger } from './key-ledger.js';
import type { Member } from './member.js';
import { giveRecord } from './record-repair.js';
import type { Replicator, Step } from './replicator.js';
import type { Rising } from './rising.js';
import type { StoreAge } from './store-age.js';

export interface RecordChangesOptions {
  readonly ledger: KeyLedger;
  readonly replicator: Replicator;
  readonly rising: Rising;
  readonly age: StoreAge;
  readonly members: () => readonly Member[];
  /** how many HSMs must have taken a change up before it is acknowledged */
  readonly needed: () => number;
  /** an HSM that is left behind: bring it up to date */
  readonly repair: (member: Member, reason: string) => void;
  readonly log: Logger;
  /** only with faults: a step of the work was made */
  readonly step?: Step | undefined;
}

/**
 * Changes of keys' records: with whom a key is shared, its label, what it may be used for. One HSM
 * decides a change and vouches for the new record; one commit makes it the one that counts, on the
 * condition that nobody changed it meanwhile; then every HSM takes it up. The ledger keeps the
 * record itself, so from the commit on no loss of an HSM undoes the change.
 */
export class RecordChanges {
  readonly #options: RecordChangesOptions;
  /** changes of one key by this daemon, one after the other */
  readonly #turns = new Map<HsmKeyId, TaskQueue>();
  readonly #listeners = new Set<(id: HsmKeyId) => void>();

  constructor(options: RecordChangesOptions) {
    this.#options = options;
  }

  /**
   * @param listener hears of each change by this daemon when it is over, whatever came of it; it
   * must not throw
   * @returns what ends it
   */
  onSettled(listener: (id: HsmKeyId) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Whether this daemon is changing the key: it then sees to the HSMs itself. */
  isChanging(id: HsmKeyId): boolean {
    return this.#turns.has(id);
  }

  /**
   * It is acknowledged when as many active HSMs have it as new keys need; the others do not work
   * with the key until they have it too.
   * @param session whoever asks: only the owner may
   * @param approval of others, where the key asks for it
   * @throws what an HSM decided; VaultKeyMissing; VaultNotDurable, after which the change may
   * stand; StoreConflict when others change the key all the time; KeyspanRefused while the store
   * is an old copy; VaultTimeout
   */
  async change(
    session: ClusterSession,
    id: HsmKeyId,
    change: RecordChange,
    call: Call,
    approval?: HsmApproval,
  ): Promise<void> {
    const options = { concurrent: 1, waiting: LIMITS.create_concurrent_max } as const;
    const turns = this.#turns.get(id) ?? new TaskQueue({ ...options, refusal: 'VaultBusy' });
    this.#turns.set(id, turns);
    try {
      await turns.run(() => this.#decide(session, id, { change, approval }, call));
    } finally {
      if (turns.depth === 0) this.#turns.delete(id);
      for (const listener of this.#listeners) listener(id);
    }
  }

  /** One that raced with another daemon's, or met an HSM that is behind, is decided anew. */
  async #decide(
    session: ClusterSession,
    id: HsmKeyId,
    asked: { readonly change: RecordChange; readonly approval: HsmApproval | undefined },
    call: Call,
  ): Promise<void> {
    const { ledger, replicator, age, step } = this.#options;
    await age.settled();
    for (let attempt = 0; attempt < LIMITS.commit_attempts_max; attempt += 1) {
      if (hasPassed(call.deadline)) throw new KeyspanError('VaultTimeout');
      if (age.isBehind) {
        throw new KeyspanError('KeyspanRefused', 'The store is an old copy: keyspan store adopt');
      }
      await replicator.enough(call);
      const from = await ledger.liveEntry(id);
      // the commit takes a later revision than the present one
      const fields = { keyId: id, ...asked, stamp: age.stampAt(ledger.revision + 1) };
      const prepared = await session.run('record-prepare', fields, call, id);
      await step?.('change.prepared');
      if (prepared.revision !== from.entry.revision + 1) {
        await this.#disagrees(call.servedBy);
      } else if (await ledger.amend(from, prepared)) {
        await step?.('change.committed');
        await this.#spread(id, prepared, call);
        await step?.('change.spread');
        return;
      }
    }
    throw new KeyspanError('StoreConflict');
  }

  /** The HSM that was asked has another record than the ledger names. */
  async #disagrees(id: HsmId | undefined): Promise<void> {
    const { members, rising } = this.#options;
    const member = members().find((one) => one.id === id);
    if (member?.isReachable) await rising.catchUp(member);
  }

  async #spread(id: HsmKeyId, record: CarriedRecord, call: Call): Promise<void> {
    const { members, replicator, needed } = this.#options;
    const having = new Set<HsmId>();
    const targets = members().filter((member) => member.isReachable);
    let enough = (): void => undefined;
    const reached = new Promise<void>((resolve) => {
      enough = resolve;
    });
    const all = targets.map(async (member) => {
      if (!(await this.#give(member, id, record, call))) return;
      having.add(member.id);
      const active = members().filter(({ id: one, channel }) => channel && having.has(one));
      if (active.length >= needed()) enough();
    });
    const settled = Promise.race([reached, Promise.all(all)]);
    await within(settled, call.deadline, 'a change of a record').catch(() => undefined);
    // before anybody is told of the change: whoever has it not yet must not work by the old record
    const behind = members().filter((member) => !having.has(member.id) && isServing(member));
    for (const member of behind) replicator.lacks(member.id, [id]);
    const active = members().filter((member) => member.channel && having.has(member.id)).length;
    if (active >= needed()) return;
    const sentence = `the change is committed, and ${active} of ${needed()} HSMs have it yet`;
    throw new KeyspanError('VaultNotDurable', sentence);
  }

  async #give(member: Member, id: HsmKeyId, record: CarriedRecord, call: Call): Promise<boolean> {
    const { ledger, replicator, repair, log } = this.#options;
    try {
      await giveRecord(member, id, ledger, call.requestId);
      if (ledger.get(id)?.revision === record.revision) replicator.supplied(member.id, [id]);
      return true;
    } catch (error) {
      log.warn({ err: error, hsm: member.id, key: id }, 'an HSM did not take up a changed record');
      // one that died is brought up to date when it comes back; one that lives must be told
      if (!isKeyspanError(error, 'KeyspanConnection')) repair(member, 'it has an old record');
      return false;
    }
  }
}

/** It works with keys, or is about to: what it was given until now may be all that it gets. */
const isServing = (member: Member): boolean => member.isReachable || member.channel !== undefined;
