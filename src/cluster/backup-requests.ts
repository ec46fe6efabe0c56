import { KeyspanError, isKeyspanError } from '../core/errors.js';
import { isBackupId } from '../core/ids.js';
import {
  DELETION_GRACE_MS,
  isWhole,
  shownBackupState,
  type BackupRecord,
} from './backup-record.js';
import type { Backups } from './backups.js';
import { dueAt } from './cluster-states.js';
import type { RunningCluster } from './running-cluster.js';

export interface BackupRequestsOptions {
  readonly backups: Backups;
  /** the clusters that are there */
  readonly clusters: () => readonly RunningCluster[];
  /** civil time, in milliseconds since 1970 */
  readonly civil: () => number;
  /** of the times that steps take at AWS */
  readonly timeScale: number;
}

/** What users ask of backups, by CloudHSM's API and by the operator's. */
export class BackupRequests {
  readonly #options: BackupRequestsOptions;

  constructor(options: BackupRequestsOptions) {
    this.#options = options;
  }

  /** Those that are there, whoever owns them. */
  present(): BackupRecord[] {
    return this.#options.backups.present();
  }

  find(id: string): BackupRecord | undefined {
    return isBackupId(id) ? this.present().find((record) => record.id === id) : undefined;
  }

  /**
   * A copy in another region, which nothing ends but its owner.
   * @throws KeyspanError CloudHsmInvalidRequestException
   */
  async copy(record: BackupRecord, region: string): Promise<BackupRecord> {
    const { backups, civil, timeScale } = this.#options;
    this.#mustBe(record, 'READY');
    if (region === record.region) throw refused(`Backup '${record.id}' is in ${region} already.`);
    try {
      return await backups.copy(record, region, dueAt('backup', civil(), timeScale));
    } catch (error) {
      if (!isKeyspanError(error, 'KeyspanBackupRefused')) throw error;
      throw refused(`Backup '${record.id}' cannot be copied: ${error.message}.`, error);
    }
  }

  /**
   * It is gone after seven days, and can be had back until then.
   * @throws KeyspanError CloudHsmInvalidRequestException, also for what a cluster is to be restored
   * from
   */
  async delete(record: BackupRecord): Promise<BackupRecord> {
    const { backups, civil } = this.#options;
    this.#mustBe(record, 'READY');
    const needing = this.#needing(record);
    if (needing) {
      const because = `cluster '${needing.id}', which has no HSM, is restored from it`;
      throw refused(`Backup '${record.id}' cannot be deleted: ${because}.`);
    }
    const deleteMs = Math.floor(civil() + DELETION_GRACE_MS);
    return await backups.change(record.id, (now) => ({ ...now, deleteMs }));
  }

  #needing({ id }: BackupRecord): RunningCluster | undefined {
    return this.#options.clusters().find(({ record }) => record.restoreFrom === id);
  }

  /** @throws KeyspanError CloudHsmInvalidRequestException */
  async restore(record: BackupRecord): Promise<BackupRecord> {
    this.#mustBe(record, 'PENDING_DELETION');
    return await this.#options.backups.change(record.id, (now) => ({ ...now, deleteMs: null }));
  }

  /** Whether the retention policy lets it be. @throws KeyspanError as `restore` */
  async keep(record: BackupRecord, neverExpires: boolean): Promise<BackupRecord> {
    this.#mustBe(record, 'READY');
    return await this.#options.backups.change(record.id, (now) => ({ ...now, neverExpires }));
  }

  /** Who else may use it; null: nobody. @throws KeyspanError as `restore` */
  async share(record: BackupRecord, policy: string | null): Promise<BackupRecord> {
    if (policy !== null) this.#mustBe(record, 'READY');
    return await this.#options.backups.change(record.id, (now) => ({ ...now, policy }));
  }

  /** To a file that only the passphrase opens. @throws KeyspanError */
  async exportTo(id: string, path: string, passphrase: string): Promise<BackupRecord> {
    const record = this.find(id);
    if (!record || !isWhole(record)) {
      throw new KeyspanError('KeyspanUsage', `there is no backup ${id}`);
    }
    await this.#options.backups.exportTo(record.id, path, passphrase);
    return record;
  }

  /** @throws KeyspanError KeyspanBackupRefused */
  async importFrom(
    path: string,
    passphrase: string,
    place: { readonly account: string; readonly region: string },
  ): Promise<BackupRecord> {
    return await this.#options.backups.importFrom(path, passphrase, place);
  }

  #mustBe(record: BackupRecord, wanted: 'READY' | 'PENDING_DELETION'): void {
    const state = shownBackupState(record, this.#options.civil());
    if (state !== wanted) throw refused(`Backup '${record.id}' is in state ${state}.`);
  }
}

const refused = (sentence: string, cause?: unknown): KeyspanError =>
  new KeyspanError('CloudHsmInvalidRequestException', sentence, { cause });
