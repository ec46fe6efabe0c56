import { equalConstantTime } from '../core/bytes.js';
import { KeyspanError } from '../core/errors.js';
import type { HsmFields, HsmResults } from '../protocol/hsm-frames.js';
import { wrapKey } from '../token/wrapping.js';
import { mayCarry, type Session } from './authority.js';
import { heldKey } from './held-keys.js';
import type { Machine } from './machine.js';
import { mask, unmask } from './masking.js';
import { objectOf } from './object-authority.js';
import { digestOfRecord, type KeyRecord } from './records.js';
import { refuse } from './user-operations.js';

/** The record of a key where it is new: what it is, without how it came to be so here. */
function asFirst(record: KeyRecord): KeyRecord {
  const { stamp: _, ...rest } = record;
  return { ...rest, revision: 1 };
}

/** A key for a cluster of the same family, which opens what this one masks. */
export function exportKey(
  machine: Machine,
  session: Session,
  { keyId }: HsmFields<'key-export'>,
): HsmResults['key-export'] {
  const { record, entry, shelved } = heldKey(machine, undefined, keyId);
  refuse(mayCarry(session, record));
  if (!record.object) throw new KeyspanError('HsmUsageRefused', 'the key stays in its cluster');
  const context = machine.masking;
  const first = asFirst(record);
  if (shelved) return { masked: mask(context, first, shelved.blob), proof: record.proof };
  if (!entry || !machine.member.keyring.prove(entry)) throw new KeyspanError('HsmKeyUnproven');
  const blob = wrapKey(machine.token, context.masking.wrap, entry.handle);
  return { masked: mask(context, first, blob), proof: record.proof };
}

/** Whether a user may bring a key here that an HSM of the same family masked. */
export function acceptable(
  machine: Machine,
  session: Session,
  { masked }: HsmFields<'key-acceptable'>,
): HsmResults['key-acceptable'] {
  const { record } = unmask(machine.masking, masked);
  refuse(mayCarry(session, record));
  for (const name of [record.owner, ...record.sharedWith]) {
    if (machine.users.get(name)?.role === 'crypto-user') continue;
    throw new KeyspanError('HsmUserNotFound', 'Specified user does not exist');
  }
  const here = ofReference(machine, record);
  if (!here) return { isHere: false };
  const same = digestOfRecord(asFirst(here));
  if (here.id === record.id && equalConstantTime(same, digestOfRecord(record))) {
    return { isHere: true };
  }
  throw new KeyspanError('HsmAlreadyExists', 'another key has this reference');
}

/** The key of this cluster that has the id or the reference of another. */
function ofReference(machine: Machine, record: KeyRecord): KeyRecord | undefined {
  const { keyring, secrets } = machine.member;
  const same = keyring.get(record.id)?.record ?? secrets.get(record.id)?.record;
  if (same) return same;
  const reference = record.object?.reference;
  let found: KeyRecord | undefined;
  const look = (other: KeyRecord): void => {
    if (objectOf(other)?.reference === reference) found = other;
  };
  keyring.records(look);
  for (const { record: other } of secrets.keys()) look(other);
  return found;
}
