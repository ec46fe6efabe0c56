import { shownState } from '../cluster/cluster-states.js';
import type { RunningCluster } from '../cluster/running-cluster.js';
import type { ClusterStatus, HsmStatus, InstallationStatus } from '../protocol/admin.js';
import type { DaemonConfig } from './config.js';

export interface StatusParts {
  readonly config: DaemonConfig;
  readonly version: string;
  /** where the daemon is in its own life */
  readonly state: 'STARTING' | 'READY' | 'STOPPING';
  /** the cluster that backs KMS */
  readonly own: RunningCluster | undefined;
  /** all that are there */
  readonly clusters: readonly RunningCluster[];
  readonly endpoints: InstallationStatus['endpoints'];
  /** civil time, in milliseconds since 1970 */
  readonly nowMs: number;
}

/** What `keyspan status` shows. */
export async function statusOf(parts: StatusParts): Promise<InstallationStatus> {
  const { config, version, own, nowMs, endpoints } = parts;
  const others = parts.clusters.filter((one) => one !== own);
  const [cluster, clusters] = await Promise.all([
    own && clusterStatus(own, nowMs),
    Promise.all(others.map((one) => clusterStatus(one, nowMs))),
  ]);
  return {
    state: stateOf(parts.state, cluster?.hsms),
    version,
    home: config.home.root,
    pid: process.pid,
    ephemeral: config.ephemeral,
    region: cluster?.region ?? config.region,
    account: cluster?.account ?? config.account,
    ...(own && cluster && { cluster: { ...cluster, ...healthOf(own) } }),
    clusters,
    endpoints,
  };
}

async function clusterStatus(cluster: RunningCluster, nowMs: number): Promise<ClusterStatus> {
  const { id, region, account } = cluster.record;
  const hsms = await cluster.status();
  return { id, state: shownState(cluster.record, nowMs), region, account, hsms };
}

const healthOf = (
  own: RunningCluster,
): { keyAvailabilityCheck: boolean; storeBehind?: boolean } => ({
  keyAvailabilityCheck: own.record.availability > 1,
  ...(own.isStoreBehind && { storeBehind: true }),
});

function stateOf(
  state: StatusParts['state'],
  hsms: readonly HsmStatus[] | undefined,
): InstallationStatus['state'] {
  if (state !== 'READY' || !hsms) return state;
  const active = hsms.filter((hsm) => hsm.state === 'ACTIVE').length;
  if (active === 0) return 'UNAVAILABLE';
  return active === hsms.length ? 'READY' : 'DEGRADED';
}
