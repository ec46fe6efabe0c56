import { join } from 'node:path';
import { deadlineIn, hasPassed, pause, within } from '../core/deadline.js';
import { KeyspanError, isKeyspanError } from '../core/errors.js';
import { hsmAuditPath, type Home } from '../core/home.js';
import {
  newBootId,
  type BackupId,
  type ClusterId,
  type HsmId,
  type HsmKeyId,
} from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import type { Logger } from '../core/log.js';
import type { Channel } from '../hsm/channel.js';
import type { Intent } from '../hsm/hsm.js';
import type { Launch } from '../hsm/launch.js';
import { endLeftover } from '../hsm/process.js';
import { Supervisor } from '../hsm/supervisor.js';
import type { ClusterCheck, HsmState, HsmStatus } from '../protocol/admin.js';
import type { Store } from '../store/store.js';
import { FaultDesk, type StepName } from './fault-desk.js';
import { familyOf, type ClusterRecord, type HsmRecord } from './cluster.js';
import { makeClusterKey, readClusterKey } from './cluster-key.js';
import { ClusterFacts } from './facts.js';
import { ClusterSession, type UserLogin } from './cluster-session.js';
import { ClusterVault } from './cluster-vault.js';
import { KeyLedger } from './key-ledger.js';
import { KeyReferences } from './key-references.js';
import { Lease } from './lease.js';
import { USERS } from './lifecycle.js';
import { Member, reasonsOf, statusOf } from './member.js';
import { Membership, type MembershipOptions } from './membership.js';
import type { Eni } from './network.js';
import { RecordChanges } from './record-changes.js';
import { Replicator } from './replicator.js';
import { RestoreSource, type OpenedBackup } from './restoring.js';
import { Rising, type Repair } from './rising.js';
import type { Secrets } from './secrets.js';
import { StoreAge } from './store-age.js';
import { UnknownCopies } from './unknown-copies.js';
import { Upkeep } from './upkeep.js';
import { UserKeys } from './user-keys.js';
import { UserObjects } from './user-objects.js';

/** One HSM alone gets so many times longer before the others are not waited for. */
const SCARCE_FACTOR = 3;

/** What an HSM says to who may not log in. */
const REFUSALS: ReadonlySet<string> = new Set([
  'HsmCredentialsRefused',
  'HsmMfaRequired',
  'HsmUserLocked',
  'HsmUserNotFound',
]);

export interface RunningClusterOptions {
  readonly home: Home;
  readonly store: Store;
  readonly secrets: Secrets;
  readonly log: Logger;
  /** an HSM's state changed; undefined: it left the cluster */
  readonly changed: (hsm: HsmId, state: HsmState | undefined) => void;
  /** an HSM was compared with the ledger, and there was something to repair or to report */
  readonly repaired: (hsm: HsmId, repair: Repair) => void;
  /** between rounds of server-side synchronisation */
  readonly syncMs?: number | undefined;
  /** HSMs take faults on demand, for tests */
  readonly faults: boolean;
  /** a backup that the cluster is restored from */
  readonly openBackup: (id: BackupId) => Promise<OpenedBackup>;
  /** an HSM joined or left while others serve: it is time for a backup */
  readonly reshaped: () => void;
  /** an ENI that no HSM has */
  readonly freeEni: (taken: readonly Eni[]) => Promise<Eni>;
}

/** A cluster while this daemon runs it: its HSMs, and the work that spans them. */
export class RunningCluster implements AsyncDisposable {
  readonly id: ClusterId;
  readonly vault: ClusterVault;
  readonly facts: ClusterFacts;
  readonly #options: RunningClusterOptions;
  readonly #log: Logger;
  readonly ledger: KeyLedger;
  readonly replicator: Replicator;
  readonly #rising: Rising;
  readonly membership: Membership;
  readonly records: RecordChanges;
  readonly unknown: UnknownCopies;
  readonly keys: UserKeys;
  readonly objects: UserObjects;
  /** undefined unless the daemon was started with faults */
  readonly faults: FaultDesk | undefined;
  readonly #sessions: ClusterSession[] = [];
  readonly #upkeep: Upkeep;
  readonly #age: StoreAge;
  #members: readonly Member[] = [];
  /** attempts that stood unfinished in the store when it was opened */
  #left: HsmKeyId[] = [];
  #record: ClusterRecord;

  private constructor(
    options: RunningClusterOptions,
    parts: { record: ClusterRecord; facts: ClusterFacts; ledger: KeyLedger; kms: string | null },
  ) {
    this.#options = options;
    this.#log = options.log;
    this.#record = parts.record;
    this.id = parts.record.id;
    this.facts = parts.facts;
    this.ledger = parts.ledger;
    const members = (): readonly Member[] => this.#members;
    const report = (member: Member, reason: string): void => this.#upkeep.report(member, reason);
    const faults = options.faults ? new FaultDesk(members) : undefined;
    this.faults = faults;
    const step = faults && ((name: StepName): Promise<void> => faults.step(name));
    const { id } = this;
    const { facts: store, ledger } = parts;
    const { home, secrets, log, repaired, freeEni, syncMs } = options;
    const record = (): ClusterRecord => this.#record;
    const needed = (): number => this.#record.availability;
    const epoch = (): number => this.#record.epoch;
    const common = { id, facts: store, secrets, ledger, members, record, log, step, syncMs };
    const replicator = new Replicator({ ...common, needed, epoch, repair: report });
    const changed = (now: ClusterRecord): void => void (this.#record = now);
    this.#age = new StoreAge({ store: options.store, record, log });
    const age = this.#age;
    const source = new RestoreSource(() => this.#record.restoreFrom, options.openBackup);
    const backup = (): Promise<OpenedBackup | undefined> => source.open();
    const rising = new Rising({ ...common, replicator, age, changed, repaired, backup });
    const worked = { ...common, replicator, rising, age };
    const records = new RecordChanges({ ...worked, needed, repair: report });
    this.records = records;
    const references = new KeyReferences(options.store, id, record);
    const stampAt = (revision: number): number => age.stampAt(revision);
    this.keys = new UserKeys({ ...worked, references, records, store: options.store, stampAt });
    this.objects = new UserObjects({ ...worked, records, keys: this.keys });
    this.unknown = new UnknownCopies(worked);
    const lease = new Lease(options.store, id);
    this.replicator = replicator;
    this.#rising = rising;
    this.#upkeep = new Upkeep({ ...worked, records, lease, needed });
    const adopt: MembershipOptions['adopt'] = (change) => this.#changeMembers(change);
    const { reshaped } = options;
    this.membership = new Membership({ ...worked, home, freeEni, adopt, reshaped });
    // in a cluster of somebody else, the user that KMS works as is not made by us
    const session = this.#newSession(USERS.kms, parts.kms ?? '');
    if (parts.kms !== null) this.#sessions.push(session);
    this.vault = new ClusterVault({
      id,
      session,
      replicator,
      ledger,
      stampAt,
    });
  }

  static async open(options: RunningClusterOptions, id: ClusterId): Promise<RunningCluster> {
    const facts = new ClusterFacts(options.store, id);
    let hear = (_ids: readonly HsmKeyId[]): void => undefined;
    const record = await facts.cluster();
    const isOwn = record.origin === 'installation';
    const [hsms, ledger, kms] = await Promise.all([
      facts.hsms(),
      KeyLedger.open(options.store, id, (ids) => hear(ids)),
      isOwn ? options.secrets.passwordOf(id, USERS.kms) : null,
    ]);
    const cluster = new RunningCluster(options, { record, facts, ledger, kms });
    hear = (ids) => cluster.#upkeep.changed(ids);
    cluster.#members = hsms.map((hsm) => cluster.#adopt(new Member(hsm, record.epoch)));
    await cluster.membership.finishRemovals();
    for (const [key, { state }] of ledger.all()) if (state === 'intent') cluster.#left.push(key);
    return cluster;
  }

  /** Whether this daemon is the one that does the cluster's jobs. */
  leads(): Promise<boolean> {
    return this.#upkeep.leads();
  }

  /** How far the store has come, as keys' records say it. */
  stamp(): Promise<number> {
    return this.#age.now();
  }

  get record(): ClusterRecord {
    return this.#record;
  }

  get members(): readonly Member[] {
    return this.#members;
  }

  /** creates that run or wait */
  get creates(): number {
    return this.replicator.depth;
  }

  /**
   * Starts the HSMs that the operator wants to run. What an earlier daemon left of the others is
   * ended: nobody would ask a paused process to end.
   */
  async start(): Promise<void> {
    const { home } = this.#options;
    const resting = this.#members.filter(({ supervisor }) => supervisor.intent !== 'run');
    const starting = this.#members.filter(({ supervisor }) => supervisor.intent === 'run');
    this.#age.expect(starting.map(({ id }) => id));
    for (const { supervisor } of this.#members) supervisor.start();
    this.#upkeep.start();
    await Promise.all(resting.map(({ id }) => endLeftover(join(home.hsms, id))));
  }

  /**
   * Waits until every HSM that is to run serves, or `settleMs` after the first enough do. Where
   * some serve but not enough for a new key, the keys that are can be worked with.
   * @throws KeyspanError KeyspanDeadlineExceeded when none serves by the deadline, KeyspanRefused
   * when none ever will, or when `signal` is aborted
   */
  async ready(options: {
    timeoutMs: number;
    settleMs: number;
    signal: AbortSignal;
  }): Promise<void> {
    const { timeoutMs, settleMs, signal } = options;
    const deadline = deadlineIn(timeoutMs);
    let settled = Infinity;
    for (;;) {
      const wanted = this.#members.filter(({ supervisor }) => supervisor.intent === 'run');
      const active = wanted.filter((member) => member.channel).length;
      if (active === wanted.length) return;
      const isScarce = active < this.#record.availability;
      // a cluster without its key is to make one, and that takes enough of them
      if (active > 0 && !(isScarce && this.#record.clusterKey === null)) {
        const patienceMs = isScarce ? SCARCE_FACTOR * settleMs : settleMs;
        settled = Math.min(settled, deadlineIn(patienceMs));
        if (hasPassed(settled)) return;
      }
      if (wanted.every(({ supervisor }) => supervisor.failures >= HOPELESS_FAILURES)) {
        throw new KeyspanError(
          'KeyspanRefused',
          `No HSM can serve. ${reasonsOf(wanted)} ${NO_NEW_KEYS}`,
        );
      }
      if (hasPassed(deadline)) {
        throw new KeyspanError('KeyspanDeadlineExceeded', 'the HSMs did not come up in time');
      }
      await pause(3, signal);
      if (signal.aborted) throw new KeyspanError('KeyspanRefused', 'The start was called off.');
    }
  }

  #changeMembers(change: { record: ClusterRecord; join?: HsmRecord; leave?: HsmId }): void {
    const { record, join: joiner, leave } = change;
    this.#record = record;
    this.#members = this.#members.filter(({ id }) => id !== leave);
    for (const member of this.#members) member.epoch = record.epoch;
    if (leave) {
      for (const session of this.#sessions) session.unseat(leave);
      this.replicator.dismissed(leave);
      this.#options.changed(leave, undefined);
    }
    if (!joiner) return;
    const member = this.#adopt(new Member(joiner, record.epoch));
    this.#members = [...this.#members, member];
    member.supervisor.start();
  }

  #adopt(member: Member): Member {
    member.supervisor = new Supervisor({
      id: member.id,
      intent: member.record.intent,
      log: this.#log,
      launch: () => this.#launch(member),
      found: (serial) => this.#found(member, serial),
      rise: (channel) => this.#rise(member, channel),
      joined: () => member.record.joined,
      changed: (state) => {
        if (state === 'ACTIVE') {
          member.isNew = false;
          this.#upkeep.sweep();
        }
        this.#options.changed(member.id, state);
      },
    });
    return member;
  }

  async #launch(member: Member): Promise<Launch> {
    const { home, secrets } = this.#options;
    const { soPin, userPin } = await secrets.pins(this.id, member.id);
    const { founder, founded } = this.#record;
    return {
      hsm: member.id,
      cluster: familyOf(this.#record),
      boot: newBootId(),
      directory: join(home.hsms, member.id),
      socket: join(home.runtime, `${member.id}.sock`),
      log: join(home.logs, `${member.id}.log`),
      audit: hsmAuditPath(home, member.id),
      serial: member.record.serial,
      ...(member.id === founder && !founded && { founds: true }),
      ...(this.#record.mode === 'FIPS' && { fips: true }),
      ...(this.faults && { faults: this.faults.takeNext() }),
      soPin: soPin.toString('base64'),
      userPin: userPin.toString('base64'),
    };
  }

  async #found(member: Member, serial: string): Promise<void> {
    if (member.record.serial === serial) return;
    member.record = await this.facts.changeHsm(member.id, (hsm) => ({ ...hsm, serial }));
  }

  #rise(member: Member, channel: Channel): Promise<void> {
    return this.#rising.rise(member, channel, async () => {
      await Promise.all(this.#sessions.map((session) => this.#seat(session, member, channel)));
    });
  }

  /**
   * A user who is not on this HSM works on the others. Where the login came to no end the HSM is
   * started anew: it would count as active and serve nobody.
   */
  async #seat(session: ClusterSession, member: Member, channel: Channel): Promise<void> {
    try {
      await session.seat(member, channel);
    } catch (error) {
      if (!isKeyspanError(error) || !REFUSALS.has(error.code)) throw error;
      this.#log.warn({ err: error, hsm: member.id }, 'a user could not be logged in');
    }
  }

  #openSession(...user: UserLogin): ClusterSession {
    const session = this.#newSession(...user);
    this.#sessions.push(session);
    return session;
  }

  #newSession(...[username, password, mfa]: UserLogin): ClusterSession {
    return new ClusterSession({
      username,
      password,
      mfa,
      // what KMS asks takes microseconds
      fillTo: username === USERS.kms ? LIMITS.vault_fill_max : 0,
      members: () => this.#members,
      lacking: (key) => this.replicator.lacking(key),
      report: (member, reason, requestId) => this.#upkeep.report(member, reason, requestId),
    });
  }

  /**
   * Logs an HSM user in on every HSM that serves, and on those that come; `logout` ends it.
   * @throws what the HSMs answered when none let the user in
   */
  async login(...user: UserLogin): Promise<ClusterSession> {
    const session = this.#openSession(...user);
    const seats = this.#members.flatMap((member) =>
      member.channel ? session.seat(member, member.channel) : [],
    );
    const outcomes = await Promise.allSettled(seats);
    if (session.size > 0) return session;
    this.logout(session);
    const refusal = outcomes.find((outcome) => outcome.status === 'rejected');
    throw refusal?.reason ?? new KeyspanError('VaultUnavailable');
  }

  /** The password is forgotten; the HSMs forget the session with its seats. */
  logout(session: ClusterSession): void {
    const at = this.#sessions.indexOf(session);
    if (at >= 0) this.#sessions.splice(at, 1);
    session.logout();
  }

  /** What is where, and whether all is as the ledger says. */
  check(repair: boolean): Promise<ClusterCheck> {
    return this.#upkeep.check(repair);
  }

  /**
   * The store is older than what a token saw; nothing is repaired or destroyed until it is
   * adopted.
   */
  get isStoreBehind(): boolean {
    return this.#age.isBehind;
  }

  /**
   * The operator takes the store as it is. What it does not know is kept on the tokens as
   * unknown; attempts that it shows as
   * unfinished may have been finished in its future, so they are forgotten and not destroyed.
   */
  async adoptStore(): Promise<void> {
    for (const id of this.#left) await this.ledger.drop(id);
    this.#left = [];
    const adoption = this.#age.nextAdoption();
    await this.changeRecord((record) => ({ ...record, adoption }));
    this.#age.adopted();
    await this.#upkeep.round();
  }

  /**
   * Gives up the attempts of a daemon that is gone: their askers will never commit them. Not
   * while the store is an old copy, in
   * which an attempt that was finished long since may still look like one.
   */
  async abandonLeftIntents(): Promise<void> {
    await this.#age.settled();
    if (this.#age.isBehind) return;
    for (const id of this.#left) await this.ledger.abandon(id);
    this.#left = [];
    this.#upkeep.sweep();
  }

  /** Makes the key behind the cluster's certificate. */
  async makeClusterKey(): Promise<HsmKeyId> {
    return await makeClusterKey(this.#members, this.replicator, this.#options.store);
  }

  /** The cluster's private key (PKCS #8), from any member that holds it; the caller wipes it. */
  async clusterKey(id: HsmKeyId): Promise<Uint8Array> {
    return await readClusterKey(this.#members, id);
  }

  async changeRecord(change: (record: ClusterRecord) => ClusterRecord): Promise<ClusterRecord> {
    return (this.#record = await this.facts.changeCluster(change));
  }

  member(id: string): Member {
    const member = this.#members.find((one) => one.id === id);
    if (!member) throw new KeyspanError('KeyspanUsage', `there is no HSM ${id}`);
    return member;
  }

  /**
   * What the operator wants of an HSM. It is written down first, because it outlives the
   * daemon.
   */
  async want(id: string, intent: Intent): Promise<void> {
    const member = this.member(id);
    member.record = await this.facts.changeHsm(member.id, (hsm) => ({ ...hsm, intent }));
    member.supervisor.want(intent);
  }

  crash(id: string): void {
    this.member(id).supervisor.crash();
  }

  async status(): Promise<HsmStatus[]> {
    return await Promise.all(this.#members.map((member) => statusOf(member)));
  }

  /** What was changed since the last round is told to the tokens, if they are there to hear it. */
  async #noteAge(): Promise<void> {
    const reachable = this.#members.filter((member) => member.isReachable);
    const notes = Promise.allSettled(reachable.map((member) => this.#age.note(member)));
    const deadline = deadlineIn(LIMITS.status_timeout_ms);
    await within(notes, deadline, 'notes of the store').catch(() => undefined);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#noteAge();
    // repairs end with the channels that they use
    const upkeep = this.#upkeep[Symbol.asyncDispose]();
    await Promise.all(this.#members.map(({ supervisor }) => supervisor[Symbol.asyncDispose]()));
    await upkeep;
    await this.ledger[Symbol.asyncDispose]();
  }
}

/** Failures in a row after which a start is given up when it is so for all HSMs. */
const HOPELESS_FAILURES = 3;

const NO_NEW_KEYS = 'Masking keys are never made anew over a cluster that exists.';
