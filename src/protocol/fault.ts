import type { FaultRule } from '../core/fault-rules.js';
import { LIMITS } from '../core/limits.js';
import { FormError, int, object, oneOf, text, type Form } from './form.js';

const delay = object({ do: oneOf('delay'), ms: int({ min: 1, max: LIMITS.fault_delay_max_ms }) });
const error = object({ do: oneOf('error'), ckr: text({ max: 64, pattern: /^CKR_[A-Z0-9_]+$/ }) });
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
