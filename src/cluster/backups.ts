import { randomBytes } from 'node:crypto';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { wipe } from '../core/bytes.js';
import type { CommitPart } from '../core/commit.js';
import { KeyspanError } from '../core/errors.js';
import type { Home } from '../core/home.js';
import { isBackupId, newBackupId, type BackupId } from '../core/ids.js';
import { changeValue } from '../store/change.js';
import { KEYSPACE } from '../store/keyspace.js';
import { sealerOfPassphrase, type Sealer } from '../store/sealed.js';
import { Snapshot } from '../store/snapshot.js';
import type { Store } from '../store/store.js';
import {
  BackupWriter,
  SALT_BYTES,
  openBackup,
  readBackupFile,
  saltOf,
  type BackupContent,
  type Sealing,
} from './backup-file.js';
import {
  NEW_BACKUP,
  decodeBackup,
  encodeBackup,
  shownBackupState,
  type BackupRecord,
} from './backup-record.js';
import { Recovery } from './recovery.js';
import { OpenedBackup } from './restoring.js';
import type { Secrets } from './secrets.js';

export interface BackupsOptions {
  readonly home: Home;
  readonly store: Store;
  readonly secrets: Secrets;
  readonly sealer: Sealer;
  /** civil time, in milliseconds since 1970 */
  readonly civil: () => number;
}

const EXPORTED = 'exported backup';
const FILE_END = '.backup';

/**
 * The backups of an installation: a record of each in the store, and what it holds in a file of its
 * own. A file is whole before its record says so; what a crash left half done is swept away.
 */
export class Backups implements AsyncDisposable {
  readonly recovery: Recovery;
  readonly #options: BackupsOptions;
  readonly #records: Snapshot<BackupRecord>;

  private constructor(options: BackupsOptions, records: Snapshot<BackupRecord>) {
    this.#options = options;
    this.#records = records;
    this.recovery = new Recovery(options.store, options.secrets);
  }

  static async open(options: BackupsOptions): Promise<Backups> {
    const records = await Snapshot.open(options.store, KEYSPACE.backups, ({ value }) =>
      decodeBackup(value),
    );
    const backups = new Backups(options, records);
    await backups.#sweep();
    return backups;
  }

  /** Those that are there now. */
  present(): BackupRecord[] {
    const nowMs = this.#options.civil();
    return this.all().filter((record) => shownBackupState(record, nowMs) !== 'DELETED');
  }

  /** Those that are written down, also when their time is over. */
  all(): BackupRecord[] {
    return [...this.#records.entries()].map(({ value }) => value);
  }

  pathOf(id: BackupId): string {
    return join(this.#options.home.backups, `${id}${FILE_END}`);
  }

  sealingOf(id: BackupId): Sealing {
    return { sealer: this.#options.sealer, name: KEYSPACE.backup(id) };
  }

  /** All of a backup, or nothing. @throws KeyspanError KeyspanBackupRefused */
  async read(id: BackupId): Promise<OpenedBackup> {
    return new OpenedBackup(await this.#content(id), this.recovery);
  }

  async #content(id: BackupId): Promise<BackupContent> {
    return await openBackup(await readBackupFile(this.pathOf(id)), this.sealingOf(id));
  }

  /** Writes the record of a backup down, then its file, then that it is whole. */
  async add(
    record: Omit<BackupRecord, 'id' | 'readyMs'>,
    write: (id: BackupId) => Promise<void>,
    readyMs: number,
  ): Promise<BackupRecord> {
    const id = newBackupId();
    const key = KEYSPACE.backup(id);
    const value = encodeBackup({ ...record, id, readyMs: null });
    await this.#commit({
      compares: [{ key, modRevision: null }],
      writes: [{ op: 'put', key, value }],
    });
    try {
      await write(id);
    } catch (error) {
      await this.remove(id);
      throw error;
    }
    return await this.change(id, (now) => ({ ...now, readyMs: Math.floor(readyMs) }));
  }

  /** @throws KeyspanError CloudHsmResourceNotFoundException when it is gone */
  async change(id: BackupId, to: (record: BackupRecord) => BackupRecord): Promise<BackupRecord> {
    let record: BackupRecord | undefined;
    const revision = await changeValue(this.#options.store, KEYSPACE.backup(id), (entry) => {
      if (!entry) {
        const sentence = `The backup ${id} could not be found.`;
        throw new KeyspanError('CloudHsmResourceNotFoundException', sentence);
      }
      record = to(decodeBackup(entry.value));
      return encodeBackup(record);
    });
    await this.#records.reached(revision);
    return record as BackupRecord;
  }

  /** The backup is gone for good, with its tags. */
  async remove(id: BackupId): Promise<void> {
    const keys = [KEYSPACE.backup(id), KEYSPACE.resourceTags(id)];
    await this.#commit({ compares: [], writes: keys.map((key) => ({ op: 'delete', key })) });
    await rm(this.pathOf(id), { force: true });
  }

  /** A copy in another region. @throws KeyspanError KeyspanBackupRefused */
  async copy(from: BackupRecord, region: string, readyMs: number): Promise<BackupRecord> {
    const content = await this.#content(from.id);
    const { id: backup, cluster } = from;
    const source = { region: from.region, backup, cluster };
    const copiedMs = Math.floor(this.#options.civil());
    const record = { ...from, region, source, copiedMs, policy: null, neverExpires: false };
    return await this.add(record, (id) => this.#write(id, content), readyMs);
  }

  async #write(id: BackupId, content: BackupContent): Promise<void> {
    await writeContent(this.pathOf(id), this.sealingOf(id), content);
  }

  /**
   * Writes a backup to a file that another installation can read, sealed under a passphrase.
   * @throws KeyspanError KeyspanBackupRefused
   */
  async exportTo(id: BackupId, path: string, passphrase: string): Promise<void> {
    const content = await this.#content(id);
    const salt = randomBytes(SALT_BYTES);
    const sealing = { sealer: await sealerOfPassphrase(passphrase, salt), name: EXPORTED };
    await this.recovery.open(content.head.wrapped, async (wrapped) => {
      const opened = { ...content, head: { ...content.head, wrapped } };
      await writeContent(path, sealing, opened, salt);
    });
  }

  /**
   * Takes up what `exportTo` wrote, here or elsewhere.
   * @throws KeyspanError KeyspanBackupRefused when the passphrase is another, or the file damaged
   */
  async importFrom(
    path: string,
    passphrase: string,
    place: { readonly account: string; readonly region: string },
  ): Promise<BackupRecord> {
    const file = await readBackupFile(path);
    const sealer = await sealerOfPassphrase(passphrase, saltOf(file));
    const { head, keys } = await openBackup(file, { sealer, name: EXPORTED });
    const wrapped = await this.recovery.wrap(head.wrapped);
    wipe(head.wrapped.wrap, head.wrapped.seal, head.wrapped.auth);
    const content = { head: { ...head, wrapped }, keys };
    const nowMs = Math.floor(this.#options.civil());
    const { cluster, createdMs, retentionDays, hsmType, mode } = head;
    const record = {
      ...NEW_BACKUP,
      ...place,
      cluster,
      createdMs,
      retentionDays,
      hsmType,
      mode,
      copiedMs: nowMs,
    };
    return await this.add(record, (id) => this.#write(id, content), nowMs);
  }

  async #commit(part: CommitPart): Promise<void> {
    await this.#records.reached(await this.#options.store.commit(part));
  }

  /** Records without a whole file, and files without a record. */
  async #sweep(): Promise<void> {
    for (const { id, readyMs } of this.all()) if (readyMs === null) await this.remove(id);
    const { backups } = this.#options.home;
    const known = new Set(this.all().map(({ id }) => `${id}${FILE_END}`));
    const found = await readdir(backups).catch(() => []);
    const isOurs = (name: string): boolean => isBackupId(name.slice(0, name.indexOf('.')));
    for (const name of found) {
      if (!known.has(name) && isOurs(name)) await rm(join(backups, name), { force: true });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#records[Symbol.asyncDispose]();
  }
}

/** Writes all of a backup at once. */
export async function writeContent(
  path: string,
  sealing: Sealing,
  { head, keys }: BackupContent,
  salt?: Uint8Array,
): Promise<void> {
  await using writer = await BackupWriter.open(path, sealing, head, salt);
  await writer.add([...keys.values()]);
  await writer.finish();
}
