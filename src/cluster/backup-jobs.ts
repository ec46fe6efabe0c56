import { deadlineIn, hasPassed, pause, remainingMs, type Deadline } from '../core/deadline.js';
import { KeyspanError } from '../core/errors.js';
import type { BackupId, ClusterId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import type { Logger } from '../core/log.js';
import { TaskQueue } from '../core/queue.js';
import type { Store } from '../store/store.js';
import {
  BACKUP_INTERVAL_MS,
  NEW_BACKUP,
  expired,
  latestOf,
  surplus,
  type BackupRecord,
} from './backup-record.js';
import type { Backups } from './backups.js';
import { dueAt, isActivated } from './cluster-states.js';
import type { RunningCluster } from './running-cluster.js';
import type { Secrets } from './secrets.js';
import { takeBackup } from './taking.js';

export interface BackupJobsOptions {
  readonly backups: Backups;
  readonly clusters: () => readonly RunningCluster[];
  readonly store: Store;
  readonly secrets: Secrets;
  /** civil time, in milliseconds since 1970 */
  readonly civil: () => number;
  /** of the times that steps take at AWS */
  readonly timeScale: number;
  readonly log: Logger;
}

/**
 * Takes the backups that nobody asks for: when a cluster is activated, when an HSM joined or left,
 * and once a day; and ends those that nothing keeps. A time that passed while no daemon ran is made
 * up for. Only the daemon that leads a cluster does it.
 */
export class BackupJobs implements AsyncDisposable {
  readonly #options: BackupJobsOptions;
  readonly #closing = new AbortController();
  readonly #turns = new Map<ClusterId, TaskQueue>();
  readonly #wanted = new Set<ClusterId>();
  /** when something happened to a cluster last */
  readonly #stirred = new Map<ClusterId, Deadline>();
  /** clusters whose backup failed: how long they are left alone, longer each time */
  readonly #resting = new Map<ClusterId, { readonly ms: number; readonly until: Deadline }>();
  #awake = new AbortController();
  #work: Promise<void> = Promise.resolve();

  constructor(options: BackupJobsOptions) {
    this.#options = options;
  }

  start(): void {
    for (const { id } of this.#options.clusters()) this.#stirred.set(id, deadlineIn(0));
    this.#work = this.#walk();
  }

  /**
   * Something happened to the cluster that a backup follows, once it is calm again: what comes
   * together is one, and a backup does not hold up what follows an activation.
   */
  want(cluster: ClusterId): void {
    this.#wanted.add(cluster);
    this.#stirred.set(cluster, deadlineIn(0));
    this.#awake.abort();
  }

  /** Civil time was moved: what it says of backups is looked at now. */
  wake(): void {
    this.#awake.abort();
  }

  /**
   * A backup of all that lives now. Where no HSM can give it, the latest one will do if it holds
   * every live key.
   * @throws KeyspanError KeyspanRefused when there is no such backup
   */
  async takeWhole(cluster: RunningCluster): Promise<BackupId> {
    const { backups, log } = this.#options;
    try {
      const { record, lost } = await this.#take(cluster);
      if (lost === 0) return record.id;
      // it is tried again and again, and none of these is what was asked for
      await backups.remove(record.id);
    } catch (error) {
      log.warn({ err: error, cluster: cluster.id }, 'no backup could be taken');
    }
    const latest = latestOf(cluster.id, backups.present());
    if (latest && (await this.#holdsAll(latest, cluster))) return latest.id;
    throw new KeyspanError('KeyspanRefused', 'No backup holds every key of the cluster.');
  }

  async #holdsAll({ id }: BackupRecord, { ledger }: RunningCluster): Promise<boolean> {
    const { keys } = await this.#options.backups.read(id);
    await ledger.current();
    return [...ledger.all()].every(([key, { state }]) => state !== 'live' || keys.has(key));
  }

  async #walk(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      this.#awake = new AbortController();
      const either = AbortSignal.any([this.#awake.signal, signal]);
      for (const cluster of this.#options.clusters()) {
        if (signal.aborted) return;
        await this.#serve(cluster);
      }
      await this.#purge().catch((error: unknown) => {
        this.#options.log.warn({ err: error }, 'old backups could not be removed');
      });
      const isStirred = this.#options
        .clusters()
        .some((one) => this.#canBe(one) && !isCalm(one, this.#stirred.get(one.id)));
      const { backup_look_interval_ms: later, backup_calm_look_ms: soon } = LIMITS;
      await pause(isStirred ? soon : later, either);
    }
  }

  async #serve(cluster: RunningCluster): Promise<void> {
    const { log } = this.#options;
    const { id } = cluster;
    try {
      if (!isActivated(cluster.record)) this.#wanted.delete(id);
      if (!this.#isDue(cluster) || !(await cluster.leads())) return;
      this.#wanted.delete(id);
      await this.#take(cluster);
      this.#resting.delete(id);
    } catch (error) {
      if (this.#closing.signal.aborted) return;
      log.warn({ err: error, cluster: id }, 'a backup could not be taken, and is tried again');
      this.#wanted.add(id);
      const doubled = 2 * (this.#resting.get(id)?.ms ?? LIMITS.backup_retry_first_ms / 2);
      const ms = Math.min(doubled, LIMITS.backup_retry_max_ms);
      this.#resting.set(id, { ms, until: deadlineIn(ms) });
    }
  }

  #canBe({ id, record, members }: RunningCluster): boolean {
    const resting = this.#resting.get(id);
    return (
      isActivated(record) &&
      record.certificate !== null &&
      record.restoreFrom === null &&
      members.some(({ channel }) => channel) &&
      (resting === undefined || hasPassed(resting.until))
    );
  }

  #isDue(cluster: RunningCluster): boolean {
    const { backups, civil } = this.#options;
    const { id } = cluster;
    if (!this.#canBe(cluster) || !isCalm(cluster, this.#stirred.get(id))) return false;
    if (this.#wanted.has(id)) return true;
    const latest = latestOf(id, backups.present());
    return !latest || civil() >= latest.createdMs + BACKUP_INTERVAL_MS;
  }

  #take(cluster: RunningCluster): Promise<{ record: BackupRecord; lost: number }> {
    let turns = this.#turns.get(cluster.id);
    if (!turns) {
      turns = new TaskQueue({ concurrent: 1, waiting: 16, refusal: 'KeyspanRefused' });
      this.#turns.set(cluster.id, turns);
    }
    return turns.run(() => this.#takeNow(cluster));
  }

  async #takeNow(cluster: RunningCluster): Promise<{ record: BackupRecord; lost: number }> {
    const { backups, store, secrets, civil, timeScale, log } = this.#options;
    await this.#makeRoom(cluster.id);
    const nowMs = Math.floor(civil());
    const { account, region, retentionDays, hsmType, mode } = cluster.record;
    const of = {
      ...NEW_BACKUP,
      account,
      region,
      retentionDays,
      hsmType,
      mode,
      cluster: cluster.id,
      createdMs: nowMs,
    };
    let lost = 0;
    const record = await backups.add(
      of,
      async (id) => {
        const path = backups.pathOf(id);
        const sealing = backups.sealingOf(id);
        const { recovery } = backups;
        const { signal } = this.#closing;
        const what = { cluster, recovery, secrets, store, path, sealing, nowMs, signal, log };
        await cluster.faults?.step('backup.begun');
        lost = (await takeBackup(what)).length;
        await cluster.faults?.step('backup.written');
      },
      dueAt('backup', nowMs, timeScale),
    );
    log.info({ cluster: cluster.id, backup: record.id }, 'a backup was taken');
    return { record, lost };
  }

  /** A cluster has a bounded number of them. */
  async #makeRoom(cluster: ClusterId): Promise<void> {
    const { backups } = this.#options;
    const own = backups.present().filter((one) => one.cluster === cluster);
    const room = LIMITS.backups_per_cluster_max - 1;
    for (const { id } of surplus(own, room, this.#needed())) await backups.remove(id);
  }

  /** What clusters without HSMs are to be restored from. */
  #needed(): ReadonlySet<BackupId | null> {
    return new Set(this.#options.clusters().map(({ record }) => record.restoreFrom));
  }

  async #purge(): Promise<void> {
    const { backups, clusters, civil, log } = this.#options;
    const daysOf = (cluster: ClusterId): number | undefined =>
      clusters().find(({ id }) => id === cluster)?.record.retentionDays;
    const needed = this.#needed();
    for (const { id } of expired(backups.all(), civil(), daysOf)) {
      if (needed.has(id)) continue;
      try {
        await backups.remove(id);
      } catch (error) {
        log.warn({ err: error, backup: id }, 'a backup could not be removed');
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    await this.#work;
  }
}

/** Nothing happened for a moment, and no HSM is on its way to join. */
function isCalm({ members }: RunningCluster, stirred: Deadline | undefined): boolean {
  if (stirred === undefined) return true;
  const sinceMs = -remainingMs(stirred);
  const isJoining = members.some(({ record, channel }) => !record.joined && !channel);
  return sinceMs >= (isJoining ? LIMITS.backup_patience_ms : LIMITS.backup_calm_ms);
}
