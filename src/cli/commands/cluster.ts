import { findHome } from '../../core/home.js';
import { LIMITS } from '../../core/limits.js';
import type { ClusterCheck } from '../../protocol/admin.js';
import { callAdmin } from '../admin-client.js';
import { EXIT, print, printJson } from '../output.js';
import type { SharedOptions } from '../shared-options.js';

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
  const widths = COLUMNS.map((name, at) =>
    Math.max(name.length, ...rows.map((row) => row[at]?.length ?? 0)),
  );
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, at) => cell.padEnd(widths[at] ?? 0))
      .join('  ')
      .trimEnd();
  const { live, intents, buried, scarce, lost, clean } = check;
  return [
    ...[COLUMNS, ...rows].map(line),
    '',
    `${live} live keys, ${scarce} on too few HSMs, ${lost} on none that answered`,
    `${intents} attempts in the making, ${buried} destroyed and not yet forgotten`,
    clean
      ? 'All is as the ledger says.'
      : 'Something is to be repaired: keyspan cluster check --repair',
  ].join('\n');
}
