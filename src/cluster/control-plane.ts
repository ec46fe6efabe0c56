import { deadlineIn, hasPassed, pause } from '../core/deadline.js';
import { KeyspanError, isKeyspanError } from '../core/errors.js';
import { newEniId, type BackupId, type ClusterId, type HsmId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import type { Logger } from '../core/log.js';
import type { Store } from '../store/store.js';
import { shownBackupState, type BackupRecord } from './backup-record.js';
import type { BackupJobs } from './backup-jobs.js';
import type { Backups } from './backups.js';
import { claim, prepareClaim, type Claim } from './claiming.js';
import { ROLLBACK_MS, dueAt, isActivated, shownState } from './cluster-states.js';
import type { Clusters } from './clusters.js';
import type { ClusterRecord } from './cluster.js';
import { unfounded } from './lifecycle.js';
import { writeNew, writeRestored } from './creation.js';
import type { Member } from './member.js';
import { newHsm } from './membership.js';
import type { OpenedBackup } from './restoring.js';
import type { RunningCluster } from './running-cluster.js';
import type { Secrets } from './secrets.js';
import type { Place, Subnets } from './subnets.js';

/** What an account may have in a region (CloudHSM User Guide, quotas). */
export interface Quotas {
  readonly clusters: number;
  readonly hsms: number;
}

export interface ControlPlaneOptions {
  readonly clusters: Clusters;
  readonly subnets: Subnets;
  readonly backups: Backups;
  readonly jobs: Pick<BackupJobs, 'want' | 'takeWhole'>;
  readonly store: Store;
  readonly secrets: Secrets;
  /** civil time, in milliseconds since 1970 */
  readonly civil: () => number;
  /** of the times that steps take at AWS: 0 for none, 1 for as long */
  readonly timeScale: number;
  readonly quotas: Quotas;
  /** AWS makes no new clusters of hsm1.medium */
  readonly allowsHsm1: boolean;
  /** a cluster has a certificate from now on */
  readonly claimed: (cluster: ClusterId) => void;
  readonly log: Logger;
}

/** What CreateCluster asks for. */
export interface WantedCluster extends Place {
  readonly hsmType: string;
  readonly subnetIds: readonly string[];
  readonly retentionDays: number;
  /** a new cluster's is FIPS unless it is given, another's that of its backup */
  readonly mode?: 'FIPS' | 'NON_FIPS' | undefined;
  /** what it is made from */
  readonly source?: BackupRecord | undefined;
  readonly networkType: 'IPV4' | 'DUALSTACK';
}

const HSM1 = 'hsm1.medium';
const HSM2 = 'hsm2m.medium';
/** civil time can be moved: nobody sleeps longer than this without looking */
const LOOK_MS = 500;

/** The life of clusters as CloudHSM's API leads it. */
export class ControlPlane implements AsyncDisposable {
  readonly #options: ControlPlaneOptions;
  readonly #closing = new AbortController();
  /** HSMs on their way out, and clusters that are gone */
  readonly #work = new Map<string, Promise<void>>();
  /** what counts clusters and HSMs happens one after the other */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: ControlPlaneOptions) {
    this.#options = options;
    for (const cluster of options.clusters.all) {
      for (const { id, record } of cluster.members) {
        if (record.leaveMs !== null) this.#begin(id, () => this.#remove(cluster, id));
      }
    }
  }

  /** An HSM of a caller's cluster serves: the first one lets the cluster be claimed. */
  hsmServes(id: ClusterId): void {
    const cluster = this.#options.clusters.get(id);
    if (!cluster || cluster.record.origin === 'installation') return;
    if (cluster.record.ceremony ?? cluster.record.certificate) return;
    this.#begin(`claim ${id}`, () => prepareClaim(cluster, this.#options.secrets));
  }

  /** The operator signed the cluster. @throws KeyspanError CloudHsmInvalidRequestException */
  async initialize(cluster: RunningCluster, signed: Claim): Promise<void> {
    const { civil, timeScale } = this.#options;
    const nowMs = civil();
    const { record } = cluster;
    const state = shownState(record, nowMs);
    if (state !== 'UNINITIALIZED') throw wrongState(record, state);
    const dueMs = dueAt('initialize', nowMs, timeScale);
    const initialized = (now: ClusterRecord): ClusterRecord => ({
      ...now,
      state: 'INITIALIZE_IN_PROGRESS',
      dueMs,
    });
    await claim(cluster, signed, initialized, nowMs);
    this.#options.claimed(cluster.id);
  }

  /** The admin of a cluster has a password of their own; the API shows it a while later. */
  async activated(id: ClusterId): Promise<void> {
    const { civil, timeScale } = this.#options;
    const cluster = this.named(id);
    const dueMs = dueAt('activate', civil(), timeScale);
    await cluster.changeRecord((now) =>
      isActivated(now) ? now : { ...now, state: 'ACTIVE', dueMs },
    );
    this.#options.jobs.want(id);
  }

  /**
   * The cluster of this id; without one the installation's own, or the only one that there is.
   * @throws KeyspanError KeyspanUsage
   */
  named(id: string | undefined): RunningCluster {
    const present = this.present();
    const { own } = this.#options.clusters;
    const found = id === undefined ? own : present.find((cluster) => cluster.id === id);
    if (found) return found;
    if (id !== undefined) throw new KeyspanError('KeyspanUsage', `there is no cluster ${id}`);
    const [only] = present;
    if (only && present.length === 1) return only;
    const which = present.length === 0 ? 'there is no cluster' : 'name the cluster';
    throw new KeyspanError('KeyspanUsage', which);
  }

  /** The clusters that are there now; those whose deletion is over are not. */
  present(): RunningCluster[] {
    const nowMs = this.#options.civil();
    return this.#options.clusters.all.filter((cluster) => {
      if (shownState(cluster.record, nowMs) !== 'DELETED') return true;
      const { id } = cluster;
      this.#begin(id, () => this.#options.clusters.erase(id));
      return false;
    });
  }

  /** @throws KeyspanError CloudHsmInvalidRequestException */
  create(wanted: WantedCluster): Promise<RunningCluster> {
    return this.#inTurn(() => this.#create(wanted));
  }

  async #create(wanted: WantedCluster): Promise<RunningCluster> {
    const { clusters, subnets, store, secrets, quotas } = this.#options;
    this.#checkType(wanted);
    const { source } = wanted;
    const opened = source && (await this.#sourceOf(wanted, source));
    if (this.#counted(wanted).length >= quotas.clusters) {
      throw refused(`The account has ${quotas.clusters} clusters in ${wanted.region}: its quota.`);
    }
    const found = await subnets.of(wanted, wanted.subnetIds);
    const { civil, timeScale } = this.#options;
    const nowMs = civil();
    const { account, region, hsmType, mode = 'FIPS', networkType, retentionDays } = wanted;
    const of = {
      account,
      region,
      hsmType,
      mode,
      networkType,
      retentionDays,
      nowMs,
      origin: 'caller',
      state: 'CREATE_IN_PROGRESS',
      dueMs: dueAt('createCluster', nowMs, timeScale),
      vpcId: found[0]?.vpcId ?? '',
      subnets: Object.fromEntries(found.map(({ az, id }) => [az, id])),
    } as const;
    const id = opened
      ? await writeRestored(store, secrets, of, opened)
      : await writeNew(store, secrets, of);
    const cluster = await clusters.take(id);
    await cluster.start();
    return cluster;
  }

  /** The backup, whole, if a cluster of this kind may be made from it. */
  async #sourceOf(
    { hsmType, mode }: WantedCluster,
    source: BackupRecord,
  ): Promise<{ readonly id: BackupId; readonly backup: OpenedBackup }> {
    const { id } = source;
    const state = shownBackupState(source, this.#options.civil());
    if (state !== 'READY') throw refused(`Backup '${id}' is in state ${state}.`);
    if (mode !== undefined && mode !== source.mode) {
      throw refused(`Backup '${id}' can be restored in mode ${source.mode} only.`);
    }
    if (hsmType === HSM1 && source.hsmType !== HSM1) {
      throw refused(`Backup '${id}' can be restored on HsmType ${source.hsmType} only.`);
    }
    return { id, backup: await this.#read(id) };
  }

  /** @throws KeyspanError CloudHsmInvalidRequestException when it cannot be used */
  async #read(id: BackupId): Promise<OpenedBackup> {
    try {
      return await this.#options.backups.read(id);
    } catch (error) {
      if (!isKeyspanError(error, 'KeyspanBackupRefused')) throw error;
      throw refused(`Backup '${id}' cannot be restored: ${error.message}.`, error);
    }
  }

  #checkType({ hsmType, mode, networkType }: WantedCluster): void {
    const known = hsmType === HSM2 || (hsmType === HSM1 && this.#options.allowsHsm1);
    if (!known) throw refused('Provided HsmType is not supported.');
    if (hsmType === HSM2) return;
    if (mode === 'NON_FIPS') throw refused(`Mode NON_FIPS needs the HsmType ${HSM2}.`);
    if (networkType === 'DUALSTACK') throw refused(`DUALSTACK needs the HsmType ${HSM2}.`);
  }

  /** those of a caller that count against the quotas */
  #counted({ account, region }: Place): RunningCluster[] {
    return this.present().filter(
      ({ record }) =>
        record.origin === 'caller' && record.account === account && record.region === region,
    );
  }

  /**
   * A new HSM; it comes to serve by itself. @param ip the address that the caller wants
   * @throws KeyspanError CloudHsmInvalidRequestException
   */
  createHsm(cluster: RunningCluster, az: string, ip?: string): Promise<Member> {
    return this.#inTurn(() => this.#createHsm(cluster, az, ip));
  }

  async #createHsm(cluster: RunningCluster, az: string, ip?: string): Promise<Member> {
    const { clusters, subnets, civil, timeScale } = this.#options;
    this.#checkRoom(cluster);
    const { record } = cluster;
    const subnetId = record.subnets[az];
    if (subnetId === undefined) throw refused(`Cluster '${record.id}' has no subnet in ${az}.`);
    // it would be made, and never serve
    if (record.restoreFrom !== null) await this.#read(record.restoreFrom);
    const eni = await subnets.eni(record, subnetId, clusters.takenEnis(), ip);
    const readyMs = dueAt('createHsm', civil(), timeScale);
    const joiner = { ...newHsm({ az, subnetId, eni, eniId: newEniId() }), readyMs };
    await cluster.membership.enter(joiner);
    return cluster.member(joiner.id);
  }

  #checkRoom(cluster: RunningCluster): void {
    const { clusters, quotas, civil } = this.#options;
    const { record, members } = cluster;
    const state = shownState(record, civil());
    if (state !== 'ACTIVE' && members.length > 0) {
      const sentence = 'already contains an HSM but has not yet been fully activated';
      throw refused(`Cluster '${record.id}' ${sentence}`);
    }
    if (state !== 'ACTIVE' && state !== 'UNINITIALIZED') throw wrongState(record, state);
    if (members.length >= LIMITS.hsms_per_cluster_max) {
      throw refused(`A cluster has at most ${LIMITS.hsms_per_cluster_max} HSMs.`);
    }
    const counted = this.#counted(record).reduce((sum, one) => sum + one.members.length, 0);
    if (record.origin === 'caller' && counted >= quotas.hsms) {
      throw refused(`The account has ${quotas.hsms} HSMs in ${record.region}: its quota.`);
    }
    clusters.checkRoom();
  }

  /**
   * An HSM leaves, after the time that this takes.
   * @throws KeyspanError CloudHsmInvalidRequestException
   */
  deleteHsm(cluster: RunningCluster, member: Member): Promise<void> {
    return this.#inTurn(() => this.#deleteHsm(cluster, member));
  }

  async #deleteHsm(cluster: RunningCluster, member: Member): Promise<void> {
    const { civil, timeScale } = this.#options;
    const { id, record } = member;
    if (record.leaveMs !== null) throw refused(`HSM '${id}' is being deleted already.`);
    const staying = cluster.members.filter((one) => one.record.leaveMs === null);
    if (staying.length === 1) this.#checkLast(cluster);
    const leaveMs = dueAt('deleteHsm', civil(), timeScale);
    member.record = await cluster.facts.changeHsm(id, (hsm) => ({ ...hsm, leaveMs }));
    this.#begin(id, () => this.#remove(cluster, id));
  }

  #checkLast(cluster: RunningCluster): void {
    const { record, members } = cluster;
    const isEmpty = members.every((one) => !one.record.joined);
    if (record.restoreFrom !== null && isActivated(record) && !isEmpty) {
      throw refused(`Cluster '${record.id}' is being restored: its HSM cannot be deleted yet.`);
    }
    if (!backsKms(cluster)) return;
    throw refused(`Cluster '${record.id}' backs KMS keys: its last HSM cannot be deleted.`);
  }

  async #remove(cluster: RunningCluster, id: HsmId): Promise<void> {
    const leaveMs = cluster.member(id).record.leaveMs ?? 0;
    if (!(await this.#until(leaveMs))) return;
    const deadline = deadlineIn(LIMITS.join_timeout_ms);
    for (;;) {
      try {
        return await this.#removeNow(cluster, id);
      } catch (error) {
        if (!cluster.members.some((member) => member.id === id)) return;
        // the others may be on their way back, or not have every key yet
        if (hasPassed(deadline)) return await this.#keep(cluster, id, error);
        await pause(LOOK_MS, this.#closing.signal);
        if (this.#closing.signal.aborted) return;
      }
    }
  }

  async #removeNow(cluster: RunningCluster, id: HsmId): Promise<void> {
    const { membership, members, record } = cluster;
    if (!isActivated(record)) return await this.#removeFirst(cluster, id);
    if (members.length > 1) return await membership.remove(id);
    const { restoreFrom } = record;
    // one that never came to be a member has nothing that the backup has not
    const isEmpty = !cluster.member(id).record.joined;
    const save = (): Promise<BackupId> => this.#options.jobs.takeWhole(cluster);
    await membership.retire(id, isEmpty && restoreFrom ? async () => restoreFrom : save);
  }

  async #keep(cluster: RunningCluster, id: HsmId, error: unknown): Promise<void> {
    this.#options.log.warn({ err: error, hsm: id }, 'an HSM could not be deleted, and stays');
    const member = cluster.member(id);
    member.record = await cluster.facts.changeHsm(id, (hsm) => ({ ...hsm, leaveMs: null }));
  }

  /** With the HSM goes the cluster's key; who signs a CSR has to begin again. */
  async #removeFirst(cluster: RunningCluster, id: HsmId): Promise<void> {
    const { clusterKey } = cluster.record;
    const reset = (record: ClusterRecord): ClusterRecord => ({
      ...record,
      state: 'UNINITIALIZED',
      dueMs: null,
      ...unfounded(),
    });
    await cluster.membership.removeLast(id, reset);
    if (clusterKey === null || cluster.record.clusterKey === clusterKey) return;
    await this.#options.store.commit(cluster.ledger.tombstone(clusterKey));
  }

  /** @throws KeyspanError CloudHsmInvalidRequestException while it has HSMs */
  delete(cluster: RunningCluster): Promise<void> {
    return this.#inTurn(() => this.#delete(cluster));
  }

  async #delete(cluster: RunningCluster): Promise<void> {
    const { civil, timeScale } = this.#options;
    const { record, members } = cluster;
    if (backsKms(cluster)) {
      throw refused(`Cluster '${record.id}' backs KMS keys and cannot be deleted.`);
    }
    if (members.length > 0) {
      throw refused(`Cluster '${record.id}' still contains HSMs. Delete them first.`);
    }
    if (record.state === 'DELETE_IN_PROGRESS') throw wrongState(record, record.state);
    const dueMs = dueAt('deleteCluster', civil(), timeScale);
    await cluster.changeRecord((now) => ({ ...now, state: 'DELETE_IN_PROGRESS', dueMs }));
  }

  /** How long backups are kept. */
  async retain(cluster: RunningCluster, retentionDays: number): Promise<void> {
    await cluster.changeRecord((record) => ({ ...record, retentionDays }));
  }

  /**
   * To the newer type, or back to the one that it had, within a day.
   * @throws KeyspanError CloudHsmInvalidRequestException
   */
  async changeType(cluster: RunningCluster, hsmType: string): Promise<void> {
    const { civil, timeScale } = this.#options;
    const { record, members } = cluster;
    const nowMs = civil();
    const state = shownState(record, nowMs);
    if (state !== 'ACTIVE') throw wrongState(record, state);
    if (hsmType === record.hsmType) throw refused(`Cluster '${record.id}' is of that HsmType.`);
    const isBack = hsmType === record.formerHsmType && nowMs < (record.rollbackUntilMs ?? 0);
    const isForth = record.hsmType === HSM1 && hsmType === HSM2;
    if (!isBack && !isForth) throw refused('Provided HsmType is not supported.');
    if (members.length >= LIMITS.hsms_per_cluster_max) {
      throw refused(`The HsmType of ${members.length} HSMs cannot be changed.`);
    }
    const dueMs = dueAt('modifyType', nowMs, timeScale, Math.max(1, members.length));
    await cluster.changeRecord((now) => ({
      ...now,
      hsmType,
      dueMs,
      state: isBack ? 'ROLLBACK_IN_PROGRESS' : 'MODIFY_IN_PROGRESS',
      formerHsmType: isBack ? null : now.hsmType,
      rollbackUntilMs: isBack ? null : Math.floor(nowMs + ROLLBACK_MS),
    }));
  }

  async #until(timeMs: number): Promise<boolean> {
    const { signal } = this.#closing;
    for (;;) {
      if (signal.aborted) return false;
      const leftMs = timeMs - this.#options.civil();
      if (leftMs <= 0) return true;
      await pause(Math.min(leftMs, LOOK_MS), signal);
    }
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(work);
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  #begin(id: string, work: () => Promise<void>): void {
    if (this.#work.has(id) || this.#closing.signal.aborted) return;
    const running = work()
      .catch((error: unknown) => this.#options.log.error({ err: error, id }, 'a step failed'))
      .finally(() => this.#work.delete(id));
    this.#work.set(id, running);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    await Promise.all([this.#turn, ...this.#work.values()]);
  }
}

/** KMS keys have their material in the installation's own cluster. */
const backsKms = ({ record, ledger }: RunningCluster): boolean =>
  record.origin === 'installation' &&
  [...ledger.all()].some(([id, { state }]) => state === 'live' && id !== record.clusterKey);

const refused = (sentence: string, cause?: unknown): KeyspanError =>
  new KeyspanError('CloudHsmInvalidRequestException', sentence, { cause });

const wrongState = ({ id }: { id: ClusterId }, state: string): KeyspanError =>
  refused(`Cluster '${id}' is in state ${state}.`);
