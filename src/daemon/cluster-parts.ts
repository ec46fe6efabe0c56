import { BackupJobs } from '../cluster/backup-jobs.js';
import { BackupRequests } from '../cluster/backup-requests.js';
import { Backups } from '../cluster/backups.js';
import { Clusters, type ClustersOptions } from '../cluster/clusters.js';
import { ControlPlane } from '../cluster/control-plane.js';
import { createCluster } from '../cluster/lifecycle.js';
import type { Block } from '../cluster/network.js';
import type { RunningCluster } from '../cluster/running-cluster.js';
import type { Secrets } from '../cluster/secrets.js';
import { Subnets } from '../cluster/subnets.js';
import type { ClusterId } from '../core/ids.js';
import type { Logger } from '../core/log.js';
import type { Sealer } from '../store/sealed.js';
import type { Store } from '../store/store.js';
import type { DaemonConfig } from './config.js';
import { addressesOf, ensureAuthorities } from './installation.js';

export interface ClusterPartsOptions extends Pick<ClustersOptions, 'changed' | 'repaired'> {
  readonly config: DaemonConfig;
  readonly store: Store;
  readonly secrets: Secrets;
  readonly sealer: Sealer;
  /** civil time, in milliseconds since 1970 */
  readonly civil: () => number;
  /** a cluster has a certificate from now on */
  readonly claimed: (cluster: ClusterId) => void;
  readonly log: Logger;
}

/** The clusters of an installation with their backups, and what CloudHSM's API does to them. */
export interface ClusterParts {
  readonly block: Block;
  readonly clusters: Clusters;
  readonly control: ControlPlane;
  readonly backups: BackupRequests;
  readonly jobs: BackupJobs;
}

/**
 * Opens all of it and starts the HSMs; where the installation is to have a cluster of its own and
 * has none, it is made. @param cleanup gets what ends the parts, in the order of their making
 */
export async function openClusterParts(
  options: ClusterPartsOptions,
  cleanup: (() => PromiseLike<void> | void)[],
): Promise<ClusterParts> {
  const { config, store, secrets, sealer, civil, log } = options;
  const { home, faults, timeScale, syncMs } = config;
  const use = <T extends AsyncDisposable>(part: T): T => {
    cleanup.push(() => part[Symbol.asyncDispose]());
    return part;
  };
  await ensureAuthorities(store, secrets, config);
  const block = await addressesOf(store, config);
  const backups = use(await Backups.open({ home, store, secrets, sealer, civil }));
  const wanted: { jobs?: BackupJobs } = {};
  const clusters = use(
    await Clusters.open({
      home,
      store,
      secrets,
      log,
      syncMs,
      faults,
      block,
      changed: options.changed,
      repaired: options.repaired,
      openBackup: (id) => backups.read(id),
      reshaped: (id) => wanted.jobs?.want(id),
    }),
  );
  await ensureOwn(clusters, block, options);
  const all = (): readonly RunningCluster[] => clusters.all;
  const jobs = use(
    new BackupJobs({ backups, store, secrets, civil, timeScale, log, clusters: all }),
  );
  wanted.jobs = jobs;
  const { clustersPerRegion, hsmsPerRegion, allowHsm1 } = config;
  const control = use(
    new ControlPlane({
      clusters,
      backups,
      jobs,
      store,
      secrets,
      civil,
      timeScale,
      log,
      subnets: new Subnets(store, block, home.root),
      quotas: {
        clusters: clustersPerRegion,
        hsms: hsmsPerRegion,
      },
      allowsHsm1: allowHsm1,
      claimed: options.claimed,
    }),
  );
  const present = (): readonly RunningCluster[] => control.present();
  const requests = new BackupRequests({ backups, civil, timeScale, clusters: present });
  return { block, clusters, control, backups: requests, jobs };
}

async function ensureOwn(
  clusters: Clusters,
  block: Block,
  { config, store, secrets, civil, log }: ClusterPartsOptions,
): Promise<void> {
  const { account, region, hsms, hsmsGiven, ownCluster } = config;
  const { own } = clusters;
  if (own && hsmsGiven && hsms !== own.members.length) {
    log.warn({ hsms: own.members.length }, 'the cluster exists and keeps its HSMs');
  }
  if (own || !ownCluster) return;
  clusters.checkRoom(hsms);
  const wanted = { account, region, hsms, block, nowMs: civil() };
  await clusters.take(await createCluster(store, secrets, wanted));
}
