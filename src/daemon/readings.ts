import type { Reading } from '../audit/metrics.js';
import type { RunningCluster } from '../cluster/running-cluster.js';
import { HSM_STATES } from '../protocol/admin.js';

/** What the clusters say of themselves when somebody reads the metrics. */
export async function clusterReadings(clusters: readonly RunningCluster[]): Promise<Reading[]> {
  const creates = clusters.reduce((sum, cluster) => sum + cluster.creates, 0);
  const depth: Reading = {
    name: 'keyspan_queue_depth',
    labels: { queue: 'create' },
    value: creates,
  };
  return [depth, ...(await Promise.all(clusters.map(readingsOf))).flat()];
}

async function readingsOf(cluster: RunningCluster): Promise<Reading[]> {
  const shown = await cluster.status();
  const readings: Reading[] = [];
  for (const { id, state, keys } of shown) {
    const labels = { hsm: id };
    for (const each of HSM_STATES) {
      const value = each === state ? 1 : 0;
      readings.push({ name: 'keyspan_hsm_state', labels: { hsm: id, state: each }, value });
    }
    if (keys !== null) readings.push({ name: 'keyspan_hsm_keys', labels, value: keys });
  }
  for (const { id, channel, supervisor } of cluster.members) {
    const labels = { hsm: id };
    const inflight = { queue: 'channel', hsm: id };
    readings.push(
      { name: 'keyspan_queue_depth', labels: inflight, value: channel?.inflight ?? 0 },
      { name: 'keyspan_hsm_operations_total', labels, value: supervisor.requested },
      { name: 'keyspan_hsm_restarts_total', labels, value: supervisor.restarts },
    );
  }
  return readings;
}
