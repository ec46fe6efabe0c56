import type { Reading } from '../audit/metrics.js';
import type { RunningCluster } from '../cluster/running-cluster.js';
import { HSM_STATES } from '../protocol/admin.js';

/** What a cluster says of itself when somebody reads the metrics. */
export async function clusterReadings(cluster: RunningCluster): Promise<Reading[]> {
  const shown = await cluster.status();
  const readings: Reading[] = [
    { name: 'keyspan_queue_depth', labels: { queue: 'create' }, value: cluster.creates },
  ];
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
