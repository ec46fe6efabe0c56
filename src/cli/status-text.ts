import type { HsmStatus, StatusDocument } from '../protocol/admin.js';
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
export function statusText(status: StatusDocument): string {
  const { cluster } = status;
  const kind = status.ephemeral ? ', ephemeral' : '';
  const lines = [
    `Keyspan ${status.version} is ${status.state} (process ${status.pid}${kind})`,
    `home      ${status.home}`,
    `cluster   ${cluster.id} is ${cluster.state}, ${cluster.region}, account ${cluster.account}`,
    ...status.endpoints.websocket.map((url) => `endpoint  ${url}`),
    `aws       ${status.endpoints.aws}`,
    ...(status.endpoints.metrics ? [`metrics   ${status.endpoints.metrics}`] : []),
    '',
    hsmTable(cluster.hsms),
  ];
  if (!cluster.keyAvailabilityCheck) {
    lines.push('', 'The key-availability rule is off: a new key is on one HSM, and lost with it.');
  }
  return lines.join('\n');
}
