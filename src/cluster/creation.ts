import { joinParts, type CommitPart } from '../core/commit.js';
import type { BackupId, ClusterId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import { KEYSPACE } from '../store/keyspace.js';
import type { Store } from '../store/store.js';
import { encodeCluster, type ClusterRecord } from './cluster.js';
import { putEntry } from './key-ledger.js';
import { USERS, create, newClusterRecord, type NewRecord } from './lifecycle.js';
import type { OpenedBackup } from './restoring.js';
import type { Secrets } from './secrets.js';
import { StoreAge } from './store-age.js';

/** Writes down a cluster that has nothing yet: its operator is to claim it. */
export async function writeNew(store: Store, secrets: Secrets, of: NewRecord): Promise<ClusterId> {
  const record = newClusterRecord(of);
  const users = [USERS.appliance, USERS.preCrypto];
  const passwords = users.map((user) => secrets.newPasswordOf(record.id, user));
  await store.commit(joinParts(put(record), ...passwords));
  return record.id;
}

/**
 * Writes down a relative of the cluster that a backup was taken of: it has the same certificate,
 * keys and users as soon as an HSM is there to hold them. What a crash leaves before the record
 * is there, names a cluster that never was.
 */
export async function writeRestored(
  store: Store,
  secrets: Secrets,
  of: NewRecord,
  { id: source, backup }: { readonly id: BackupId; readonly backup: OpenedBackup },
): Promise<ClusterId> {
  const { head, keys } = backup;
  const { mode, family, founder, epoch, maskingKeyId, clusterKey, certificate, trustAnchor } = head;
  // the records of keys say how far the store had come; this one is to be ahead of them all
  const adoptions = StoreAge.adoptionsIn(head.stamp);
  const record = newClusterRecord({
    ...of,
    mode,
    family,
    founder,
    epoch,
    maskingKeyId,
    clusterKey,
    certificate,
    trustAnchor,
    founded: true,
    adoption: head.store === store.id ? adoptions : adoptions + 1,
    sourceBackupId: source,
    restoreFrom: source,
  });
  const entries = [...keys.values()].map(({ id, entry }) => putEntry(record.id, id, entry));
  const atOnce = LIMITS.store_commit_writes_max;
  for (let at = 0; at < entries.length; at += atOnce) {
    await store.commit({ compares: [], writes: entries.slice(at, at + atOnce) });
  }
  const password = Buffer.from(head.appliancePassword);
  const secret = secrets.put(KEYSPACE.userSecret(record.id, USERS.appliance), password);
  await store.commit(joinParts(put(record), secret));
  return record.id;
}

const put = (record: ClusterRecord): CommitPart =>
  create(KEYSPACE.cluster(record.id), encodeCluster(record));
