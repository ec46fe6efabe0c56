import type { Call } from '../core/call.js';
import { deadlineIn } from '../core/deadline.js';
import { KeyspanError } from '../core/errors.js';
import type { HsmKeyId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import type { Store } from '../store/store.js';
import type { Member } from './member.js';
import type { Replicator } from './replicator.js';

/**
 * Makes the key behind a cluster's certificate, as every key is made: on enough HSMs before it
 * counts.
 */
export async function makeClusterKey(
  members: readonly Member[],
  replicator: Replicator,
  store: Store,
): Promise<HsmKeyId> {
  const call: Call = {
    requestId: 'cluster-key',
    deadline: deadlineIn(LIMITS.hsm_start_timeout_ms),
  };
  const maker = members.find((member) => member.channel);
  if (!maker) throw new KeyspanError('VaultUnavailable');
  const prepared = await replicator.create(
    'cluster-key',
    (keyId) =>
      maker.ask('generate', { keyId, kind: 'cluster-key', label: 'cluster' }, call.deadline),
    call,
  );
  try {
    await store.commit(prepared.part);
  } catch (error) {
    prepared.abandon();
    throw error;
  }
  prepared.committed();
  return prepared.id;
}

/** The cluster's private key (PKCS #8), from any member that holds it; the caller wipes it. */
export async function readClusterKey(
  members: readonly Member[],
  keyId: HsmKeyId,
): Promise<Uint8Array> {
  let failure: unknown = new KeyspanError('VaultUnavailable');
  for (const member of members) {
    if (!member.channel) continue;
    try {
      const deadline = deadlineIn(LIMITS.request_timeout_ms);
      return (await member.ask('cluster-key', { keyId }, deadline)).privateKey;
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
}
