import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { parse } from 'node:path';
import { KeyspanError } from '../../core/errors.js';
import { findHome, type Home } from '../../core/home.js';
import { LIMITS } from '../../core/limits.js';
import { callAdmin, findStatus } from '../admin-client.js';
import { awaitEnd } from '../daemon-process.js';
import { EXIT, note, print, printJson } from '../output.js';
import { confirm } from '../prompt.js';
import type { SharedOptions } from '../global-options.js';

export interface DownOptions extends SharedOptions {
  readonly delete?: boolean;
  readonly yes?: boolean;
  /** seconds */
  readonly timeout?: number;
}

/** Stops the cluster; that nothing runs is no failure, so that scripts may end with it. */
export async function down(options: DownOptions): Promise<number> {
  const home = findHome(options.home);
  if (options.delete) {
    checkDeletable(home);
    if (!options.yes && !(await confirm(`Delete ${home.root} with every key in it?`))) {
      note('Nothing was changed.');
      return EXIT.failed;
    }
  }
  const stopped = await stop(home, options);
  if (options.delete) await rm(home.root, { recursive: true, force: true });
  if (options.json) printJson({ state: 'STOPPED' });
  else print(`${stopped ? 'Stopped' : 'Nothing ran on'} ${home.root}.`);
  return EXIT.ok;
}

/** @returns whether there was something to stop */
async function stop(home: Home, options: DownOptions): Promise<boolean> {
  const status = await findStatus(home);
  if (!status) return false;
  const timeoutMs = options.timeout === undefined ? LIMITS.down_timeout_ms : options.timeout * 1000;
  const { pid } = await callAdmin(home, 'Shutdown', {}, timeoutMs);
  if (await awaitEnd(pid, timeoutMs)) return true;
  throw new KeyspanError('KeyspanDeadlineExceeded', `process ${pid} has not ended in time`);
}

/**
 * Deletes nothing but a home: it must have our marks, and not be a place that holds more.
 * @throws KeyspanError (KeyspanRefused)
 */
export function checkDeletable(home: Home): void {
  const { root } = home;
  if (!existsSync(root)) return;
  const marked =
    existsSync(home.installationKey) ||
    existsSync(home.ephemeralMark) ||
    (existsSync(home.store) && existsSync(home.hsms));
  const broad = root === parse(root).root || root === homedir() || homedir().startsWith(`${root}/`);
  if (marked && !broad) return;
  throw new KeyspanError('KeyspanRefused', `${root} does not look like a home of Keyspan`);
}
