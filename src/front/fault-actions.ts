import { KeyspanError } from '../core/errors.js';
import type { FaultRule, ListedFault } from '../core/fault-rules.js';
import type { Principal } from '../iam/principal.js';
import { faultRule } from '../protocol/fault.js';
import { FormError, object, text } from '../protocol/form.js';

/** What a daemon that was started with `--faults` lets its clients do. */
export interface FaultControl {
  /** @param place an HSM's id, `next` or `daemon` */
  add(place: string, rule: FaultRule): Promise<number>;
  list(): Promise<readonly (ListedFault & { readonly hsm: string })[]>;
  clear(): Promise<void>;
}

const addRequest = object({ Hsm: text({ max: 64 }), Rule: faultRule });
const ACTIONS: ReadonlySet<string> = new Set(['AddFault', 'ListFaults', 'ClearFaults']);

export const isFaultAction = (action: string): boolean => ACTIONS.has(action);

/**
 * @throws KeyspanError UnsupportedOperationException without `--faults`, AccessDeniedException
 * for others than an account's root,
 * ValidationException
 */
export async function performFault(
  control: FaultControl | undefined,
  principal: Principal,
  request: { readonly action: string; readonly params: unknown },
): Promise<Readonly<Record<string, unknown>>> {
  if (!control) {
    const sentence = 'Faults need a daemon that was started with --faults.';
    throw new KeyspanError('UnsupportedOperationException', sentence);
  }
  if (principal.type !== 'Account') {
    throw new KeyspanError('AccessDeniedException', 'Faults are for the account root alone.');
  }
  if (request.action === 'ListFaults') return { Faults: await control.list() };
  if (request.action === 'AddFault') return await addFault(control, request.params);
  await control.clear();
  return {};
}

async function addFault(control: FaultControl, params: unknown): Promise<{ Id: number }> {
  try {
    const { Hsm, Rule } = addRequest(params);
    return { Id: await control.add(Hsm, Rule) };
  } catch (error) {
    const isForm = error instanceof FormError;
    const isUsage = error instanceof KeyspanError && error.code === 'KeyspanUsage';
    if (isForm || isUsage) throw new KeyspanError('ValidationException', error.message);
    throw error;
  }
}
