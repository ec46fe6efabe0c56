import { changePart } from './due-keys.js';
import type { KeyFact, KeyRecord } from './records.js';
import type { KmsParts, KmsRequest } from './request.js';

/**
 * Changes members of a key in one commit, and answers when the next request is bound by it.
 * @throws StoreConflict when the key changed since it was read
 */
export async function changeKey(
  kms: KmsParts,
  request: Pick<KmsRequest, 'call'>,
  key: KeyFact,
  changes: Partial<Omit<KeyRecord, 'id' | 'account' | 'region'>>,
): Promise<void> {
  const revision = await kms.facts.commit(changePart(key, { ...key, ...changes }));
  await kms.facts.shown(revision, request.call.deadline);
}
