import type { HsmApproval } from '../protocol/quorum-frames.js';
import type { Session } from './authority.js';
import type { Machine } from './machine.js';
import { needApproval } from './quorum.js';
import type { KeyRecord } from './records.js';

/**
 * Lets an operation with a key begin that others of its users may have to approve. It comes after
 * every other decision: an approval is used up by what it lets begin.
 * @throws KeyspanError when approvals are missing or wrong
 */
export function needKeyApproval(
  machine: Machine,
  session: Session,
  record: KeyRecord,
  asked: {
    readonly service: 'key-usage' | 'key-management';
    readonly approval: HsmApproval | undefined;
  },
): void {
  const { object, owner, sharedWith } = record;
  if (!object) return;
  const approvals = asked.service === 'key-usage' ? object.use : object.manage;
  if (approvals < 2) return;
  const key = { reference: record.id, owner, sharedWith };
  needApproval(machine, session, { service: asked.service, key, approvals }, asked.approval);
}
