import { pause } from '../core/deadline.js';
import { KeyspanError } from '../core/errors.js';
import type { FaultRule, FaultRules } from '../core/fault-rules.js';
import { CKR } from '../core/pkcs11.js';
import { CkrFailure, tokenError } from '../token/ckr.js';

/**
 * Lets a fault strike, if one waits for this operation. Only a daemon that was started with
 * `--faults` hands rules to its HSMs.
 * @throws KeyspanError as if the token had answered the fault's return value
 */
export async function strike(
  faults: FaultRules,
  operation: string,
  when: FaultRule['when'],
): Promise<void> {
  const action = faults.take(operation, when);
  switch (action?.do) {
    case 'delay':
      return await pause(action.ms);
    case 'error':
      throw tokenError(new CkrFailure(numberOf(action.ckr), operation), operation);
    case 'drop':
      return await new Promise<never>(() => undefined);
    case 'crash':
      process.kill(process.pid, 'SIGKILL');
  }
}

function numberOf(name: string): number {
  const number = (CKR as Readonly<Record<string, number>>)[name.replace(/^CKR_/, '')];
  if (number === undefined) throw new KeyspanError('HsmBadFrame', `there is no ${name}`);
  return number;
}
