import { findHome } from '../../core/home.js';
import { LIMITS } from '../../core/limits.js';
import { callAdmin } from '../admin-client.js';
import { EXIT, print, printJson } from '../output.js';
import type { SharedOptions } from '../global-options.js';

export async function adoptStore(options: SharedOptions): Promise<number> {
  const status = await callAdmin(findHome(options.home), 'StoreAdopt', {}, LIMITS.join_timeout_ms);
  if (options.json) printJson(status);
  else print('The store counts again: the HSMs are repaired by it.');
  return EXIT.ok;
}
