import type { Call } from '../core/call.js';
import { KeyspanError, isErrorCode, isKeyspanError } from '../core/errors.js';
import type { ClusterRecord } from './cluster.js';
import { familyOf } from './cluster.js';
import type { ClusterSession } from './cluster-session.js';
import type { SeenKey } from './key-views.js';
import type { UserKeys } from './user-keys.js';

/** One end of a key's way: a cluster with somebody's login there. */
export interface TravelEnd {
  readonly cluster: { readonly record: ClusterRecord; readonly keys: UserKeys };
  readonly session: ClusterSession;
}

/**
 * Brings a key to a cluster of the same family, under the name and with the attributes that it has
 * (CloudHSM CLI, `key replicate`). The same key again is no error.
 * @throws KeyspanError KeyspanRefused when the clusters are not related, the key is not the same
 * throughout its own, or HSMs of the other do not take it; HsmUserNotFound when its users are not
 * there
 */
export async function replicateKey(
  from: TravelEnd,
  to: TravelEnd,
  reference: string,
  call: Call,
): Promise<SeenKey> {
  if (familyOf(from.cluster.record) !== familyOf(to.cluster.record)) {
    throw new KeyspanError('KeyspanRefused', 'The clusters do not share a backup history');
  }
  const known = await from.cluster.keys.describe(from.session, reference);
  if (JSON.stringify(known.described).includes('"inconsistent"')) {
    const sentence = 'The selected key is not synchronized throughout the cluster';
    throw new KeyspanError('KeyspanRefused', sentence);
  }
  const made = await from.session.run('key-export', { keyId: known.id }, call, known.id);
  const answers = await to.session.onEach('key-acceptable', { masked: made.masked });
  const refusals = answers.flatMap((one) =>
    one.status === 'rejected' ? [one.reason as unknown] : [],
  );
  if (answers.length === 0) throw new KeyspanError('VaultUnavailable');
  if (refusals.length > 0) throw refusalOf(refusals, answers.length);
  const isHere = answers.every((one) => one.status === 'fulfilled' && one.value.isHere);
  if (!isHere) await to.cluster.keys.adopt(known.id, made, call);
  return await to.cluster.keys.describe(to.session, reference);
}

/** Where all say the same of the users, that is what is told. */
function refusalOf(refusals: readonly unknown[], asked: number): unknown {
  const codes = new Set(refusals.map((one) => (isKeyspanError(one) ? one.code : '')));
  const [code] = codes;
  const isShared = codes.size === 1 && refusals.length === asked && isErrorCode(code);
  if (isShared && code !== 'HsmAlreadyExists') return refusals[0];
  const told = `Key replicate failed on ${refusals.length} of ${asked} connections`;
  return new KeyspanError('KeyspanRefused', told, { cause: refusals[0] });
}
