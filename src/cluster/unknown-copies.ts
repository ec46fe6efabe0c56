import { deadlineIn } from '../core/deadline.js';
import { KeyspanError } from '../core/errors.js';
import type { HsmKeyId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import type { DiscardedCopies } from '../protocol/admin.js';
import type { KeyLedger } from './key-ledger.js';
import type { Member } from './member.js';
import type { Replicator } from './replicator.js';
import type { Rising } from './rising.js';
import type { StoreAge } from './store-age.js';

export interface UnknownCopiesOptions {
  readonly ledger: KeyLedger;
  readonly replicator: Replicator;
  readonly rising: Rising;
  readonly age: StoreAge;
  readonly members: () => readonly Member[];
}

/**
 * Copies that no entry of the ledger explains: those of a key that was destroyed while their token
 * was an old copy, say. A repair never destroys for lack of evidence, so what makes them go is the
 * operator's word.
 */
export class UnknownCopies {
  readonly #options: UnknownCopiesOptions;

  constructor(options: UnknownCopiesOptions) {
    this.#options = options;
  }

  /**
   * @param keys undefined: all that are unknown
   * @throws KeyspanRefused for a key that the ledger knows, and while the store is an old copy,
   * which knows too little; KeyspanUsage for a key that is unknown on no HSM
   */
  async discard(keys?: readonly HsmKeyId[]): Promise<DiscardedCopies> {
    const { age, members } = this.#options;
    await age.settled();
    this.#refuseBehind();
    await this.#refuseKnown(keys ?? []);
    const serving = members().filter((member) => member.channel);
    const found = await Promise.all(serving.map((member) => this.#unknownOn(member, keys)));
    const copies = found.flat();
    const missed = keys?.find((key) => !copies.some((copy) => copy.key === key));
    if (missed !== undefined) {
      throw new KeyspanError('KeyspanUsage', `no HSM that serves has an unknown copy of ${missed}`);
    }
    for (const { member, key } of copies) await this.#discardOne(member, key);
    return {
      discarded: copies.map(({ member, key }) => ({ hsm: member.id, key })),
      unasked: members()
        .filter((member) => !serving.includes(member))
        .map(({ id }) => id),
    };
  }

  #refuseBehind(): void {
    if (!this.#options.age.isBehind) return;
    const sentence = 'The store is an old copy: it knows too little to tell what is unknown.';
    throw new KeyspanError('KeyspanRefused', sentence);
  }

  async #refuseKnown(keys: readonly HsmKeyId[]): Promise<void> {
    const { ledger } = this.#options;
    await ledger.current();
    const known = keys.find((key) => ledger.get(key) !== undefined);
    if (known === undefined) return;
    throw new KeyspanError('KeyspanRefused', `The ledger knows ${known}.`);
  }

  async #unknownOn(
    member: Member,
    keys: readonly HsmKeyId[] | undefined,
  ): Promise<{ member: Member; key: HsmKeyId }[]> {
    const { differences } = await this.#options.rising.examine(member);
    const meant = keys ? differences.unknown.filter((key) => keys.includes(key)) : undefined;
    return (meant ?? differences.unknown).map((key) => ({ member, key }));
  }

  async #discardOne(member: Member, key: HsmKeyId): Promise<void> {
    this.#refuseBehind();
    await member.ask('discard', { keyId: key }, deadlineIn(LIMITS.request_timeout_ms));
    this.#options.replicator.supplied(member.id, [key]);
  }
}
