import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { deadlineIn, hasPassed, pause } from '../core/deadline.js';
import { KeyspanError } from '../core/errors.js';
import type { Home } from '../core/home.js';
import {
  newEniId,
  newHsmId,
  type BackupId,
  type ClusterId,
  type HsmId,
  type HsmKeyId,
} from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import type { Logger } from '../core/log.js';
import { TaskQueue } from '../core/queue.js';
import { endLeftover } from '../hsm/process.js';
import type { ClusterRecord, HsmRecord } from './cluster.js';
import type { ClusterFacts } from './facts.js';
import type { KeyLedger } from './key-ledger.js';
import { newSubnetId } from './lifecycle.js';
import type { Member } from './member.js';
import type { Eni } from './network.js';
import type { Replicator, Step } from './replicator.js';
import type { Rising } from './rising.js';
import type { Secrets } from './secrets.js';
import type { StoreAge } from './store-age.js';

export interface MembershipOptions {
  readonly id: ClusterId;
  readonly home: Home;
  readonly facts: ClusterFacts;
  readonly secrets: Secrets;
  readonly ledger: KeyLedger;
  readonly replicator: Replicator;
  readonly rising: Rising;
  readonly age: StoreAge;
  readonly members: () => readonly Member[];
  readonly record: () => ClusterRecord;
  /** an ENI that no HSM has */
  readonly freeEni: (taken: readonly Eni[]) => Promise<Eni>;
  /** takes up a changed cluster: its new epoch, and who joined and left */
  readonly adopt: (change: { record: ClusterRecord; join?: HsmRecord; leave?: HsmId }) => void;
  /** an HSM joined or left, and others are there */
  readonly reshaped: () => void;
  readonly log: Logger;
  /** only with faults: a step of the work was made */
  readonly step?: Step | undefined;
}

/** how many HSMs must hold a new key where there are enough of them */
const AVAILABILITY = 2;

/**
 * Changes of membership, one at a time. Each is one commit that raises the epoch; what an HSM
 * that leaves has on its disk goes
 * only after the others have proved that they hold every live key.
 */
export class Membership {
  readonly #options: MembershipOptions;
  readonly #turns = new TaskQueue({ concurrent: 1, waiting: 64, refusal: 'KeyspanRefused' });

  constructor(options: MembershipOptions) {
    this.#options = options;
  }

  /** A new HSM. @param az the availability zone; else the one that has fewest */
  add(az?: string): Promise<Member> {
    return this.#turns.run(async () => {
      const { members, freeEni, record } = this.#options;
      if (members().length >= LIMITS.hsms_per_cluster_max) {
        const sentence = `A cluster has at most ${LIMITS.hsms_per_cluster_max} HSMs.`;
        throw new KeyspanError('KeyspanRefused', sentence);
      }
      const zone = az ?? emptiestAz(record(), members());
      if (!isAzOf(record().region, zone)) {
        const sentence = `${zone} is no availability zone of ${record().region}`;
        throw new KeyspanError('KeyspanUsage', sentence);
      }
      if (record().restoreFrom === null) this.#giver();
      const eni = await freeEni(
        members().map(({ record: { eniIp: ip, eniPort: port } }) => ({ ip, port })),
      );
      const joiner = newHsm({ az: zone, subnetId: record().subnets[zone], eni, eniId: newEniId() });
      await this.#change({ join: joiner });
      return await this.#served(joiner.id);
    });
  }

  /**
   * A new HSM that is a member when this returns, and comes to serve by itself. The first one of a
   * cluster founds it.
   */
  enter(joiner: HsmRecord): Promise<void> {
    return this.#turns.run(async () => {
      const { members, record } = this.#options;
      // while the first one is restored the others may come: they wait for it
      if (members().length > 0 && record().restoreFrom === null) this.#giver();
      await this.#change({ join: joiner });
      this.#served(joiner.id).catch((error: unknown) => {
        this.#options.log.warn({ err: error, hsm: joiner.id }, 'a new HSM does not serve yet');
      });
    });
  }

  /** The only HSM of a cluster leaves that nobody works with yet. @param also what it resets */
  removeLast(id: HsmId, also: (record: ClusterRecord) => ClusterRecord): Promise<void> {
    return this.#turns.run(async () => {
      const member = this.#find(id);
      if (this.#options.members().length > 1) return await this.#leaveInOrder(member);
      await this.#change({ leave: member, also });
    });
  }

  /**
   * The last HSM of a cluster that holds keys leaves: the next one is made from a backup.
   * @param save answers a backup of all that lives at that moment
   */
  retire(id: HsmId, save: () => Promise<BackupId>): Promise<void> {
    return this.#turns.run(async () => {
      const member = this.#find(id);
      if (this.#options.members().length > 1) return await this.#leaveInOrder(member);
      await this.#withoutCreates(member, async () => {
        const restoreFrom = await save();
        await this.#options.step?.('leave.proved');
        await this.#change({ leave: member, also: (record) => ({ ...record, restoreFrom }) });
      });
    });
  }

  /** @throws KeyspanError KeyspanRefused while the other HSMs do not hold every live key */
  remove(id: HsmId): Promise<void> {
    return this.#turns.run(async () => {
      await this.#leaveInOrder(this.#find(id));
    });
  }

  #leaveInOrder(member: Member): Promise<void> {
    return this.#leave(member, () => this.#change({ leave: member }));
  }

  /** A new HSM with a new id takes the ENI of one that leaves in good order. */
  replace(id: HsmId): Promise<Member> {
    return this.#turns.run(async () => {
      const member = this.#find(id);
      const joiner = successorOf(member);
      await this.#leave(member, () => this.#change({ join: joiner, leave: member }));
      return await this.#served(joiner.id);
    });
  }

  /**
   * The HSM and its token are lost at once, as with a machine that burns; a new one joins in
   * its place.
   */
  wipe(id: HsmId): Promise<Member> {
    return this.#turns.run(async () => {
      const member = this.#find(id);
      this.#giver(member);
      const joiner = successorOf(member);
      await this.#change({ join: joiner, leave: member, lost: true });
      return await this.#served(joiner.id);
    });
  }

  /**
   * Removes the directories of HSMs that left, where a daemon before this one did not come to
   * it.
   */
  async finishRemovals(): Promise<void> {
    for (const id of await this.#options.facts.removed()) await this.#erase(id);
  }

  #find(id: HsmId): Member {
    const member = this.#options.members().find((one) => one.id === id);
    if (!member) throw new KeyspanError('KeyspanUsage', `there is no HSM ${id}`);
    return member;
  }

  /** Another HSM that has the masking keys, without which nobody can join. */
  #giver(besides?: Member): Member {
    const giver = this.#options.members().find((one) => one !== besides && one.isReachable);
    if (giver) return giver;
    throw new KeyspanError('KeyspanRefused', 'No other HSM serves that could hand over the keys.');
  }

  /**
   * From here on no create counts this HSM; what it alone holds is copied, and then everything
   * is looked at. If it does not come to the change, the HSM is a member like any other again.
   */
  async #leave(member: Member, change: () => Promise<void>): Promise<void> {
    const { members, step } = this.#options;
    this.#giver(member);
    await this.#withoutCreates(member, async () => {
      await this.#proveAllHeld(members().filter((one) => one !== member));
      await step?.('leave.proved');
      await change();
    });
  }

  async #withoutCreates(member: Member, work: () => Promise<void>): Promise<void> {
    const { replicator, rising, members } = this.#options;
    member.isLeaving = true;
    try {
      await replicator.settled(deadlineIn(2 * LIMITS.request_timeout_ms));
      await work();
    } catch (error) {
      member.isLeaving = false;
      // it missed what was made meanwhile
      if (member.channel && members().includes(member)) await rising.catchUp(member);
      throw error;
    }
  }

  /** Keys that are made from now on are not looked at: this HSM is none of those that count. */
  async #proveAllHeld(staying: readonly Member[]): Promise<void> {
    const { rising, ledger, record } = this.#options;
    await ledger.current();
    const isLive = (key: HsmKeyId): boolean => ledger.get(key)?.state === 'live';
    const keys = [...ledger.all()].flatMap(([key]) => (isLive(key) ? key : []));
    const serving = staying.filter(({ channel }) => channel);
    const holdings = await Promise.all(serving.map((other) => rising.catchUp(other)));
    // an HSM that is away may lack what was made since, so it is no reason to ask for less
    const needed = Math.min(record().availability, staying.length);
    const isShort = (key: HsmKeyId): boolean =>
      holdings.filter((held) => held.has(key)).length < needed;
    const short = keys.filter((key) => isShort(key) && isLive(key)).length;
    if (short === 0) return;
    const sentence = `The other HSMs do not hold ${short} live keys as often as they must.`;
    throw new KeyspanError('KeyspanRefused', sentence);
  }

  async #change(change: {
    join?: HsmRecord;
    leave?: Member;
    /** it is as if its machine were gone */
    lost?: boolean;
    also?: (record: ClusterRecord) => ClusterRecord;
  }): Promise<void> {
    const { facts, secrets, id, adopt, age, members } = this.#options;
    const { join: joiner, leave, also } = change;
    if (age.isBehind) {
      throw new KeyspanError('KeyspanRefused', 'The store is an old copy: keyspan store adopt');
    }
    const record = await facts.changeMembership({
      alone: members().length === 2 && joiner === undefined,
      ...(joiner && { join: { record: joiner, secret: secrets.newPins(id, joiner.id) } }),
      ...(leave && { leave: leave.id }),
      ...(also && { also }),
    });
    await this.#options.step?.('member.committed');
    if (leave) {
      if (!change.lost) await endAudit(leave);
      // a hung process would be waited for; its token is to be erased anyway
      leave.supervisor.want('kill');
      await leave.supervisor[Symbol.asyncDispose]();
    }
    adopt({ record, ...(joiner && { join: joiner }), ...(leave && { leave: leave.id }) });
    await this.#options.step?.('member.adopted');
    if (leave) await this.#erase(leave.id);
    if (!joiner && members().length > 0) this.#options.reshaped();
  }

  async #erase(id: HsmId): Promise<void> {
    const directory = join(this.#options.home.hsms, id);
    await endLeftover(directory);
    await rm(directory, { recursive: true, force: true });
    await rm(join(this.#options.home.runtime, `${id}.sock`), { force: true });
    await this.#options.step?.('member.erased');
    await this.#options.facts.forgetRemoved(id);
  }

  /** Waits until a new HSM serves, however many keys there are, while it is given any. */
  async #served(id: HsmId): Promise<Member> {
    let deadline = deadlineIn(LIMITS.join_timeout_ms);
    const member = this.#find(id);
    for (let copied = 0; !member.channel;) {
      if (member.copied > copied) deadline = deadlineIn(LIMITS.join_timeout_ms);
      copied = member.copied;
      if (hasPassed(deadline)) {
        const reason = member.supervisor.reason ?? 'it does not serve yet';
        throw new KeyspanError(
          'KeyspanDeadlineExceeded',
          `${id} joins in the background: ${reason}`,
        );
      }
      await pause(10);
    }
    await this.#raiseAvailability();
    this.#options.reshaped();
    return member;
  }

  /** The key-availability rule is off in a cluster of one HSM only. */
  async #raiseAvailability(): Promise<void> {
    const { facts, record, adopt, members } = this.#options;
    const serving = members().filter(({ channel }) => channel);
    if (record().availability === AVAILABILITY || serving.length < AVAILABILITY) return;
    const raise = (now: ClusterRecord): ClusterRecord => ({ ...now, availability: AVAILABILITY });
    adopt({ record: await facts.changeCluster(raise) });
  }
}

/** The last entry of an HSM's audit log; one that does not answer leaves none. */
async function endAudit(member: Member): Promise<void> {
  const deadline = deadlineIn(LIMITS.status_timeout_ms);
  await member.ask('leave', {}, deadline).catch(() => undefined);
}

/** Where a new HSM is to be. */
export interface Place {
  readonly az: string;
  readonly subnetId: string | undefined;
  readonly eni: Eni;
  readonly eniId: string;
}

export const newHsm = ({ az, subnetId, eni, eniId }: Place): HsmRecord => ({
  id: newHsmId(),
  az,
  subnetId: subnetId ?? newSubnetId(),
  eniId,
  eniIp: eni.ip,
  eniPort: eni.port,
  serial: null,
  joined: false,
  intent: 'run',
  readyMs: null,
  leaveMs: null,
});

/** A new HSM in the place of one that leaves. */
function successorOf({
  record: { az, subnetId, eniIp: ip, eniPort: port, eniId },
}: Member): HsmRecord {
  return newHsm({ az, subnetId, eni: { ip, port }, eniId });
}

const isAzOf = (region: string, az: string): boolean =>
  az.startsWith(region) && /^[a-f]$/.test(az.slice(region.length));

function emptiestAz(record: ClusterRecord, members: readonly Member[]): string {
  const count = (az: string): number => members.filter((one) => one.record.az === az).length;
  const zones = ['a', 'b', 'c'].map((letter) => `${record.region}${letter}`);
  return zones.sort((a, b) => count(a) - count(b))[0] as string;
}
