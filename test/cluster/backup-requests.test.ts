import { describe, expect, test } from 'vitest';
import { BackupRequests } from '../../src/cluster/backup-requests.js';
import { DELETION_GRACE_MS, type BackupRecord } from '../../src/cluster/backup-record.js';
import { writeContent } from '../../src/cluster/backups.js';
import type { RunningCluster } from '../../src/cluster/running-cluster.js';
import { backupContent, backupRecord } from '../support/backup-content.js';
import { newShelf, type Shelf } from '../support/backup-shelf.js';

interface Scene extends Shelf {
  readonly requests: BackupRequests;
  readonly clusters: RunningCluster[];
}

async function newScene(timeScale = 0): Promise<Scene> {
  const shelf = await newShelf();
  const clusters: RunningCluster[] = [];
  const civil = (): number => shelf.clock.nowMs;
  const { backups } = shelf;
  const requests = new BackupRequests({ backups, civil, timeScale, clusters: () => clusters });
  return { ...shelf, requests, clusters };
}

const added = (
  { backups }: Scene,
  changes: Partial<BackupRecord> = {},
  readyMs = 0,
): Promise<BackupRecord> =>
  backups.add(
    backupRecord(changes),
    (id) => writeContent(backups.pathOf(id), backups.sealingOf(id), backupContent(1)),
    readyMs,
  );

const refusedWith = (message: string): unknown =>
  expect.objectContaining({ code: 'CloudHsmInvalidRequestException', message });

describe('a backup that is deleted', () => {
  test('can be had back for seven days, and is gone then', async () => {
    const scene = await newScene();
    const { id } = await added(scene);
    const now = (): BackupRecord => scene.requests.find(id) ?? expect.unreachable();
    const deleted = await scene.requests.delete(now());
    expect(deleted.deleteMs).toBe(scene.clock.nowMs + DELETION_GRACE_MS);
    const again = scene.requests.delete(now());
    await expect(again).rejects.toEqual(
      refusedWith(`Backup '${id}' is in state PENDING_DELETION.`),
    );
    scene.clock.nowMs += DELETION_GRACE_MS - 1;
    expect((await scene.requests.restore(now())).deleteMs).toBeNull();
    await expect(scene.requests.restore(now())).rejects.toEqual(
      refusedWith(`Backup '${id}' is in state READY.`),
    );
    await scene.requests.delete(now());
    scene.clock.nowMs += DELETION_GRACE_MS;
    expect(scene.requests.find(id)).toBeUndefined();
  });

  test('is none that a cluster without HSMs is made from', async () => {
    const scene = await newScene();
    const record = await added(scene);
    const id = 'cluster-abcdefghijk';
    scene.clusters.push({ id, record: { restoreFrom: record.id } } as unknown as RunningCluster);
    await expect(scene.requests.delete(record)).rejects.toEqual(
      refusedWith(
        `Backup '${record.id}' cannot be deleted: cluster '${id}', which has no HSM, ` +
          'is restored from it.',
      ),
    );
    scene.clusters.length = 0;
    await scene.requests.delete(record);
  });
});

test.each(['copy', 'delete', 'keep', 'share'] as const)(
  'nothing is done to one that is not ready: %s',
  async (verb) => {
    const scene = await newScene(1);
    const record = await added(scene, {}, scene.clock.nowMs + 1);
    const work = {
      copy: () => scene.requests.copy(record, 'eu-west-1'),
      delete: () => scene.requests.delete(record),
      keep: () => scene.requests.keep(record, true),
      share: () => scene.requests.share(record, '{}'),
    };
    const state = refusedWith(`Backup '${record.id}' is in state CREATE_IN_PROGRESS.`);
    await expect(work[verb]()).rejects.toEqual(state);
    scene.clock.nowMs += 1;
    await work[verb]();
  },
);

test('a copy is made in another region, and takes its time', async () => {
  const scene = await newScene(1);
  const record = await added(scene);
  const { region } = record;
  await expect(scene.requests.copy(record, region)).rejects.toEqual(
    refusedWith(`Backup '${record.id}' is in ${region} already.`),
  );
  const copy = await scene.requests.copy(record, 'eu-west-1');
  expect(copy.readyMs).toBeGreaterThan(scene.clock.nowMs);
});

test('what never expires does again, and a share ends', async () => {
  const scene = await newScene();
  const { id } = await added(scene);
  const now = (): BackupRecord => scene.requests.find(id) ?? expect.unreachable();
  for (const neverExpires of [true, false]) {
    await scene.requests.keep(now(), neverExpires);
    expect(now().neverExpires).toBe(neverExpires);
  }
  await scene.requests.share(now(), '{"a":1}');
  expect(now().policy).toBe('{"a":1}');
  await scene.requests.share(now(), null);
  expect(now().policy).toBeNull();
});

test('only a whole one is exported', async () => {
  const scene = await newScene();
  const { id } = await added(scene);
  await scene.requests.delete(scene.requests.find(id) ?? expect.unreachable());
  for (const name of [id, 'backup-abcdefghijk', 'x']) {
    await expect(scene.requests.exportTo(name, '/nowhere', 'passphrase')).rejects.toMatchObject({
      code: 'KeyspanUsage',
      message: `there is no backup ${name}`,
    });
  }
});
