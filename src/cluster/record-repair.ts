import { equalConstantTime } from '../core/bytes.js';
import { deadlineIn } from '../core/deadline.js';
import { KeyspanError } from '../core/errors.js';
import type { HsmKeyId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import type { KeyLedger } from './key-ledger.js';
import type { Member } from './member.js';

const STEP_MS = LIMITS.request_timeout_ms;

/**
 * Gives an HSM that has an older record of a key the one that the commit names. It comes from the
 * ledger, so it is there whichever HSM is lost; the HSM itself checks who vouched for it.
 * @throws what the HSM answered
 */
export async function giveRecord(
  member: Member,
  id: HsmKeyId,
  ledger: KeyLedger,
  requestId?: string,
): Promise<void> {
  const entry = ledger.get(id);
  if (entry?.state !== 'live' || !entry.record) return;
  const { masked, digest } = entry.record;
  const deadline = deadlineIn(STEP_MS);
  const answer = await member.ask('record-apply', { masked }, deadline, requestId);
  const right = answer.revision === entry.revision && equalConstantTime(answer.digest, digest);
  if (!right) throw new KeyspanError('HsmRecordStale');
}

/**
 * Makes the newer record of an HSM the one that counts. HSMs take up only what was committed, so
 * that commit was lost with its store: the higher revision wins, and an old store undoes nothing.
 * @returns false when the ledger came to know it, or better, meanwhile
 */
export async function takeUpRecord(
  member: Member,
  id: HsmKeyId,
  ledger: KeyLedger,
): Promise<boolean> {
  const carried = await member.ask('record-extract', { keyId: id }, deadlineIn(STEP_MS));
  const from = await ledger.liveEntry(id);
  return carried.revision > from.entry.revision && (await ledger.amend(from, carried));
}
