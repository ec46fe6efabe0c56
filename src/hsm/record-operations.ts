import { deadlineIn } from '../core/deadline.js';
import { KeyspanError } from '../core/errors.js';
import type { CarriedRecord, HsmFields, HsmResults } from '../protocol/hsm-frames.js';
import type { RecordChange } from '../protocol/hsm-key-frames.js';
import { changedRecord, mayCarry, mayReplace, type Session } from './authority.js';
import { amendHeld, heldKey } from './held-keys.js';
import type { Machine } from './machine.js';
import { maskRecord, unmaskRecord } from './masking.js';
import { needKeyApproval } from './key-approval.js';
import { changedObject, mayChangeObject } from './object-authority.js';

import { digestOfRecord, type KeyObject, type KeyRecord } from './records.js';
import { refuse, refuseLate } from './user-operations.js';

/**
 * A change of a key's record in two steps: one HSM decides it and vouches for what it comes to;
 * when that was committed every HSM takes it up. So no HSM has a record that was never committed.
 */
export function prepareRecord(
  machine: Machine,
  session: Session,
  fields: HsmFields<'record-prepare'>,
): HsmResults['record-prepare'] {
  const { change, stamp, approval } = fields;
  const held = heldKey(machine, session, fields.keyId);
  const { record } = held;
  refuse(mayChangeObject(session, record, change));
  const after = objectAfter(session, record, change);
  const { users } = machine;
  const changed = changedRecord(record, change, { users, stamp, object: after });
  if ('refuse' in changed) throw new KeyspanError(changed.refuse, changed.message);
  // last of all: an approval is used up by what it lets begin
  needKeyApproval(machine, session, record, { service: 'key-management', approval });
  // a session key is on this HSM alone: there is nobody to commit it
  if (held.own) amendHeld(machine, held, changed.record);
  return carried(machine, changed.record);
}

function objectAfter(
  session: Session,
  record: KeyRecord,
  change: RecordChange,
): KeyObject | undefined {
  const { object } = record;
  if (!object) {
    const { set, id, wrapTemplate, unwrapTemplate } = change;
    if (!set && !id && !wrapTemplate && !unwrapTemplate) return undefined;
    throw new KeyspanError('HsmAttributeRefused', 'the key has no attributes that can be changed');
  }
  const changed = changedObject(session, object, change);
  if ('refuse' in changed) throw new KeyspanError(changed.refuse, changed.message);
  return changed.object;
}

/** It is written on the main thread: changes are rare, and each must bind when it is answered. */
export async function applyRecord(
  machine: Machine,
  _session: Session,
  fields: HsmFields<'record-apply'>,
  timeoutMs: number,
): Promise<HsmResults['record-apply']> {
  const deadline = deadlineIn(timeoutMs);
  const record = unmaskRecord(machine.masking, fields.masked);
  while (machine.installing.has(record.id)) await machine.installing.get(record.id);
  refuseLate(deadline);
  const held = heldKey(machine, undefined, record.id);
  refuse(mayReplace(held.record, record));
  const digest = digestOfRecord(record);
  if (record.revision > held.record.revision) amendHeld(machine, held, record);
  return { revision: record.revision, digest };
}

/** The record that is here, for a ledger that knows an older one. */
export function extractRecord(
  machine: Machine,
  session: Session,
  fields: HsmFields<'record-extract'>,
): HsmResults['record-extract'] {
  const { record } = heldKey(machine, undefined, fields.keyId);
  refuse(mayCarry(session, record));
  return carried(machine, record);
}

const carried = (machine: Machine, record: KeyRecord): CarriedRecord => ({
  masked: maskRecord(machine.masking, record),
  revision: record.revision,
  digest: digestOfRecord(record),
});
