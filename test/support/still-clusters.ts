import { randomBytes } from 'node:crypto';
import { onTestFinished } from 'vitest';
import { encodeCluster, type ClusterRecord } from '../../src/cluster/cluster.js';
import { Clusters } from '../../src/cluster/clusters.js';
import { Backups } from '../../src/cluster/backups.js';
import { Secrets } from '../../src/cluster/secrets.js';
import { findHome } from '../../src/core/home.js';
import { silentLog } from '../../src/core/log.js';
import { KEYSPACE } from '../../src/store/keyspace.js';
import { MemoryStore } from '../../src/store/memory.js';
import { InstallationKey, Sealer } from '../../src/store/sealed.js';
import { temporaryDirectory } from './temporary-directory.js';

export const BLOCK = { mode: 'ports', bind: '127.0.0.1', firstPort: 21_600 } as const;

export interface StillClusters {
  readonly clusters: Clusters;
  readonly store: MemoryStore;
  readonly secrets: Secrets;
  readonly backups: Backups;
}

/** Clusters without HSMs, of callers, in a store of their own. */
export async function stillClusters(records: readonly ClusterRecord[]): Promise<StillClusters> {
  const store = new MemoryStore();
  const sealer = new Sealer(new InstallationKey(randomBytes(32)));
  const secrets = new Secrets(store, sealer);
  const home = findHome(temporaryDirectory());
  const backups = await Backups.open({ home, store, secrets, sealer, civil: () => 0 });
  onTestFinished(() => backups[Symbol.asyncDispose]());
  for (const record of records) {
    const put = {
      op: 'put',
      key: KEYSPACE.cluster(record.id),
      value: encodeCluster(record),
    } as const;
    await store.commit({ compares: [], writes: [put] });
  }
  const clusters = await Clusters.open({
    home,
    store,
    secrets,
    log: silentLog(),
    faults: false,
    block: BLOCK,
    changed: () => undefined,
    repaired: () => undefined,
    reshaped: () => undefined,
    openBackup: (id) => backups.read(id),
  });
  onTestFinished(() => clusters[Symbol.asyncDispose]());
  return { clusters, store, secrets, backups };
}
