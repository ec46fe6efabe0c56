import { findHome } from '../../core/home.js';
import { callAdmin } from '../admin-client.js';
import { EXIT, print, printJson, table } from '../output.js';
import type { SharedOptions } from '../global-options.js';

/** Shows all that the daemon gives; what exists depends on which interfaces are there. */
export async function credentials(options: SharedOptions): Promise<number> {
  const document = await callAdmin(findHome(options.home), 'Credentials');
  if (options.json) {
    printJson(document);
    return EXIT.ok;
  }
  const rows = Object.entries(document).flatMap(([kind, members]) =>
    Object.entries(members as Record<string, string>).map(([name, value]) => [kind, name, value]),
  );
  print(table(['WHAT', 'MEMBER', 'VALUE'], rows));
  return EXIT.ok;
}
