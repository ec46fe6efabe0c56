import { equalConstantTime } from '../core/bytes.js';
import type { Call } from '../core/call.js';
import type { CommitPart } from '../core/commit.js';
import { deadlineIn, hasPassed, pause, within, type Deadline } from '../core/deadline.js';
import { KeyspanError, isKeyspanError } from '../core/errors.js';
import { newHsmKeyId, type HsmId, type HsmKeyId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import type { Logger } from '../core/log.js';
import { TaskQueue } from '../core/queue.js';
import type { PreparedKey } from '../core/vault.js';
import { channelLost } from '../hsm/channel.js';
import type { HsmResults } from '../protocol/hsm-frames.js';
import type { StepName } from './fault-desk.js';
import type { Intent, KeyLedger } from './key-ledger.js';
import type { Member } from './member.js';

/** A key that an HSM made, masked. */
type Made = HsmResults['generate'];

/** Makes a key on some HSM under the name given and answers it masked. */
export type Generate = (id: HsmKeyId) => Promise<Made>;

/** Makes the keys of these names at once. */
export type GenerateAll = (ids: readonly HsmKeyId[]) => Promise<readonly Made[]>;

/** What is to be made. */
export interface Wanted {
  readonly purpose: string;
  readonly count: number;
  /** one HSM is enough: whoever asks takes it that the key may be lost with it */
  readonly isUnchecked?: boolean;
}

/** Keys that were made together: both halves of a pair. */
export interface PreparedKeys {
  readonly keys: readonly PreparedKey[];
  /** every HSM that was reachable has answered for its copies, one way or the other */
  readonly settled: Promise<unknown>;
}

/** Lets a fault strike between two steps of the daemon's work. */
export type Step = (name: StepName) => Promise<void>;

export interface ReplicatorOptions {
  readonly ledger: KeyLedger;
  readonly members: () => readonly Member[];
  /** how many HSMs must hold a key before it is acknowledged */
  readonly needed: () => number;
  readonly epoch: () => number;
  /** an HSM that is left without a copy: bring it up to date */
  readonly repair: (member: Member, reason: string) => void;
  readonly log: Logger;
  /** only with faults: a step of the work was made */
  readonly step?: Step | undefined;
}

/** How one HSM's copy ended. `lost`: the HSM went, and said nothing against it. */
type Copy = 'held' | 'lost' | 'refused';

/** A key between its making and the commit that makes it live, or gives it up. */
interface Flight {
  readonly id: HsmKeyId;
  readonly isUnchecked: boolean;
  readonly targets: ReadonlySet<HsmId>;
  /** copies on their way to the HSMs */
  readonly copies: Promise<Copy>[];
  /** settled by the commit or the abandonment */
  readonly ended: Promise<void>;
  end(): void;
}

/**
 * Puts new keys on all HSMs. The order is what makes a create fast and safe: the intent is
 * written while one HSM makes the key
 * as a session object and wraps it; all HSMs then unwrap it at once, the maker among them; two
 * proofs acknowledge it.
 */
export class Replicator {
  readonly #options: ReplicatorOptions;
  readonly #flights = new Map<HsmKeyId, Flight>();
  /** HSMs that may not have a key yet, or failed to take it */
  readonly #lacking = new Map<HsmKeyId, Set<HsmId>>();
  readonly #givingUp = new Set<HsmKeyId>();
  readonly #queue = new TaskQueue({
    concurrent: LIMITS.replicate_concurrent_max,
    waiting: LIMITS.create_concurrent_max,
    refusal: 'VaultBusy',
  });

  constructor(options: ReplicatorOptions) {
    this.#options = options;
  }

  /** creates that run or wait */
  get depth(): number {
    return this.#queue.depth;
  }

  /**
   * HSMs to pass over when working with this key, because they are without it or have an old
   * record of it; undefined for all keys but a few
   */
  lacking(id: HsmKeyId): ReadonlySet<HsmId> | undefined {
    return this.#lacking.get(id);
  }

  /** Keys that are not in flight and that this HSM may be without. */
  lackedBy(member: HsmId): HsmKeyId[] {
    return [...this.#lacking]
      .filter(([id, lacking]) => lacking.has(member) && !this.#flights.has(id))
      .map(([id]) => id);
  }

  /** A member was brought up to date with the keys that it lacked when that began. */
  supplied(member: HsmId, ids: readonly HsmKeyId[]): void {
    for (const id of ids) this.#holds(id, member);
  }

  /** HSMs without a good copy are passed over until they are supplied. */
  lacks(member: HsmId, ids: readonly HsmKeyId[]): void {
    for (const id of ids) {
      const lacking = this.#lacking.get(id);
      if (lacking) lacking.add(member);
      else this.#lacking.set(id, new Set([member]));
    }
  }

  /** Waits for all creates in flight. */
  async settled(deadline: Deadline): Promise<void> {
    const all = [...this.#flights.values()].map(({ ended }) => ended);
    await within(Promise.all(all), deadline, 'creates in flight');
  }

  /** An HSM that left lacks nothing. */
  dismissed(member: HsmId): void {
    for (const [id, lacking] of this.#lacking) {
      lacking.delete(member);
      if (lacking.size === 0) this.#lacking.delete(id);
    }
  }

  /** Waits for the creates in flight that began before this HSM was reachable. */
  async settledFor(member: HsmId, deadline: Deadline): Promise<void> {
    const others = [...this.#flights.values()].filter(({ targets }) => !targets.has(member));
    await within(Promise.all(others.map(({ ended }) => ended)), deadline, 'creates in flight');
  }

  /**
   * An attempt that lost HSMs on its way is made once more, under another id: those that are left
   * may be enough.
   * @throws VaultNotDurable when too few HSMs are there or took the key; what `generate` throws
   */
  async create(purpose: string, generate: Generate, call: Call): Promise<PreparedKey> {
    const all: GenerateAll = async ([id]) => [await generate(id as HsmKeyId)];
    const { keys } = await this.createAll({ purpose, count: 1 }, all, call);
    return keys[0] as PreparedKey;
  }

  /** As `create`, of several keys that become live together or not at all. */
  createAll(what: Wanted, generate: GenerateAll, call: Call): Promise<PreparedKeys> {
    const { count, isUnchecked = false } = what;
    const attempt = (): Promise<PreparedKeys> =>
      this.#attempt(what, Array.from({ length: count }, newHsmKeyId), generate, call);
    return this.#queue.run(async () => {
      await this.enough(call, isUnchecked);
      try {
        return await attempt();
      } catch (error) {
        if (!wasLost(error) || hasPassed(call.deadline)) throw error;
        this.#options.log.warn({ err: error, requestId: call.requestId }, 'a create begins anew');
      }
      await this.enough(call, isUnchecked);
      return await attempt();
    });
  }

  /** Puts a key of a cluster of the same family on all HSMs, under the name that it has there. */
  adopt(id: HsmKeyId, made: Made, purpose: string, call: Call): Promise<PreparedKeys> {
    return this.#queue.run(async () => {
      await this.enough(call);
      return await this.#attempt({ purpose }, [id], () => Promise.resolve([made]), call);
    });
  }

  /**
   * Waits a moment for HSMs that are to serve and have not failed to: one that was killed, say.
   * @throws VaultNotDurable, VaultUnavailable
   */
  async enough(call: Call, isUnchecked = false): Promise<void> {
    const until = Math.min(call.deadline, deadlineIn(LIMITS.create_wait_ms));
    for (;;) {
      const staying = this.#staying();
      const active = staying.filter((member) => member.channel).length;
      const needed = this.#needed(isUnchecked);
      if (active >= needed) return;
      const hopeful = staying.filter(({ supervisor }) => supervisor.isHopeful).length;
      if (hopeful < needed || hasPassed(until)) throw this.#tooFew(active, needed);
      await pause(20);
    }
  }

  /** How many HSMs must hold a new key; one is enough for who asked for no more. */
  #needed(isUnchecked: boolean): number {
    return isUnchecked ? 1 : this.#options.needed();
  }

  async #attempt(
    { purpose, isUnchecked = false }: Omit<Wanted, 'count'>,
    ids: readonly HsmKeyId[],
    generate: GenerateAll,
    call: Call,
  ): Promise<PreparedKeys> {
    const { epoch } = this.#options;
    const making = generate(ids);
    // a rejection must not be unhandled while the intents are being written
    making.catch(() => undefined);
    const intents = await this.#intend(ids, { epoch: epoch(), purpose });
    const flights = ids.map((id) => this.#begin(id, isUnchecked));
    try {
      await this.#options.step?.('create.intended');
      const made = await making;
      await this.#options.step?.('create.made');
      const spread = flights.map((flight, at) => this.#spread(flight, made[at] as Made, call));
      await Promise.all(spread);
      await this.#options.step?.('create.spread');
      const keys = flights.map((flight, at) =>
        this.#prepared(flight, intents[at] as Intent, (made[at] as Made).proof),
      );
      return { keys, settled: Promise.allSettled(flights.flatMap(({ copies }) => copies)) };
    } catch (error) {
      for (const flight of flights) this.#abandon(flight);
      throw error;
    }
  }

  /** All of them, or none. */
  async #intend(
    ids: readonly HsmKeyId[],
    attempt: { epoch: number; purpose: string },
  ): Promise<Intent[]> {
    const { ledger } = this.#options;
    const outcomes = await Promise.allSettled(ids.map((id) => ledger.intend(id, attempt)));
    const failure = outcomes.find((outcome) => outcome.status === 'rejected');
    if (!failure) return outcomes.map((outcome) => (outcome as { value: Intent }).value);
    const written = ids.filter((_, at) => outcomes[at]?.status === 'fulfilled');
    await Promise.all(written.map((id) => ledger.abandon(id)));
    throw failure.reason;
  }

  #staying(): Member[] {
    return this.#options.members().filter((member) => !member.isLeaving);
  }

  #tooFew(count: number, needed: number, cause?: unknown): KeyspanError {
    const message = `the key must be on ${needed} HSMs, and ${count} are active`;
    const code = count === 0 ? 'VaultUnavailable' : 'VaultNotDurable';
    return new KeyspanError(code, message, { cause });
  }

  #begin(id: HsmKeyId, isUnchecked: boolean): Flight {
    const reachable = this.#staying().filter((member) => member.isReachable);
    let end = (): void => undefined;
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    const targets = new Set(reachable.map((member) => member.id));
    const leaving = this.#options.members().filter((member) => member.isLeaving);
    const flight: Flight = { id, isUnchecked, targets, copies: [], ended, end };
    this.#flights.set(id, flight);
    this.#lacking.set(id, new Set([...flight.targets, ...leaving.map((member) => member.id)]));
    return flight;
  }

  /**
   * Sends the key to every reachable HSM and returns once as many active ones as needed have
   * proved their copies.
   */
  async #spread(flight: Flight, made: Made, call: Call): Promise<void> {
    const targets = this.#options.members().filter((member) => flight.targets.has(member.id));
    let holding = 0;
    let lost = 0;
    let open = targets.length;
    await new Promise<void>((resolve, reject) => {
      const settle = (copy: Copy): void => {
        open -= 1;
        if (copy === 'held') holding += 1;
        if (copy === 'lost') lost += 1;
        const needed = this.#needed(flight.isUnchecked);
        if (holding >= needed) resolve();
        else if (open > 0) return;
        else {
          const cause = holding + lost < needed ? undefined : channelLost();
          reject(this.#tooFew(holding, needed, cause));
        }
      };
      for (const member of targets) {
        const copy = this.#insert(flight, member, made, call);
        flight.copies.push(copy);
        copy
          .then((how) => settle(how === 'held' && !member.channel ? 'lost' : how))
          .catch(() => settle('refused'));
      }
      if (targets.length === 0) reject(this.#tooFew(0, this.#needed(flight.isUnchecked)));
    });
  }

  async #insert(
    flight: Flight,
    member: Member,
    made: Made,
    { deadline, requestId }: Call,
  ): Promise<Copy> {
    try {
      const answer = await member.ask('insert', { masked: made.masked }, deadline, requestId);
      if (!equalConstantTime(answer.proof, made.proof)) throw new KeyspanError('HsmKeyUnproven');
      this.#holds(flight.id, member.id);
      return 'held';
    } catch (error) {
      this.#options.log.warn({ err: error, hsm: member.id, key: flight.id }, 'a copy failed');
      // an HSM that died is brought up to date when it comes back; one that lives must be told
      const gone = isKeyspanError(error, 'KeyspanConnection');
      if (!gone) void flight.ended.then(() => this.#options.repair(member, 'a copy failed'));
      return gone ? 'lost' : 'refused';
    }
  }

  #holds(id: HsmKeyId, member: HsmId): void {
    const lacking = this.#lacking.get(id);
    lacking?.delete(member);
    if (lacking?.size === 0) this.#lacking.delete(id);
  }

  #prepared(flight: Flight, intent: Intent, proof: Uint8Array): PreparedKey {
    const part: CommitPart = this.#options.ledger.live(intent, proof);
    return {
      id: flight.id,
      part,
      committed: () => this.#end(flight),
      abandon: () => this.#abandon(flight),
    };
  }

  #end(flight: Flight): void {
    this.#flights.delete(flight.id);
    flight.end();
  }

  #abandon(flight: Flight): void {
    this.#end(flight);
    this.#lacking.delete(flight.id);
    this.#giveUp(flight).catch((error: unknown) => {
      this.#options.log.warn({ err: error, key: flight.id }, 'abandoning failed');
    });
  }

  async #giveUp({ id, copies }: Flight): Promise<void> {
    this.#givingUp.add(id);
    try {
      if (!(await this.#options.ledger.abandon(id))) return;
      // a copy that arrived after its burial would be one that nothing explains
      await Promise.allSettled(copies);
    } finally {
      this.#givingUp.delete(id);
    }
    await this.bury(id);
  }

  /**
   * Destroys the copies of an abandoned or buried key; the entry goes when every member
   * confirmed. One whose copies are still on their way is left to who gives it up.
   */
  async bury(id: HsmKeyId): Promise<void> {
    if (this.#givingUp.has(id)) return;
    const members = this.#options.members();
    const deadline = deadlineIn(LIMITS.request_timeout_ms);
    const confirmed = await Promise.allSettled(
      members.map((member) => member.ask('discard', { keyId: id }, deadline)),
    );
    await this.#options.step?.('bury.discarded');
    // who did not confirm is told when it comes back, because the entry is still there
    if (confirmed.every(({ status }) => status === 'fulfilled')) {
      await this.#options.ledger.forget(id);
    }
  }
}

/** Whether HSMs that went are all that stood in the way. */
const wasLost = (error: unknown): boolean =>
  isKeyspanError(error, 'KeyspanConnection') ||
  (isKeyspanError(error) && isKeyspanError(error.cause, 'KeyspanConnection'));
