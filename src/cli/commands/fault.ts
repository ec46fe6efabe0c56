import type { FaultAction, FaultRule } from '../../core/fault-rules.js';
import { KeyspanError } from '../../core/errors.js';
import { findHome } from '../../core/home.js';
import { callAdmin } from '../admin-client.js';
import { EXIT, print, printJson } from '../output.js';
import type { SharedOptions } from '../global-options.js';

export interface FaultOptions extends SharedOptions {
  readonly hsm: string;
  readonly operation: string;
  readonly when: 'before' | 'after';
  readonly nth: number;
  readonly times: number;
  /** milliseconds */
  readonly delay?: number;
  /** a CKR name */
  readonly error?: string;
  readonly drop?: boolean;
  readonly crash?: boolean;
}

/** Just one of the four. @throws KeyspanError KeyspanUsage */
function actionOf({ delay, error, drop, crash }: FaultOptions): FaultAction {
  const actions: FaultAction[] = [];
  if (delay !== undefined) actions.push({ do: 'delay', ms: delay });
  if (error !== undefined) actions.push({ do: 'error', ckr: error });
  if (drop) actions.push({ do: 'drop' });
  if (crash) actions.push({ do: 'crash' });
  const [action] = actions;
  if (action && actions.length === 1) return action;
  throw new KeyspanError('KeyspanUsage', 'Give one of --delay, --error, --drop and --crash.');
}

export async function addFault(options: FaultOptions): Promise<number> {
  const { hsm, operation, when, nth, times } = options;
  const rule: FaultRule = { operation, when, nth, times, action: actionOf(options) };
  const { id } = await callAdmin(findHome(options.home), 'FaultAdd', { hsm, rule });
  if (options.json) printJson({ id });
  else print(`Fault ${id} waits in ${hsm} for ${operation}.`);
  return EXIT.ok;
}

export async function listFaults(options: SharedOptions): Promise<number> {
  const { faults } = await callAdmin(findHome(options.home), 'FaultList');
  if (options.json) printJson(faults);
  for (const { id, hsm, operation, when, nth, times, seen, action } of options.json ? [] : faults) {
    const what =
      'ms' in action ? `delay ${action.ms} ms` : 'ckr' in action ? action.ckr : action.do;
    print(`${hsm} ${id}: ${what} ${when} ${operation} number ${nth}, ${times} times, ${seen} seen`);
  }
  return EXIT.ok;
}

export async function clearFaults(options: SharedOptions): Promise<number> {
  await callAdmin(findHome(options.home), 'FaultClear');
  if (options.json) printJson({});
  else print('No fault waits any more.');
  return EXIT.ok;
}
