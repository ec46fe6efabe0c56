import { isAbsolute } from 'node:path';
import type { Events } from '../audit/events.js';
import { shownBackupState, type BackupRecord } from '../cluster/backup-record.js';
import type { BackupRequests } from '../cluster/backup-requests.js';
import { KeyspanError } from '../core/errors.js';
import type { BackupStatus } from '../protocol/admin.js';
import type { AdminHandlers } from './admin.js';

export interface BackupActionsOptions {
  readonly backups: BackupRequests;
  readonly events: Events;
  /** civil time, in milliseconds since 1970 */
  readonly civil: () => number;
  /** where an imported backup is to be, unless the operator says otherwise */
  readonly account: string;
  readonly region: string;
}

/** What the operator does with backups; files are read and written by the daemon. */
export function backupHandlers(
  options: BackupActionsOptions,
): Pick<AdminHandlers, 'BackupList' | 'BackupExport' | 'BackupImport'> {
  const { backups, events, civil } = options;
  const statusOf = (record: BackupRecord): BackupStatus => ({
    id: record.id,
    cluster: record.cluster,
    account: record.account,
    region: record.region,
    state: shownBackupState(record, civil()),
    created: new Date(record.createdMs).toISOString(),
  });
  return {
    BackupList: async () => {
      const records = backups.present().toSorted((a, b) => a.createdMs - b.createdMs);
      return { backups: records.map(statusOf) };
    },
    BackupExport: async ({ id, path, passphrase }) => {
      const record = await backups.exportTo(id, absolute(path), passphrase);
      events.operatorEvent({ action: 'backup export', target: id });
      return statusOf(record);
    },
    BackupImport: async ({ path, passphrase, region = options.region }) => {
      const { account } = options;
      const record = await backups.importFrom(absolute(path), passphrase, { account, region });
      events.operatorEvent({ action: 'backup import', target: record.id });
      return statusOf(record);
    },
  };
}

/** The daemon's working directory is not the operator's. */
function absolute(path: string): string {
  if (isAbsolute(path)) return path;
  throw new KeyspanError('KeyspanUsage', 'the path of a file is to be absolute');
}
