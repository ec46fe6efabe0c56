import { findHome } from '../../core/home.js';
import { findStatus } from '../admin-client.js';
import { EXIT, print, printJson } from '../output.js';
import type { SharedOptions } from '../global-options.js';
import { statusText } from '../status-text.js';

export async function status(options: SharedOptions): Promise<number> {
  const home = findHome(options.home);
  const found = await findStatus(home);
  if (!found) {
    if (options.json) printJson({ state: 'STOPPED' });
    else print(`Nothing runs on ${home.root}. Start it with: keyspan up --detach`);
    return EXIT.notRunning;
  }
  if (options.json) printJson(found);
  else print(statusText(found));
  return EXIT.ok;
}
