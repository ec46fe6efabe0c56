import { KeyspanError } from '../../core/errors.js';
import { findHome } from '../../core/home.js';
import { LIMITS } from '../../core/limits.js';
import type { ClusterCheck, DiscardedCopies } from '../../protocol/admin.js';
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

/** Destroys copies of keys that the ledger does not know, on the operator's word. */
export async function discardUnknown(
  options: SharedOptions & { readonly keys: readonly string[]; readonly all?: boolean },
): Promise<number> {
  const { keys, all = false } = options;
  if (all === keys.length > 0) {
    throw new KeyspanError('KeyspanUsage', 'name the keys, or say --all');
  }
  const params = all ? {} : { keys };
  const patienceMs = LIMITS.join_timeout_ms;
  const home = findHome(options.home);
  const outcome = await callAdmin(home, 'ClusterDiscardUnknown', params, patienceMs);
  if (options.json) printJson(outcome);
  else print(discardedText(outcome));
  return EXIT.ok;
}

function discardedText({ discarded, unasked }: DiscardedCopies): string {
  const lines = discarded.map(({ hsm, key }) => `${key} is gone from ${hsm}`);
  if (lines.length === 0) lines.push('No HSM that serves has an unknown copy.');
  lines.push(...unasked.map((hsm) => `${hsm} does not serve, and was not asked`));
  return lines.join('\n');
}

const COLUMNS = [
  'HSM',
  'STATE',
  'HELD',
  'MISSING',
  'DAMAGED',
  'SUPERSEDED',
  'AHEAD',
  'CONFLICTING',
  'UNKNOWN',
  'TO GO',
];

function checkText(check: ClusterCheck): string {
  const rows = check.hsms.map((hsm) => {
    const counts = [
      hsm.held,
      hsm.missing,
      hsm.damaged,
      hsm.superseded,
      hsm.ahead,
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
    ...check.hsms.flatMap((hsm) => hsm.unknownKeys.map((key) => `unknown on ${hsm.id}: ${key}`)),
    clean
      ? 'All is as the ledger says.'
      : 'Something is to be repaired: keyspan cluster check --repair',
  ].join('\n');
}
