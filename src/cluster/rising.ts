import { asBuffer, equalConstantTime } from '../core/bytes.js';
import { deadlineIn, hasPassed, pause } from '../core/deadline.js';
import { KeyspanError, isKeyspanError } from '../core/errors.js';
import type { ClusterId, HsmId, HsmKeyId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import type { Logger } from '../core/log.js';
import { TaskQueue } from '../core/queue.js';
import type { Channel } from '../hsm/channel.js';
import type {
  HandedOver,
  HsmFields,
  HsmOperation,
  HsmResults,
  InventoryItem,
  PackedItems,
} from '../protocol/hsm-frames.js';
import { familyOf, type ClusterRecord } from './cluster.js';
import type { ClusterFacts } from './facts.js';
import type { KeyLedger } from './key-ledger.js';
import { USERS } from './lifecycle.js';
import { Member } from './member.js';
import { compare, type Differences } from './reconcile.js';
import { giveRecord, takeUpRecord } from './record-repair.js';
import type { Replicator, Step } from './replicator.js';
import type { OpenedBackup } from './restoring.js';
import type { Secrets } from './secrets.js';
import type { StoreAge } from './store-age.js';

const STEP_MS = LIMITS.request_timeout_ms;
const COPIES_AT_ONCE = 8;

/** How an HSM's copies are looked at. */
export interface Inventory {
  /** what the copies are on record to prove is enough */
  readonly recorded: boolean;
}

/** What one comparison of an HSM with the ledger came to, in keys. */
export interface Repair {
  /** given to it by another HSM */
  readonly copied: number;
  /** whose record was brought to the revision that the commit names, on it or in the ledger */
  readonly updated: number;
  /** destroyed on it, because they were buried or abandoned */
  readonly discarded: number;
  /** kept on it though the ledger does not know them */
  readonly unknown: number;
  /** with another proof or record than the ledger's; not served */
  readonly conflicting: number;
}

export interface RisingOptions {
  readonly id: ClusterId;
  readonly facts: ClusterFacts;
  readonly secrets: Secrets;
  readonly ledger: KeyLedger;
  readonly replicator: Replicator;
  readonly age: StoreAge;
  readonly members: () => readonly Member[];
  readonly record: () => ClusterRecord;
  readonly changed: (record: ClusterRecord) => void;
  /** what the next HSM is made from while the cluster has no other */
  readonly backup: () => Promise<OpenedBackup | undefined>;
  /** called when there was something to repair or to report */
  readonly repaired: (hsm: HsmId, repair: Repair) => void;
  readonly log: Logger;
  /** only with faults: a step of the work was made */
  readonly step?: Step | undefined;
}

/**
 * Brings an HSM whose process listens into service: founds or joins it if it is new, then gives
 * it what it missed.
 */
export class Rising {
  readonly #options: RisingOptions;
  /** two repairs of one HSM at once would take from each other what they put there */
  readonly #turns = new WeakMap<Member, TaskQueue>();

  constructor(options: RisingOptions) {
    this.#options = options;
  }

  /**
   * @param seat logs in the users of cluster sessions; meanwhile keys are brought up to date
   * @throws KeyspanError when the HSM cannot serve; it is then started anew
   */
  async rise(member: Member, channel: Channel, seat: () => Promise<void>): Promise<void> {
    const { secrets, id, facts } = this.#options;
    member.appliance = undefined;
    if (channel.peer.phase === 'new') {
      member.isNew = true;
      await this.#enter(member, channel);
    }
    // also after a crash between the joining and this note of it
    if (!member.record.joined) {
      member.record = await facts.changeHsm(member.id, (hsm) => ({ ...hsm, joined: true }));
    }
    const password = await secrets.passwordOf(id, USERS.appliance);
    const user = { username: USERS.appliance, password };
    member.appliance = await Member.login(channel, user, deadlineIn(STEP_MS));
    await this.#options.step?.('rise.entered');
    await this.#options.age.compare(member);
    await this.#finishFounding(member, channel);
    const [held] = await Promise.all([this.catchUp(member, { recorded: true }), seat()]);
    await this.#finishRestoring(held);
  }

  async #enter(member: Member, channel: Channel): Promise<void> {
    const { record } = this.#options;
    if (member.record.joined) {
      throw new KeyspanError('KeyspanRefused', 'this HSM was a member, and its token is empty now');
    }
    if (member.id !== record().founder) await this.#join(member, channel);
    else if (!record().founded) await this.#found(member, channel);
    else throw new KeyspanError('KeyspanRefused', 'the cluster has its masking keys already');
  }

  /** The first HSM: it makes the masking keys and the first users. */
  async #found(member: Member, channel: Channel): Promise<void> {
    const { id, secrets, record } = this.#options;
    const { certificates, root } = await this.#certify(member, channel);
    const appliance = await secrets.passwordOf(id, USERS.appliance);
    const admin = await secrets.passwordOf(id, USERS.preCrypto);
    await ask(channel, 'found', {
      maskingKeyId: record().maskingKeyId,
      certificates,
      root,
      appUser: { username: USERS.appliance, password: appliance },
      admin: { username: USERS.admin, password: admin, random: true },
    });
  }

  async #certify(
    member: Member,
    channel: Channel,
  ): Promise<{ certificates: string[]; root: string }> {
    const { secrets } = this.#options;
    const { publicKey } = await ask(channel, 'identity', {});
    const { certifyHsm } = await import('./certificates.js');
    const hardware = await secrets.authority('hardware');
    const certificate = await certifyHsm({ hardware, hsm: member.id, publicKey });
    const { certificate: root } = await secrets.authority('manufacturer');
    return { certificates: [certificate, hardware.certificate], root };
  }

  /** Each further HSM: a member checks who it is and wraps the masking keys for it. */
  async #join(member: Member, channel: Channel): Promise<void> {
    const { certificates, root } = await this.#certify(member, channel);
    const offer = await ask(channel, 'join-offer', {});
    const restored = await this.#restored(member, channel, offer);
    const { maskingKeyId, wrapped, users } =
      restored ?? (await this.#given(channel, { hsm: member.id, certificates, ...offer }));
    await ask(channel, 'join', { maskingKeyId, wrapped, certificates, root, users });
  }

  async #given(channel: Channel, fields: HsmFields<'handover'>): Promise<HandedOver> {
    const giver = await this.#giver(channel);
    return await giver.ask('handover', fields, deadlineIn(STEP_MS));
  }

  /** From the backup, in a cluster of which no HSM is a member yet. */
  async #restored(
    { id: hsm }: Member,
    channel: Channel,
    offer: HsmResults['join-offer'],
  ): Promise<HandedOver | undefined> {
    const { members, record, backup } = this.#options;
    if (record().restoreFrom === null) return undefined;
    if (members().some((other) => other.id !== hsm && other.record.joined)) return undefined;
    const opened = await backup();
    const { publicKey: identity } = await ask(channel, 'identity', {});
    return await opened?.handOver({ hsm, family: familyOf(record()), identity, ...offer });
  }

  /** From here on the keys come from the HSMs again. */
  async #finishRestoring(held: ReadonlySet<HsmKeyId>): Promise<void> {
    const { record, ledger, facts, changed } = this.#options;
    if (record().restoreFrom === null) return;
    const isHeld = ([id, { state }]: [HsmKeyId, { state: string }]): boolean =>
      state !== 'live' || held.has(id);
    if (![...ledger.all()].every(isHeld)) return;
    changed(await facts.changeCluster((now) => ({ ...now, restoreFrom: null })));
  }

  /** Waits for a member that has the masking keys and all users. */
  async #giver(channel: Channel): Promise<Member> {
    const { members, record } = this.#options;
    const deadline = deadlineIn(LIMITS.hsm_start_timeout_ms);
    while (!channel.closed.aborted && !hasPassed(deadline)) {
      const giver = members().find((member) => member.isReachable);
      if (giver && record().founded) return giver;
      await pause(5, channel.closed);
    }
    throw new KeyspanError('KeyspanRefused', 'no member could hand over the masking keys');
  }

  /**
   * What `up` does as an operator would: activate the cluster and make its users. It can be
   * done again after a crash.
   */
  async #finishFounding(member: Member, channel: Channel): Promise<void> {
    const { record, facts, changed } = this.#options;
    if (record().founded || member.id !== record().founder) return;
    if (record().origin === 'caller') {
      // the operator claims and activates it
      return changed(await facts.changeCluster((now) => ({ ...now, founded: true })));
    }
    await this.#activate(channel);
    const admin = await this.#login(channel, USERS.admin, USERS.admin);
    for (const user of [USERS.cryptoUser, USERS.kms]) await this.#createUser(admin, user);
    await ask(channel, 'logout', {}, admin.session);
    changed(await facts.changeCluster((now) => ({ ...now, founded: true, state: 'ACTIVE' })));
  }

  async #activate(channel: Channel): Promise<void> {
    const { id, secrets } = this.#options;
    const { users } = await ask(channel, 'user-list', {});
    const admin = users.find(({ username }) => username === USERS.admin);
    if (admin?.role !== 'unactivated-admin') return;
    const before = await this.#login(channel, USERS.admin, USERS.preCrypto);
    const password = await secrets.passwordOf(id, USERS.admin);
    await ask(channel, 'activate', { password }, before.session, this.#options.record().epoch);
  }

  async #login(
    channel: Channel,
    username: string,
    secret: string,
  ): Promise<{ channel: Channel; session: number }> {
    const { id, secrets } = this.#options;
    const password = await secrets.passwordOf(id, secret);
    return await Member.login(channel, { username, password }, deadlineIn(STEP_MS));
  }

  async #createUser(admin: { channel: Channel; session: number }, username: string): Promise<void> {
    const { id, secrets, record } = this.#options;
    const fields = {
      username,
      role: 'crypto-user' as const,
      password: await secrets.passwordOf(id, username),
      // the crypto-user's is the operator's to change, and may stand where others read it
      ...(username === USERS.kms && { random: true }),
    };
    try {
      await ask(admin.channel, 'user-create', fields, admin.session, record().epoch);
    } catch (error) {
      // made before a crash
      if (!isKeyspanError(error, 'HsmAlreadyExists')) throw error;
    }
  }

  /**
   * Gives a member the live keys it lacks and takes from it what was buried. From the moment it
   * is reachable new keys are sent to
   * it; so once the creates that began before have ended, one comparison finds all that is missing.
   * @param how `recorded`: copies on a token that was left in good order and not touched since are
   * not proved now; each is before it is used, and all are in the next round of repairs
   */
  catchUp(member: Member, how: Inventory = { recorded: false }): Promise<ReadonlySet<HsmKeyId>> {
    let turns = this.#turns.get(member);
    if (!turns) {
      turns = new TaskQueue({ concurrent: 1, waiting: 64, refusal: 'HsmBusy' });
      this.#turns.set(member, turns);
    }
    return turns.run(() => this.#bringUpToDate(member, how));
  }

  async #bringUpToDate(member: Member, how: Inventory): Promise<ReadonlySet<HsmKeyId>> {
    const { replicator, age, ledger } = this.#options;
    await replicator.settledFor(member.id, deadlineIn(2 * STEP_MS));
    const lacked = replicator.lackedBy(member.id);
    const revisions = new Map(lacked.map((id) => [id, ledger.get(id)?.revision]));
    const { held, differences } = await this.examine(member, how);
    const { missing, damaged, superseded, ahead, discard } = differences;
    const work = [missing, damaged, superseded, ahead, discard];
    if (work.some((ids) => ids.length > 0)) await age.settled();
    this.#reportOdd(member, differences);
    const wanted = [...missing, ...damaged];
    const odd = [...differences.conflicting, ...differences.unknown];
    // an old copy of the store decides nothing
    const failed = age.isBehind
      ? [...wanted, ...superseded]
      : await this.#repair(member, differences);
    // whose record was changed meanwhile is left to that change
    const isSettled = (id: HsmKeyId): boolean => ledger.get(id)?.revision === revisions.get(id);
    replicator.supplied(member.id, lacked.filter(isSettled));
    replicator.lacks(member.id, [...failed, ...odd]);
    for (const id of wanted) held.add(id);
    for (const id of failed) held.delete(id);
    return held;
  }

  /** @returns the keys that the HSM is still without, or has an older record of */
  async #repair(member: Member, differences: Differences): Promise<HsmKeyId[]> {
    const { missing, damaged, superseded, ahead, discard } = differences;
    for (const id of discard) {
      await member.ask('discard', { keyId: id }, deadlineIn(STEP_MS));
    }
    await this.#options.step?.('catch-up.examined');
    const replaced = new Set(damaged);
    const copy = async (id: HsmKeyId): Promise<boolean> => {
      const there = await this.#copy(member, id, replaced.has(id));
      member.copied += 1;
      return there;
    };
    const failed = await eachOf([...missing, ...damaged], copy);
    const behind = await eachOf(superseded, (id) => this.#update(member, id));
    for (const id of ahead) await this.#takeUp(member, id);
    this.#count(member, differences, { copies: failed.length, records: behind.length });
    await this.#options.step?.('catch-up.copied');
    return [...failed, ...behind];
  }

  async #update(member: Member, id: HsmKeyId): Promise<boolean> {
    const { ledger, log } = this.#options;
    try {
      await giveRecord(member, id, ledger);
      return true;
    } catch (error) {
      if (!member.isReachable) throw error;
      log.warn({ err: error, key: id, hsm: member.id }, 'a record was not brought up to date');
      return ledger.get(id)?.state !== 'live';
    }
  }

  /** The other HSMs are passed over until they were compared with it. */
  async #takeUp(member: Member, id: HsmKeyId): Promise<void> {
    const { ledger, replicator, members, log } = this.#options;
    try {
      if (!(await takeUpRecord(member, id, ledger))) return;
      log.warn({ hsm: member.id, key: id }, 'a record that the store had lost counts again');
      for (const other of members()) if (other !== member) replicator.lacks(other.id, [id]);
    } catch (error) {
      if (!member.isReachable) throw error;
      log.warn({ err: error, key: id, hsm: member.id }, 'a newer record was not taken up');
    }
  }

  /** Compares what an HSM holds with the ledger, and changes nothing. */
  async examine(
    member: Member,
    how: Inventory = { recorded: false },
  ): Promise<{ held: Set<HsmKeyId>; differences: Differences }> {
    const { ledger } = this.#options;
    const inventory = await this.#inventory(member, how);
    // read afterwards: whatever the inventory shows was written down before it was made
    await ledger.current();
    const differences = compare(ledger.all(), inventory);
    const held = new Set(inventory.map(({ id }) => id));
    const { discard, unknown, conflicting, damaged } = differences;
    for (const id of [...discard, ...unknown, ...conflicting, ...damaged]) held.delete(id);
    return { held, differences };
  }

  #count(
    { id }: Member,
    differences: Differences,
    failed: { copies: number; records: number },
  ): void {
    const { missing, damaged, superseded, ahead, discard, unknown, conflicting } = differences;
    if (Object.values(differences).every((ids) => ids.length === 0)) return;
    this.#options.repaired(id, {
      copied: missing.length + damaged.length - failed.copies,
      updated: superseded.length + ahead.length - failed.records,
      discarded: discard.length,
      unknown: unknown.length,
      conflicting: conflicting.length,
    });
  }

  #reportOdd(member: Member, { unknown, conflicting, damaged }: Differences): void {
    const { log } = this.#options;
    if (damaged.length > 0) {
      log.warn({ hsm: member.id, keys: damaged }, 'copies that fail their proof are replaced');
    }
    if (unknown.length > 0) {
      log.warn({ hsm: member.id, keys: unknown }, 'copies that the ledger does not know are kept');
    }
    if (conflicting.length > 0) {
      log.error(
        { hsm: member.id, keys: conflicting },
        'copies with another proof or record are not served',
      );
    }
  }

  async #inventory(member: Member, { recorded }: Inventory): Promise<InventoryItem[]> {
    const items: InventoryItem[] = [];
    const limit = LIMITS.hsm_inventory_page_max;
    let after = '';
    for (;;) {
      const page = await member.ask(
        'inventory',
        { after, limit, recorded },
        deadlineIn(2 * STEP_MS),
      );
      items.push(...page.items, ...unpack(page.packed));
      if (!page.more) return items;
      after = page.last;
    }
  }

  /**
   * @param replace what stands there under this id has failed its proof, and goes when a copy
   * is at hand
   */
  async #copy(member: Member, id: HsmKeyId, replace: boolean): Promise<boolean> {
    const { log } = this.#options;
    for (const { from, give } of await this.#givers(member, id)) {
      try {
        const masked = await give();
        if (replace) await member.ask('discard', { keyId: id }, deadlineIn(STEP_MS));
        const copy = await member.ask('insert', { masked }, deadlineIn(STEP_MS));
        if (this.#isRight(id, copy.proof)) return await this.#isNewest(member, id, copy.revision);
        // destroyed meanwhile, or another key than the commit names: it must not live on in a copy
        await member.ask('discard', { keyId: id }, deadlineIn(STEP_MS));
      } catch (error) {
        if (!member.isReachable) throw error;
        log.debug({ err: error, key: id, from, to: member.id }, 'a key was not copied');
      }
    }
    return this.#options.ledger.get(id)?.state !== 'live';
  }

  /** Who may have a copy: other HSMs, and the backup while the cluster is restored from one. */
  async #givers(
    member: Member,
    keyId: HsmKeyId,
  ): Promise<{ from: string; give: () => Promise<Uint8Array> }[]> {
    const { members, record, backup } = this.#options;
    const others = members().filter((other) => other !== member && other.isReachable);
    const givers = others.map((other) => ({
      from: other.id as string,
      give: async () => (await other.ask('extract', { keyId }, deadlineIn(STEP_MS))).masked,
    }));
    const { restoreFrom } = record();
    if (restoreFrom === null) return givers;
    const masked = (await backup())?.masked(keyId);
    return masked ? [...givers, { from: restoreFrom, give: async () => masked }] : givers;
  }

  /** Who gave the copy may itself have been behind. */
  async #isNewest(member: Member, id: HsmKeyId, revision: number): Promise<boolean> {
    const committed = this.#options.ledger.get(id)?.revision ?? revision;
    return revision >= committed || (await this.#update(member, id));
  }

  #isRight(id: HsmKeyId, proof: Uint8Array): boolean {
    const entry = this.#options.ledger.get(id);
    return entry?.state === 'live' && entry.proof !== null && equalConstantTime(entry.proof, proof);
  }
}

/** Does the work for each, some at once. @returns those where it came to nothing */
async function eachOf(
  ids: readonly HsmKeyId[],
  work: (id: HsmKeyId) => Promise<boolean>,
): Promise<HsmKeyId[]> {
  const failed: HsmKeyId[] = [];
  const open = [...ids];
  const worker = async (): Promise<void> => {
    for (let id = open.pop(); id !== undefined; id = open.pop()) {
      if (!(await work(id))) failed.push(id);
    }
  };
  await Promise.all(Array.from({ length: COPIES_AT_ONCE }, worker));
  return failed;
}

const ID_DIGITS = 32;
const PROOF_BYTES = 16;
const NO_DIGEST = new Uint8Array(0);

function unpack(packed: PackedItems | undefined): InventoryItem[] {
  if (!packed) return [];
  const ids = asBuffer(packed.ids).toString('hex');
  return Array.from({ length: ids.length / ID_DIGITS }, (_, at) => ({
    id: ids.slice(at * ID_DIGITS, (at + 1) * ID_DIGITS) as HsmKeyId,
    revision: 1,
    proof: packed.proofs.subarray(at * PROOF_BYTES, (at + 1) * PROOF_BYTES),
    digest: NO_DIGEST,
  }));
}

function ask<Op extends HsmOperation>(
  channel: Channel,
  operation: Op,
  fields: HsmFields<Op>,
  session = 0,
  epoch = 0,
): Promise<HsmResults[Op]> {
  const deadline = deadlineIn(STEP_MS);
  return channel.request({ operation, fields, deadline, session, epoch });
}
