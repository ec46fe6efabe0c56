import { deadlineIn } from '../core/deadline.js';
import { KeyspanError } from '../core/errors.js';
import type { HsmKeyId } from '../core/ids.js';
import type { CarriedRecord, HsmFields, HsmResults } from '../protocol/hsm-frames.js';
import { changedRecord, mayCarry, mayChange, mayReplace, type Session } from './authority.js';
import type { KeyEntry } from './keyring.js';
import type { Machine } from './machine.js';
import { maskRecord, unmaskRecord } from './masking.js';
import { digestOfRecord, type KeyRecord } from './records.js';
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
  const { record } = entryOf(machine, fields.keyId);
  refuse(mayChange(session, record));
  const { users } = machine;
  const changed = changedRecord(record, fields.change, { users, stamp: fields.stamp });
  if ('refuse' in changed) throw new KeyspanError(changed.refuse, changed.message);
  return carried(machine, changed.record);
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
  const entry = entryOf(machine, record.id);
  refuse(mayReplace(entry.record, record));
  const digest = digestOfRecord(record);
  if (record.revision > entry.record.revision) machine.member.keyring.amend(entry, record);
  return { revision: record.revision, digest };
}

/** The record that is here, for a ledger that knows an older one. */
export function extractRecord(
  machine: Machine,
  session: Session,
  fields: HsmFields<'record-extract'>,
): HsmResults['record-extract'] {
  const { record } = entryOf(machine, fields.keyId);
  refuse(mayCarry(session, record));
  return carried(machine, record);
}

const carried = (machine: Machine, record: KeyRecord): CarriedRecord => ({
  masked: maskRecord(machine.masking, record),
  revision: record.revision,
  digest: digestOfRecord(record),
});

function entryOf(machine: Machine, id: HsmKeyId): KeyEntry {
  const entry = machine.member.keyring.get(id);
  if (!entry) throw new KeyspanError('HsmKeyNotFound');
  return entry;
}
