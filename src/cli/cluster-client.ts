import { readFile } from 'node:fs/promises';
import { KeyspanClient } from '../client/client.js';
import { KeyspanError } from '../core/errors.js';
import type { Home } from '../core/home.js';
import type { InstallationStatus } from '../protocol/admin.js';
import type { Subprotocol } from '../protocol/client-frames.js';
import { callAdmin } from './admin-client.js';

/**
 * Connects to the cluster of a home as the principal of the home's own certificate.
 * @throws what `callAdmin` and `KeyspanClient.connect` throw, KeyspanError (KeyspanConfig) when
 * the certificates cannot be read
 */
export async function connectToCluster(
  home: Home,
  subprotocol: Subprotocol = 'keyspan.v1.cbor',
): Promise<KeyspanClient> {
  const [status, pems] = await Promise.all([callAdmin(home, 'Status'), readPems(home)]);
  return await KeyspanClient.connect({
    endpoints: orderEndpoints(status),
    ...pems,
    subprotocol,
    connectTimeoutMs: 0,
  });
}

async function readPems(
  home: Home,
): Promise<{ ca: string; certificate: string; privateKey: string }> {
  const paths = [home.customerCa, home.clientCertificate, home.clientKey];
  try {
    const [ca = '', certificate = '', privateKey = ''] = await Promise.all(
      paths.map((path) => readFile(path, 'utf8')),
    );
    return { ca, certificate, privateKey };
  } catch (cause) {
    // that no daemon runs is the better explanation where it applies
    await callAdmin(home, 'Status');
    throw new KeyspanError('KeyspanConfig', `${home.root}: the certificates cannot be read`, {
      cause,
    });
  }
}

/** ENIs of active HSMs first, and among them a random one, so that commands spread. */
export function orderEndpoints(
  status: Pick<InstallationStatus, 'cluster' | 'endpoints'>,
  random: () => number = Math.random,
): string[] {
  const active = (status.cluster?.hsms ?? [])
    .filter(({ state }) => state === 'ACTIVE')
    .map(({ eniIp }) => eniIp);
  const ranked = status.endpoints.websocket.map((endpoint) => ({
    endpoint,
    rank: (active.includes(new URL(endpoint).hostname) ? 0 : 1) + random(),
  }));
  return ranked.sort((a, b) => a.rank - b.rank).map(({ endpoint }) => endpoint);
}
