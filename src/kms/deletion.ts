import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { authorizeKey } from './authorize.js';
import { changePart } from './due-keys.js';
import { requireState } from './key.js';
import { findOwnKey } from './key-lookup.js';
import { civilSecondsIn } from './records.js';
import type { Answer, KmsParts, KmsRequest } from './request.js';

/** From the day on that it answers no request finds the key; a job then removes it. */
export async function scheduleKeyDeletion(
  kms: KmsParts,
  request: KmsRequest<'ScheduleKeyDeletion'>,
): Promise<Answer> {
  const days = windowOf(request.params.PendingWindowInDays);
  const key = findOwnKey(kms.facts, request, request.params.KeyId);
  const window = ['kms:ScheduleKeyDeletionPendingWindowInDays', [String(days)]] as const;
  authorizeKey(kms, request, key, { keys: () => [window] });
  requireState(key, 'attach');
  const deletionDate = civilSecondsIn(days, kms.clock);
  const state = 'PendingDeletion';
  const revision = await kms.facts.commit(changePart(key, { ...key, state, deletionDate }));
  await kms.facts.shown(revision, request.call.deadline);
  return {
    KeyId: key.arn,
    DeletionDate: deletionDate,
    KeyState: state,
    PendingWindowInDays: days,
  };
}

/** @throws ValidationException: the model allows more than the service does */
function windowOf(days: number = LIMITS.kms_deletion_window_max_days): number {
  const { kms_deletion_window_min_days: min, kms_deletion_window_max_days: max } = LIMITS;
  if (days >= min && days <= max) return days;
  const sentence = `PendingWindowInDays must be between ${min} and ${max}`;
  throw new KeyspanError('ValidationException', sentence);
}

/** The key is disabled afterwards, and has its rotation again. */
export async function cancelKeyDeletion(
  kms: KmsParts,
  request: KmsRequest<'CancelKeyDeletion'>,
): Promise<Answer> {
  const key = findOwnKey(kms.facts, request, request.params.KeyId);
  authorizeKey(kms, request, key);
  requireState(key, 'cancel');
  const to = { ...key, state: 'Disabled' as const, deletionDate: undefined };
  const revision = await kms.facts.commit(changePart(key, to));
  await kms.facts.shown(revision, request.call.deadline);
  return { KeyId: key.arn };
}
