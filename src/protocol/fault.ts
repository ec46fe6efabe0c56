import { KeyspanError } from '../core/errors.js';
import type { FaultRule } from '../core/fault-rules.js';
import { CKR } from '../core/pkcs11.js';
import { LIMITS } from '../core/limits.js';
import { FormError, int, object, oneOf, text, type Form } from './form.js';

const delay = object({ do: oneOf('delay'), ms: int({ min: 1, max: LIMITS.fault_delay_max_ms }) });
const name = text({ max: 64 });
/** One that PKCS#11 has: a name of nothing would be found out only when the fault strikes. */
const ckr: Form<string> = (value) => {
  const known = name(value);
  if (known.startsWith('CKR_') && Object.hasOwn(CKR, known.slice(4))) return known;
  throw new FormError('is no return value of PKCS#11');
};
const error = object({ do: oneOf('error'), ckr });
const drop = object({ do: oneOf('drop') });
const crash = object({ do: oneOf('crash') });

const ACTIONS: Readonly<Record<string, Form<FaultRule['action']>>> = { delay, error, drop, crash };

const action: Form<FaultRule['action']> = (value) => {
  const name = (value as { do?: unknown } | null)?.do;
  const form = typeof name === 'string' && Object.hasOwn(ACTIONS, name) ? ACTIONS[name] : undefined;
  if (!form) throw new FormError(`is none of ${Object.keys(ACTIONS).join(', ')}`);
  return form(value);
};

/** A fault as it crosses a wire. */
export const faultRule: Form<FaultRule> = object({
  operation: text({ max: 64 }),
  when: oneOf('before', 'after'),
  nth: int({ min: 1 }),
  times: int({ min: 1 }),
  action,
});

/** @throws KeyspanError ValidationException with what is wrong */
export function readFaultRule(rule: unknown): FaultRule {
  try {
    return faultRule(rule);
  } catch (error) {
    if (!(error instanceof FormError)) throw error;
    throw new KeyspanError('ValidationException', `The fault's rule: ${error.message}.`);
  }
}
