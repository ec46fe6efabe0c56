import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { BackupWriter, type BackupContent } from '../../src/cluster/backup-file.js';
import { encodeBackup, shownBackupState } from '../../src/cluster/backup-record.js';
import type { BackupRecord } from '../../src/cluster/backup-record.js';
import { ResourceTags } from '../../src/cluster/resource-tags.js';
import { newBackupId } from '../../src/core/ids.js';
import { KEYSPACE } from '../../src/store/keyspace.js';
import { backupContent, backupRecord } from '../support/backup-content.js';
import { newShelf, type Shelf } from '../support/backup-shelf.js';

const REFUSED = expect.objectContaining({ code: 'KeyspanBackupRefused' });
const KEY_BYTES = Buffer.alloc(32, 7);

/** A backup whose masking keys are wrapped for the shelf's installation. */
async function added(
  { backups }: Shelf,
  changes: Partial<BackupRecord> = {},
): Promise<{ record: BackupRecord; content: BackupContent }> {
  const keys = { wrap: KEY_BYTES, seal: KEY_BYTES, auth: KEY_BYTES };
  const content = backupContent(5, { wrapped: await backups.recovery.wrap(keys) });
  const { cluster } = content.head;
  const record = await backups.add(
    backupRecord({ cluster, ...changes }),
    async (id) => {
      const { head } = content;
      await using writer = await BackupWriter.open(backups.pathOf(id), backups.sealingOf(id), head);
      await writer.add([...content.keys.values()]);
      await writer.finish();
    },
    0,
  );
  return { record, content };
}

const maskingKeyOf = async (shelf: Shelf, id: BackupRecord['id']): Promise<Buffer> => {
  const { head } = await shelf.backups.read(id);
  return await shelf.backups.recovery.open(head.wrapped, ({ wrap }) => Buffer.from(wrap));
};

describe('a backup', () => {
  test('is there once its file is, also for the next daemon', async () => {
    const shelf = await newShelf();
    const { record, content } = await added(shelf);
    for (const backups of [shelf.backups, await shelf.reopened()]) {
      expect(backups.present()).toEqual([record]);
      const opened = await backups.read(record.id);
      expect(opened.head).toEqual(content.head);
      for (const [id, { masked }] of content.keys) expect(opened.masked(id)).toEqual(masked);
      expect(opened.keys.size).toBe(5);
    }
  });

  test('leaves nothing where its file could not be written', async () => {
    const shelf = await newShelf();
    const failed = new Error('the disk is full');
    await expect(shelf.backups.add(backupRecord(), () => Promise.reject(failed), 0)).rejects.toBe(
      failed,
    );
    expect(shelf.backups.all()).toEqual([]);
    expect((await shelf.store.range(KEYSPACE.backups)).entries).toEqual([]);
  });

  test('that a crash left half done is swept away, and what is not ours stays', async () => {
    const shelf = await newShelf();
    const { record } = await added(shelf);
    const half = backupRecord({ readyMs: null });
    const key = KEYSPACE.backup(half.id);
    const value = encodeBackup(half);
    await shelf.store.commit({ compares: [], writes: [{ op: 'put', key, value }] });
    const left = [half.id, newBackupId()].map((id) => `${id}.backup`);
    for (const name of [...left, `${newBackupId()}.backup.new`, 'notes.txt']) {
      writeFileSync(join(shelf.home.backups, name), 'x');
    }
    const backups = await shelf.reopened();
    expect(backups.all()).toEqual([record]);
    const files = readdirSync(shelf.home.backups).sort();
    expect(files).toEqual([`${record.id}.backup`, 'notes.txt'].sort());
  });

  test('goes with its file and its tags', async () => {
    const shelf = await newShelf();
    const { record } = await added(shelf);
    const tags = new ResourceTags(shelf.store);
    await tags.add(record.id, [{ key: 'team', value: 'a' }]);
    await shelf.backups.remove(record.id);
    expect(shelf.backups.all()).toEqual([]);
    expect(existsSync(shelf.backups.pathOf(record.id))).toBe(false);
    expect(await tags.of(record.id)).toEqual([]);
    const change = shelf.backups.change(record.id, (now) => now);
    await expect(change).rejects.toMatchObject({ code: 'CloudHsmResourceNotFoundException' });
  });

  test('is not shown once its time is over', async () => {
    const shelf = await newShelf();
    const { record } = await added(shelf, { deleteMs: shelf.clock.nowMs + 1 });
    expect(shelf.backups.present()).toEqual([record]);
    shelf.clock.nowMs += 1;
    expect(shelf.backups.present()).toEqual([]);
    expect(shelf.backups.all()).toEqual([record]);
  });

  test('of another installation cannot be put in its place', async () => {
    const [here, there] = [await newShelf(), await newShelf()];
    const [own, foreign] = [await added(here), await added(there)];
    const bytes = readFileSync(there.backups.pathOf(foreign.record.id));
    writeFileSync(here.backups.pathOf(own.record.id), bytes);
    await expect(here.backups.read(own.record.id)).rejects.toEqual(REFUSED);
  });
});

describe('a copy', () => {
  test('has what the first one has, and outlives it', async () => {
    const shelf = await newShelf();
    const { record, content } = await added(shelf, { policy: '{}', neverExpires: true });
    const copy = await shelf.backups.copy(record, 'eu-west-1', shelf.clock.nowMs + 5);
    expect(copy).toMatchObject({
      region: 'eu-west-1',
      cluster: record.cluster,
      createdMs: record.createdMs,
      copiedMs: shelf.clock.nowMs,
      source: { region: record.region, backup: record.id, cluster: record.cluster },
      policy: null,
      neverExpires: false,
    });
    expect(shownBackupState(copy, shelf.clock.nowMs)).toBe('CREATE_IN_PROGRESS');
    expect(shownBackupState(copy, shelf.clock.nowMs + 5)).toBe('READY');
    await shelf.backups.remove(record.id);
    const opened = await shelf.backups.read(copy.id);
    expect([...opened.keys.keys()]).toEqual([...content.keys.keys()]);
    expect(await maskingKeyOf(shelf, copy.id)).toEqual(KEY_BYTES);
  });

  test('of a damaged one is refused, and none is left', async () => {
    const shelf = await newShelf();
    const { record } = await added(shelf);
    writeFileSync(shelf.backups.pathOf(record.id), 'damaged');
    await expect(shelf.backups.copy(record, 'eu-west-1', 0)).rejects.toEqual(REFUSED);
    expect(shelf.backups.all()).toEqual([record]);
  });
});

describe('under a passphrase', () => {
  const PLACE = { account: '999988887777', region: 'ap-southeast-2' };
  const PASSPHRASE = 'correct horse';

  test('a backup comes to another installation', async () => {
    const [here, there] = [await newShelf(), await newShelf()];
    const { record, content } = await added(here, { createdMs: 7 });
    const path = join(here.home.root, 'exported');
    await here.backups.exportTo(record.id, path, PASSPHRASE);
    expect(readFileSync(path).includes(KEY_BYTES)).toBe(false);
    const imported = await there.backups.importFrom(path, PASSPHRASE, PLACE);
    expect(imported).toMatchObject({
      ...PLACE,
      cluster: record.cluster,
      createdMs: content.head.createdMs,
      source: null,
    });
    const opened = await there.backups.read(imported.id);
    expect([...opened.keys.keys()]).toEqual([...content.keys.keys()]);
    expect(opened.head.appliancePassword).toBe(content.head.appliancePassword);
    expect(await maskingKeyOf(there, imported.id)).toEqual(KEY_BYTES);
  });

  test('another passphrase, or a damaged file, is refused and leaves nothing', async () => {
    const [here, there] = [await newShelf(), await newShelf()];
    const { record } = await added(here);
    const path = join(here.home.root, 'exported');
    await here.backups.exportTo(record.id, path, PASSPHRASE);
    const other = there.backups.importFrom(path, `${PASSPHRASE} `, PLACE);
    await expect(other).rejects.toEqual(REFUSED);
    // the file of an installation is none that a passphrase opens
    const inside = here.backups.pathOf(record.id);
    const local = there.backups.importFrom(inside, PASSPHRASE, PLACE);
    await expect(local).rejects.toEqual(REFUSED);
    writeFileSync(path, readFileSync(path).subarray(0, -1));
    await expect(there.backups.importFrom(path, PASSPHRASE, PLACE)).rejects.toEqual(REFUSED);
    expect(there.backups.all()).toEqual([]);
    expect(readdirSync(there.home.backups)).toEqual([]);
  });
});
