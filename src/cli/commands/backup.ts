import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { KeyspanError } from '../../core/errors.js';
import { findHome } from '../../core/home.js';
import { LIMITS } from '../../core/limits.js';
import { callAdmin, callPatiently } from '../admin-client.js';
import { Terminal } from '../cloudhsm/terminal.js';
import type { SharedOptions } from '../global-options.js';
import { EXIT, print, printJson, table } from '../output.js';

export interface FileOptions extends SharedOptions {
  /** a file whose first line is the passphrase; else it is asked for */
  readonly passphraseFile?: string;
}

export async function listBackups(options: SharedOptions): Promise<number> {
  const { backups } = await callAdmin(findHome(options.home), 'BackupList');
  if (options.json) {
    printJson(backups);
    return EXIT.ok;
  }
  const rows = backups.map(({ id, state, created, cluster, region }) => [
    id,
    state,
    created,
    cluster,
    region,
  ]);
  print(table(['BACKUP', 'STATE', 'CREATED', 'CLUSTER', 'REGION'], rows));
  return EXIT.ok;
}

export async function exportBackup(
  options: FileOptions & { readonly id: string; readonly out: string },
): Promise<number> {
  const { id, out } = options;
  const passphrase = await passphraseOf(options, { twice: true });
  const params = { id, path: resolve(out), passphrase };
  const backup = await callPatiently(findHome(options.home), 'BackupExport', params);
  if (options.json) printJson(backup);
  else print(`${backup.id} is in ${out}. Who has the passphrase has its keys.`);
  return EXIT.ok;
}

export async function importBackup(
  options: FileOptions & { readonly file: string; readonly region?: string },
): Promise<number> {
  const { file, region } = options;
  const passphrase = await passphraseOf(options, { twice: false });
  const params = { path: resolve(file), passphrase, ...(region !== undefined && { region }) };
  const backup = await callPatiently(findHome(options.home), 'BackupImport', params);
  if (options.json) printJson(backup);
  else print(`${backup.id} is of ${backup.cluster}, taken at ${backup.created}.`);
  return EXIT.ok;
}

/** @throws KeyspanError KeyspanUsage */
async function passphraseOf(
  { passphraseFile }: FileOptions,
  { twice }: { readonly twice: boolean },
): Promise<string> {
  const passphrase =
    passphraseFile === undefined
      ? await ask(twice)
      : firstLine(readFileSync(passphraseFile, 'utf8'));
  const min = LIMITS.backup_passphrase_min_chars;
  if (passphrase.length >= min && passphrase.length <= LIMITS.backup_passphrase_max_chars) {
    return passphrase;
  }
  const sentence = `A passphrase has ${min} to ${LIMITS.backup_passphrase_max_chars} characters.`;
  throw new KeyspanError('KeyspanUsage', sentence);
}

const firstLine = (text: string): string => text.split(/\r?\n/, 1)[0] ?? '';

async function ask(twice: boolean): Promise<string> {
  using terminal = new Terminal();
  const passphrase = (await terminal.secret('Passphrase:')) ?? '';
  if (!twice) return passphrase;
  if ((await terminal.secret('Passphrase again:')) === passphrase) return passphrase;
  throw new KeyspanError('KeyspanUsage', 'The passphrases differ.');
}
