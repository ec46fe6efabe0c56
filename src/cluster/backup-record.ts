import type { BackupId, ClusterId } from '../core/ids.js';
import type { CloudHsmBackup } from '../protocol/cloudhsm.js';
import { flag, int, named, nullable, object, oneOf, text, type FormOf } from '../protocol/form.js';
import { decodeValue, encodeValue } from '../store/value.js';
import type { ResourceTag } from './resource-tags.js';

/** The facts of a backup as they stand in the store; what it holds is in its file. */
const VERSION = 1;
const name = named<string>();
/** a moment of civil time, in milliseconds since 1970 */
const moment = int({ min: 0 });

const schema = object({
  v: oneOf(VERSION),
  id: named<BackupId>(),
  account: name,
  region: name,
  /** the cluster that it was taken of; of a copy the first one's */
  cluster: named<ClusterId>(),
  createdMs: moment,
  /** its file is whole, and it is shown as READY from this time on; null: it is being taken */
  readyMs: nullable(moment),
  /** what it was copied from */
  source: nullable(
    object({ region: name, backup: named<BackupId>(), cluster: named<ClusterId>() }),
  ),
  copiedMs: nullable(moment),
  neverExpires: flag,
  /** DeleteBackup was asked for; it is gone at this time */
  deleteMs: nullable(moment),
  /** what its cluster's retention policy said when it was taken */
  retentionDays: int({ min: 7, max: 379 }),
  hsmType: text({ max: 32 }),
  mode: oneOf('FIPS', 'NON_FIPS'),
  /** who else may use it, as PutResourcePolicy got it */
  policy: nullable(text({ max: 20_000 })),
});
export type BackupRecord = Omit<FormOf<typeof schema>, 'v'>;

export const encodeBackup = (record: BackupRecord): Uint8Array => encodeValue(VERSION, record);
export const decodeBackup = (value: Uint8Array): BackupRecord => decodeValue(value, schema);

/** What a backup begins with that was not copied. */
export const NEW_BACKUP = {
  source: null,
  copiedMs: null,
  neverExpires: false,
  deleteMs: null,
  policy: null,
} as const;

export type BackupState = NonNullable<CloudHsmBackup['BackupState']>;

const DAY_MS = 86_400_000;
/** A backup that is deleted can be had back so long (CloudHSM User Guide, managing backups). */
export const DELETION_GRACE_MS = 7 * DAY_MS;
/** A cluster is backed up at least so often. */
export const BACKUP_INTERVAL_MS = DAY_MS;

/** The state of a backup at this moment of civil time. Pure. */
export function shownBackupState(
  { readyMs, deleteMs }: Pick<BackupRecord, 'readyMs' | 'deleteMs'>,
  nowMs: number,
): BackupState {
  if (deleteMs !== null) return nowMs >= deleteMs ? 'DELETED' : 'PENDING_DELETION';
  return readyMs === null || nowMs < readyMs ? 'CREATE_IN_PROGRESS' : 'READY';
}

/** It can be restored from: its file is whole, and nobody deleted it. */
export const isWhole = ({ readyMs, deleteMs }: BackupRecord): boolean =>
  readyMs !== null && deleteMs === null;

/** What the order of backups goes by. */
export type BackupPlace = Pick<BackupRecord, 'id' | 'createdMs'>;

/** The newest first. */
export const newestFirst = (a: BackupPlace, b: BackupPlace): number =>
  b.createdMs - a.createdMs || (a.id < b.id ? 1 : -1);

/** The newest backup that was taken of a cluster and can be restored from; copies do not count. */
export const latestOf = (
  cluster: ClusterId,
  records: readonly BackupRecord[],
): BackupRecord | undefined =>
  records
    .filter((one) => one.cluster === cluster && one.source === null && isWhole(one))
    .toSorted(newestFirst)[0];

/**
 * Those that nothing keeps any more: deleted and out of their grace, or older than their cluster's
 * policy lets them be. The last one of a cluster stays, and so do copies and what never expires.
 * @param daysOf the retention policy of a cluster; undefined: the cluster is gone
 */
export function expired(
  records: readonly BackupRecord[],
  nowMs: number,
  daysOf: (cluster: ClusterId) => number | undefined,
): BackupRecord[] {
  const clusters = new Set(records.map(({ cluster }) => cluster));
  const last = new Set([...clusters].map((cluster) => latestOf(cluster, records)?.id));
  return records.filter((record) => {
    const { id, cluster, source, neverExpires, deleteMs, createdMs, retentionDays } = record;
    if (deleteMs !== null) return nowMs >= deleteMs;
    if (source !== null || neverExpires || last.has(id) || !isWhole(record)) return false;
    return nowMs >= createdMs + (daysOf(cluster) ?? retentionDays) * DAY_MS;
  });
}

/**
 * Of one cluster's backups those that are more than `max`, the oldest first. Copies do not count,
 * and what never expires, is deleted already, or is needed stays.
 */
export function surplus(
  records: readonly BackupRecord[],
  max: number,
  needed: ReadonlySet<BackupId | null>,
): BackupRecord[] {
  const own = records.filter(({ source }) => source === null);
  const over = Math.max(0, own.length - max);
  return own
    .filter((one) => isWhole(one) && !one.neverExpires && !needed.has(one.id))
    .toSorted((a, b) => newestFirst(b, a))
    .slice(0, over);
}

/** @param partition of the caller: `aws`, `aws-us-gov` */
export const backupArn = (
  { account, region, id }: Pick<BackupRecord, 'account' | 'region' | 'id'>,
  partition = 'aws',
): string => `arn:${partition}:cloudhsm:${region}:${account}:backup/${id}`;

/**
 * The Backup object of the CloudHSM V2 API at a moment of civil time. Pure.
 * @param partition as of `backupArn`
 */
export function describeBackup(
  record: BackupRecord,
  tags: readonly ResourceTag[],
  nowMs: number,
  partition?: string,
): CloudHsmBackup {
  const { source, copiedMs, deleteMs } = record;
  return {
    BackupId: record.id,
    BackupArn: backupArn(record, partition),
    BackupState: shownBackupState(record, nowMs),
    ClusterId: record.cluster,
    CreateTimestamp: record.createdMs / 1_000,
    ...(copiedMs !== null && { CopyTimestamp: copiedMs / 1_000 }),
    NeverExpires: record.neverExpires,
    ...(source && {
      SourceRegion: source.region,
      SourceBackup: source.backup,
      SourceCluster: source.cluster,
    }),
    ...(deleteMs !== null && { DeleteTimestamp: deleteMs / 1_000 }),
    TagList: tags.map(({ key: Key, value: Value }) => ({ Key, Value })),
    HsmType: record.hsmType,
    Mode: record.mode,
  };
}
