import { deadlineIn } from '../core/deadline.js';
import { KeyspanError } from '../core/errors.js';
import type { HsmKeyId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import type { Logger } from '../core/log.js';
import type { HandedOver } from '../protocol/hsm-frames.js';
import { BackupWriter, type BackupHead, type BackupKey, type Sealing } from './backup-file.js';
import { familyOf } from './cluster.js';
import { USERS } from './lifecycle.js';
import type { Member } from './member.js';
import type { Recovery } from './recovery.js';
import type { RunningCluster } from './running-cluster.js';
import type { Secrets } from './secrets.js';

const STEP_MS = LIMITS.request_timeout_ms;

export interface TakingOptions {
  readonly cluster: RunningCluster;
  readonly recovery: Recovery;
  readonly secrets: Secrets;
  readonly store: { readonly id: string };
  /** where the file is to be */
  readonly path: string;
  readonly sealing: Sealing;
  /** civil time */
  readonly nowMs: number;
  /** aborted when it is to be given up */
  readonly signal: AbortSignal;
  readonly log: Logger;
}

/**
 * Writes down what a cluster holds: an HSM gives its masking keys and users, then the keys follow
 * in small portions, between which it serves others.
 * @returns live keys that no HSM could give
 * @throws KeyspanError VaultUnavailable when no HSM serves
 */
export async function takeBackup(options: TakingOptions): Promise<HsmKeyId[]> {
  const { cluster, path, sealing, log } = options;
  const givers = cluster.members
    .filter((member) => member.isReachable)
    .sort((a, b) => Number(b.channel !== undefined) - Number(a.channel !== undefined));
  const head = await headOf(options, givers);
  await using writer = await BackupWriter.open(path, sealing, head);
  await cluster.ledger.current();
  const live = [...cluster.ledger.all()].filter(([, { state }]) => state === 'live');
  const ids = live.map(([id]) => id);
  const lost: HsmKeyId[] = [];
  for (let at = 0; at < ids.length; at += LIMITS.backup_batch_keys_max) {
    if (options.signal.aborted)
      throw new KeyspanError('KeyspanRefused', 'The backup was given up.');
    const some = ids.slice(at, at + LIMITS.backup_batch_keys_max);
    const given = await askInTurn(givers, some);
    await writer.add(some.flatMap((id) => keyOf(cluster, id, given.get(id))));
    // one that was destroyed meanwhile is not missed
    const isLost = (id: HsmKeyId): boolean =>
      !given.has(id) && cluster.ledger.get(id)?.state === 'live';
    lost.push(...some.filter(isLost));
  }
  await writer.finish();
  if (lost.length > 0) {
    log.warn({ cluster: cluster.id, keys: lost.length }, 'a backup is without some keys');
  }
  return lost;
}

async function headOf(
  { cluster, recovery, secrets, store, nowMs }: TakingOptions,
  givers: readonly Member[],
): Promise<BackupHead> {
  const given = await handedOver(givers, await recovery.certificates());
  const { record } = cluster;
  const { clusterKey, certificate, trustAnchor, founder } = record;
  if (clusterKey === null || certificate === null || trustAnchor === null || founder === null) {
    throw new KeyspanError('KeyspanRefused', 'The cluster was not claimed yet.');
  }
  const { hsmType, mode, networkType, retentionDays, epoch } = record;
  return {
    hsmType,
    mode,
    networkType,
    retentionDays,
    epoch,
    clusterKey,
    certificate,
    trustAnchor,
    founder,
    ...given,
    cluster: cluster.id,
    family: familyOf(record),
    createdMs: Math.floor(nowMs),
    appliancePassword: await secrets.passwordOf(cluster.id, USERS.appliance),
    store: store.id,
    stamp: await cluster.stamp(),
  };
}

/** By the first HSM that does it. */
async function handedOver(
  givers: readonly Member[],
  certificates: readonly string[],
): Promise<HandedOver> {
  let failure: unknown = new KeyspanError('VaultUnavailable');
  for (const giver of givers) {
    try {
      return await giver.ask('backup', { certificates }, deadlineIn(STEP_MS));
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
}

/** What one HSM does not have, or cannot prove, the next one may. */
async function askInTurn(
  givers: readonly Member[],
  ids: readonly HsmKeyId[],
): Promise<Map<HsmKeyId, Uint8Array>> {
  const found = new Map<HsmKeyId, Uint8Array>();
  let failure: unknown;
  for (const giver of givers) {
    try {
      await askAll(giver, ids, found);
      failure = undefined;
    } catch (error) {
      failure = error;
    }
    if (found.size === ids.length) return found;
  }
  if (failure !== undefined && found.size === 0) throw failure;
  return found;
}

/** An HSM answers as many keys as fit into a frame: it is asked for the rest until it has none. */
async function askAll(
  giver: Member,
  ids: readonly HsmKeyId[],
  found: Map<HsmKeyId, Uint8Array>,
): Promise<void> {
  for (;;) {
    const keyIds = ids.filter((id) => !found.has(id));
    if (keyIds.length === 0) return;
    const { keys } = await giver.ask('backup-keys', { keyIds }, deadlineIn(STEP_MS));
    for (const { id, masked } of keys) found.set(id, masked);
    if (keys.length === 0) return;
  }
}

/** The entry as it is now: a change of the key's record may have come in between. */
function keyOf(
  { ledger }: RunningCluster,
  id: HsmKeyId,
  masked: Uint8Array | undefined,
): BackupKey[] {
  const entry = ledger.get(id);
  return entry?.state === 'live' && masked ? [{ id, entry, masked }] : [];
}
