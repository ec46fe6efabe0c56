import { randomBytes } from 'node:crypto';
import {
  existsSync,
  readFileSync,
  readdirSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  BackupWriter,
  SALT_BYTES,
  openBackup,
  readBackupFile,
  saltOf,
  type BackupContent,
  type Sealing,
} from '../../src/cluster/backup-file.js';
import { LIMITS } from '../../src/core/limits.js';
import { InstallationKey, Sealer, sealerOfPassphrase } from '../../src/store/sealed.js';
import { backupContent } from '../support/backup-content.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

const sealer = new Sealer(new InstallationKey(randomBytes(32)));
const SEALING: Sealing = { sealer, name: 'backup/one' };
const REFUSED = expect.objectContaining({ code: 'KeyspanBackupRefused' });
const HEADER_BYTES = 9 + SALT_BYTES;

const newPath = (): string => join(temporaryDirectory(), 'one.backup');

async function written(content: BackupContent, sealing = SEALING): Promise<Buffer> {
  const path = newPath();
  await using writer = await BackupWriter.open(path, sealing, content.head);
  await writer.add([...content.keys.values()]);
  await writer.finish();
  return await readBackupFile(path);
}

/** The sealed pieces of a file, each with its length. */
function piecesOf(file: Buffer): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = HEADER_BYTES; at < file.length;) {
    const end = at + 4 + file.readUInt32BE(at);
    pieces.push(file.subarray(at, end));
    at = end;
  }
  return pieces;
}

const joined = (file: Buffer, pieces: readonly Buffer[]): Buffer =>
  Buffer.concat([file.subarray(0, HEADER_BYTES), ...pieces]);

describe('the file of a backup', () => {
  test.each([0, 1, 127, 128, 129, 300])('gives back %i keys', async (count) => {
    const content = backupContent(count);
    const { head, keys } = await openBackup(await written(content), SEALING);
    expect(head).toEqual(content.head);
    expect([...keys.keys()]).toEqual([...content.keys.keys()]);
    for (const [id, key] of content.keys) {
      expect(keys.get(id)?.masked).toEqual(key.masked);
      expect(keys.get(id)?.entry).toMatchObject({ state: 'live', proof: key.entry.proof });
    }
  });

  test('is for its owner alone, and shows no password', async () => {
    const path = newPath();
    await using writer = await BackupWriter.open(path, SEALING, backupContent(0).head);
    await writer.finish();
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readFileSync(path).includes('appliance')).toBe(false);
  });

  test('is there whole or not at all', async () => {
    const path = newPath();
    {
      await using writer = await BackupWriter.open(path, SEALING, backupContent(0).head);
      await writer.add([...backupContent(200).keys.values()]);
      expect(existsSync(path)).toBe(false);
    }
    expect(readdirSync(join(path, '..'))).toEqual([]);
  });
});

describe('refused whole is a file', () => {
  test('that is cut off anywhere', async () => {
    const file = await written(backupContent(2));
    for (let length = 0; length < file.length; length += 1) {
      const cut = file.subarray(0, length);
      await expect(openBackup(cut, SEALING), `${length} bytes`).rejects.toEqual(REFUSED);
    }
  });

  test('of which one bit is another', async () => {
    const file = await written(backupContent(1));
    const magic = HEADER_BYTES - SALT_BYTES;
    for (let at = magic; at < file.length; at += 1) {
      const changed = Buffer.from(file);
      changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8));
      await expect(openBackup(changed, SEALING), `byte ${at}`).rejects.toEqual(REFUSED);
    }
  });

  test('whose pieces are left out, moved, repeated or another backup’s', async () => {
    const file = await written(backupContent(300));
    const pieces = piecesOf(file);
    expect(pieces).toHaveLength(5);
    const [head, one, two, three, end] = pieces as [Buffer, Buffer, Buffer, Buffer, Buffer];
    const others = piecesOf(await written(backupContent(300), { sealer, name: 'backup/two' }));
    for (const wrong of [
      [head, one, two, end],
      [head, two, one, three, end],
      [head, one, one, two, three, end],
      [head, one, two, three],
      [one, two, three, end],
      [head, end],
      [...pieces, end],
      [...pieces, three],
      [head, one, two, others[3] ?? end, end],
      [],
    ]) {
      await expect(openBackup(joined(file, wrong), SEALING)).rejects.toEqual(REFUSED);
    }
    expect((await openBackup(joined(file, pieces), SEALING)).keys.size).toBe(300);
  });

  test('of another name or another installation', async () => {
    const file = await written(backupContent(1));
    const foreign = new Sealer(new InstallationKey(randomBytes(32)));
    for (const wrong of [
      { sealer, name: 'backup/two' },
      { sealer: foreign, name: SEALING.name },
    ]) {
      await expect(openBackup(file, wrong)).rejects.toEqual(REFUSED);
    }
  });

  test('that is no backup, too large, or not there', async () => {
    const path = newPath();
    await expect(readBackupFile(path)).rejects.toEqual(REFUSED);
    for (const text of ['', 'KSBACKUP', 'x'.repeat(1_000), `KSBACKUP\u0002${'x'.repeat(100)}`]) {
      writeFileSync(path, text);
      await expect(readBackupFile(path)).rejects.toEqual(REFUSED);
    }
    truncateSync(path, LIMITS.backup_file_max_bytes + 1);
    await expect(readBackupFile(path)).rejects.toEqual(REFUSED);
  });
});

test('a passphrase opens what it sealed, and no other does', async () => {
  const salt = randomBytes(SALT_BYTES);
  const path = newPath();
  const content = backupContent(3);
  const sealing = { sealer: await sealerOfPassphrase('correct horse', salt), name: 'exported' };
  {
    await using writer = await BackupWriter.open(path, sealing, content.head, salt);
    await writer.add([...content.keys.values()]);
    await writer.finish();
  }
  const file = await readBackupFile(path);
  expect(saltOf(file)).toEqual(salt);
  const again = { ...sealing, sealer: await sealerOfPassphrase('correct horse', saltOf(file)) };
  expect((await openBackup(file, again)).keys.size).toBe(3);
  const other = { ...sealing, sealer: await sealerOfPassphrase('correct horsf', saltOf(file)) };
  await expect(openBackup(file, other)).rejects.toEqual(REFUSED);
});
