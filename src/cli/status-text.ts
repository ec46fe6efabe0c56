import type { ClusterStatus, HsmStatus, InstallationStatus } from '../protocol/admin.js';
import { table } from './output.js';

/** The HSMs as a table for people. */
export function hsmTable(hsms: readonly HsmStatus[]): string {
  return table(
    ['HSM', 'AZ', 'STATE', 'ENI', 'PID', 'KEYS'],
    hsms.map((hsm) => [
      hsm.id,
      hsm.az,
      hsm.state,
      hsm.eniIp,
      String(hsm.pid ?? '-'),
      String(hsm.keys ?? '-'),
    ]),
  );
}

/** What runs, for people. */
export function statusText(status: InstallationStatus): string {
  const { cluster, clusters } = status;
  const kind = status.ephemeral ? ', ephemeral' : '';
  const lines = [
    `Keyspan ${status.version} is ${status.state} (process ${status.pid}${kind})`,
    `home      ${status.home}`,
    ...(cluster ? [headOf(cluster)] : ['cluster   none of its own']),
    ...status.endpoints.websocket.map((url) => `endpoint  ${url}`),
    `aws       ${status.endpoints.aws}`,
    ...(status.endpoints.metrics ? [`metrics   ${status.endpoints.metrics}`] : []),
    ...(cluster ? ['', hsmTable(cluster.hsms)] : []),
    ...clusters.flatMap((one) => ['', headOf(one), hsmTable(one.hsms)]),
  ];
  if (cluster && !cluster.keyAvailabilityCheck) {
    lines.push('', 'The key-availability rule is off: a new key is on one HSM, and lost with it.');
  }
  return lines.join('\n');
}

const headOf = ({ id, state, region, account }: ClusterStatus): string =>
  `cluster   ${id} is ${state}, ${region}, account ${account}`;
