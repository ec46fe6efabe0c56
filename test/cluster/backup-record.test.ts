import { describe, expect, test } from 'vitest';
import {
  DELETION_GRACE_MS,
  backupArn,
  decodeBackup,
  describeBackup,
  encodeBackup,
  expired,
  latestOf,
  newestFirst,
  shownBackupState,
  surplus,
} from '../../src/cluster/backup-record.js';
import { newBackupId, newClusterId } from '../../src/core/ids.js';
import { backupRecord } from '../support/backup-content.js';

const DAY_MS = 86_400_000;
const CLUSTER = newClusterId();

test.each([
  ['being taken', { readyMs: null }, 'CREATE_IN_PROGRESS'],
  ['whole, and shown later', { readyMs: 101 }, 'CREATE_IN_PROGRESS'],
  ['whole', { readyMs: 100 }, 'READY'],
  ['deleted', { deleteMs: 101 }, 'PENDING_DELETION'],
  ['deleted, and out of its grace', { deleteMs: 100 }, 'DELETED'],
] as const)('a backup that is %s', (_what, changes, state) => {
  expect(shownBackupState(backupRecord(changes), 100)).toBe(state);
});

test('what is written is read', () => {
  const record = backupRecord({
    source: { region: 'eu-west-1', backup: newBackupId(), cluster: CLUSTER },
    copiedMs: 5,
    policy: '{}',
  });
  const { v: _, ...read } = decodeBackup(encodeBackup(record)) as typeof record & { v: number };
  expect(read).toEqual(record);
});

describe('of the backups of a cluster', () => {
  const made = (createdMs: number, changes = {}): ReturnType<typeof backupRecord> =>
    backupRecord({ cluster: CLUSTER, createdMs, ...changes });
  const source = { region: 'eu-west-1', backup: newBackupId(), cluster: CLUSTER };

  test('the latest is the newest that is whole, not deleted and no copy', () => {
    const wanted = made(3);
    const others = [
      made(2),
      made(4, { readyMs: null }),
      made(5, { deleteMs: 9 }),
      made(6, { source }),
      backupRecord({ createdMs: 7 }),
    ];
    expect(latestOf(CLUSTER, [...others, wanted])).toBe(wanted);
    expect(latestOf(newClusterId(), others)).toBeUndefined();
  });

  test('those of one moment have an order', () => {
    const [one, two] = [made(1), made(1)];
    expect(Math.sign(newestFirst(one, two))).toBe(-Math.sign(newestFirst(two, one)));
    expect(newestFirst(one, one)).toBeLessThanOrEqual(0);
  });

  const days = (count: number) => (): number => count;

  test('the policy ends the old ones, but the last, copies, and what never expires', () => {
    const old = made(1);
    const kept = [made(2, { neverExpires: true }), made(3, { source }), made(4)];
    const all = [old, ...kept];
    const nowMs = 7 * DAY_MS + 1;
    expect(expired(all, nowMs - 1, days(7))).toEqual([]);
    expect(expired(all, nowMs, days(7))).toEqual([old]);
    expect(expired(all, 400 * DAY_MS, days(7))).toEqual([old]);
    expect(expired(all, nowMs, days(8))).toEqual([]);
  });

  test('of a cluster that is gone the last policy counts', () => {
    const old = made(0, { retentionDays: 10 });
    const gone = (): undefined => undefined;
    expect(expired([old, made(1)], 10 * DAY_MS - 1, gone)).toEqual([]);
    expect(expired([old, made(1)], 10 * DAY_MS, gone)).toEqual([old]);
  });

  test('one that was deleted ends with its grace, also the last', () => {
    const deleted = made(0, { deleteMs: DELETION_GRACE_MS, neverExpires: true });
    expect(expired([deleted], DELETION_GRACE_MS - 1, days(7))).toEqual([]);
    expect(expired([deleted], DELETION_GRACE_MS, days(7))).toEqual([deleted]);
  });

  test('over its bound the oldest go, but those that are kept or needed', () => {
    const [needed, kept, old, newer] = [made(1), made(2, { neverExpires: true }), made(3), made(4)];
    const all = [newer, made(0, { source }), old, kept, needed];
    const ids = new Set([needed.id]);
    expect(surplus(all, 4, ids)).toEqual([]);
    expect(surplus(all, 3, ids)).toEqual([old]);
    expect(surplus(all, 0, ids)).toEqual([old, newer]);
  });

  test('one that is being taken does not end', () => {
    expect(expired([made(0, { readyMs: null }), made(1)], 400 * DAY_MS, days(7))).toEqual([]);
  });
});

describe('the Backup object', () => {
  test('has what every backup has', () => {
    const record = backupRecord({ createdMs: 1_534_461_854_640 });
    const tags = [{ key: 'team', value: 'a' }];
    expect(describeBackup(record, tags, 0)).toEqual({
      BackupId: record.id,
      BackupArn: `arn:aws:cloudhsm:us-west-2:123456789012:backup/${record.id}`,
      BackupState: 'READY',
      ClusterId: record.cluster,
      CreateTimestamp: 1_534_461_854.64,
      NeverExpires: false,
      TagList: [{ Key: 'team', Value: 'a' }],
      HsmType: 'hsm2m.medium',
      Mode: 'FIPS',
    });
  });

  test('says where a copy comes from, and when one that is deleted goes', () => {
    const source = { region: 'eu-west-1', backup: newBackupId(), cluster: CLUSTER };
    const record = backupRecord({ source, copiedMs: 2_000, deleteMs: 3_000 });
    expect(describeBackup(record, [], 0)).toMatchObject({
      BackupState: 'PENDING_DELETION',
      CopyTimestamp: 2,
      DeleteTimestamp: 3,
      SourceRegion: 'eu-west-1',
      SourceBackup: source.backup,
      SourceCluster: CLUSTER,
    });
  });

  test('is in the partition of who asks', () => {
    const record = backupRecord({ region: 'us-gov-west-1' });
    expect(backupArn(record, 'aws-us-gov')).toMatch(/^arn:aws-us-gov:cloudhsm:us-gov-west-1:/);
  });
});
