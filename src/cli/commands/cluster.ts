import { findHome } from '../../core/home.js';
import { LIMITS } from '../../core/limits.js';
import type { ClusterCheck } from '../../protocol/admin.js';
import { callAdmin } from '../admin-client.js';
import { EXIT, print, printJson, table } from '../output.js';
import type { SharedOptions } from '../global-options.js';

/** What is where. It exits with 1 when something is to be repaired. */
export async function checkCluster(
  options: SharedOptions & { readonly repair?: boolean },
): Promise<number> {
  const params = { repair: options.repair ?? false };
  const patienceMs = LIMITS.join_timeout_ms;
  const check = await callAdmin(findHome(options.home), 'ClusterCheck', params, patienceMs);
  if (options.json) printJson(check);
  else print(checkText(check));
  return check.clean ? EXIT.ok : EXIT.failed;
}

const COLUMNS = ['HSM', 'STATE', 'HELD', 'MISSING', 'DAMAGED', 'CONFLICTING', 'UNKNOWN', 'TO GO'];

function checkText(check: ClusterCheck): string {
  const rows = check.hsms.map((hsm) => {
    const counts = [
      hsm.held,
      hsm.missing,
      hsm.damaged,
      hsm.conflicting,
      hsm.unknown,
      hsm.toDiscard,
    ];
    return [hsm.id, hsm.state, ...counts.map((count) => (hsm.answered ? String(count) : '?'))];
  });
  const { live, intents, buried, scarce, lost, clean } = check;
  return [
    table(COLUMNS, rows),
    '',
    `${live} live keys, ${scarce} on too few HSMs, ${lost} on none that answered`,
    `${intents} attempts in the making, ${buried} destroyed and not yet forgotten`,
    clean
      ? 'All is as the ledger says.'
      : 'Something is to be repaired: keyspan cluster check --repair',
  ].join('\n');
}
