import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { deadlineIn, hasPassed, pause } from '../core/deadline.js';
import { KeyspanError } from '../core/errors.js';
import type { Home } from '../core/home.js';
import { newEniId, newHsmId, type ClusterId, type HsmId } from '../core/ids.js';
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

export interface MembershipOptions {
  readonly id: ClusterId;
  readonly home: Home;
  readonly facts: ClusterFacts;
  readonly secrets: Secrets;
  readonly ledger: KeyLedger;
  readonly replicator: Replicator;
  readonly rising: Rising;
  readonly members: () => readonly Member[];
  readonly record: () => ClusterRecord;
  /** an ENI that no HSM has */
  readonly freeEni: (taken: readonly Eni[]) => Promise<Eni>;
  /** takes up a changed cluster: its new epoch, and who joined and left */
  readonly adopt: (change: { record: ClusterRecord; join?: HsmRecord; leave?: HsmId }) => void;
  readonly log: Logger;
  /** only with faults: a step of the work was made */
  readonly step?: Step | undefined;
}

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
      this.#giver();
      const eni = await freeEni(
        members().map(({ record: { eniIp: ip, eniPort: port } }) => ({ ip, port })),
      );
      const zone = az ?? emptiestAz(record(), members());
      const joiner = newHsm({ az: zone, subnetId: record().subnets[zone], eni, eniId: newEniId() });
      await this.#change({ join: joiner });
      return await this.#served(joiner.id);
    });
  }

  /** @throws KeyspanError KeyspanRefused while the other HSMs do not hold every live key */
  remove(id: HsmId): Promise<void> {
    return this.#turns.run(async () => {
      const member = this.#find(id);
      await this.#proveWithout(member);
      await this.#change({ leave: member });
    });
  }

  /** A new HSM with a new id takes the ENI of one that leaves in good order. */
  replace(id: HsmId): Promise<Member> {
    return this.#turns.run(async () => {
      const member = this.#find(id);
      await this.#proveWithout(member);
      return await this.#successor(member);
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
      return await this.#successor(member);
    });
  }

  /**
   * Removes the directories of HSMs that left, where a daemon before this one did not come to
   * it.
   */
  async finishRemovals(): Promise<void> {
    for (const id of await this.#options.facts.removed()) await this.#erase(id);
  }

  async #successor(member: Member): Promise<Member> {
    const { az, subnetId, eniIp: ip, eniPort: port, eniId } = member.record;
    const joiner = newHsm({ az, subnetId, eni: { ip, port }, eniId });
    await this.#change({ join: joiner, leave: member });
    return await this.#served(joiner.id);
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
   * is looked at.
   */
  async #proveWithout(member: Member): Promise<void> {
    const { replicator, members } = this.#options;
    this.#giver(member);
    member.isLeaving = true;
    try {
      await replicator.settled(deadlineIn(2 * LIMITS.request_timeout_ms));
      const others = members().filter((one) => one !== member && one.channel);
      await this.#proveAllHeld(others);
      await this.#options.step?.('leave.proved');
    } catch (error) {
      member.isLeaving = false;
      throw error;
    }
  }

  async #proveAllHeld(others: readonly Member[]): Promise<void> {
    const { rising, ledger, record } = this.#options;
    const needed = Math.min(record().availability, others.length);
    const holdings = await Promise.all(others.map((other) => rising.catchUp(other)));
    let short = 0;
    for (const [key, { state }] of ledger.all()) {
      if (state !== 'live') continue;
      const holders = holdings.filter((held) => held.has(key)).length;
      if (holders < needed || holders === 0) short += 1;
    }
    if (short === 0 && others.length > 0) return;
    const sentence = `The other HSMs do not hold ${short} live keys as often as they must.`;
    throw new KeyspanError('KeyspanRefused', sentence);
  }

  async #change(change: { join?: HsmRecord; leave?: Member }): Promise<void> {
    const { facts, secrets, id, adopt } = this.#options;
    const { join: joiner, leave } = change;
    const record = await facts.changeMembership({
      ...(joiner && { join: { record: joiner, secret: secrets.newPins(id, joiner.id) } }),
      ...(leave && { leave: leave.id }),
    });
    await this.#options.step?.('member.committed');
    if (leave) {
      // a hung process would be waited for; its token is to be erased anyway
      leave.supervisor.want('kill');
      await leave.supervisor[Symbol.asyncDispose]();
    }
    adopt({ record, ...(joiner && { join: joiner }), ...(leave && { leave: leave.id }) });
    await this.#options.step?.('member.adopted');
    if (leave) await this.#erase(leave.id);
  }

  async #erase(id: HsmId): Promise<void> {
    const directory = join(this.#options.home.hsms, id);
    await endLeftover(directory);
    await rm(directory, { recursive: true, force: true });
    await this.#options.step?.('member.erased');
    await this.#options.facts.forgetRemoved(id);
  }

  /** Waits until a new HSM serves. */
  async #served(id: HsmId): Promise<Member> {
    const deadline = deadlineIn(LIMITS.join_timeout_ms);
    const member = this.#find(id);
    while (!member.channel) {
      if (hasPassed(deadline)) {
        const reason = member.supervisor.reason ?? 'it does not serve yet';
        throw new KeyspanError(
          'KeyspanDeadlineExceeded',
          `${id} joins in the background: ${reason}`,
        );
      }
      await pause(10);
    }
    return member;
  }
}

interface Place {
  readonly az: string;
  readonly subnetId: string | undefined;
  readonly eni: Eni;
  readonly eniId: string;
}

const newHsm = ({ az, subnetId, eni, eniId }: Place): HsmRecord => ({
  id: newHsmId(),
  az,
  subnetId: subnetId ?? newSubnetId(),
  eniId,
  eniIp: eni.ip,
  eniPort: eni.port,
  serial: null,
  joined: false,
  intent: 'run',
});

function emptiestAz(record: ClusterRecord, members: readonly Member[]): string {
  const count = (az: string): number => members.filter((one) => one.record.az === az).length;
  const zones = ['a', 'b', 'c'].map((letter) => `${record.region}${letter}`);
  return zones.sort((a, b) => count(a) - count(b))[0] as string;
}
