import { createPrivateKey } from 'node:crypto';
import { wipe } from '../core/bytes.js';
import { KeyspanError } from '../core/errors.js';
import type { Eni } from '../cluster/network.js';
import type { RunningCluster } from '../cluster/running-cluster.js';
import type { Secrets } from '../cluster/secrets.js';
import type { TlsIdentity } from '../front/eni-listener.js';

/**
 * What the ENIs listen with: the cluster's own key, which lives in its HSMs and comes to the
 * daemon's memory for this (promise 1),
 * and the certificate that the operator's CA signed. Both are made when the cluster has none yet.
 */
export async function tlsOf(
  cluster: RunningCluster,
  secrets: Secrets,
  enis: readonly Eni[],
): Promise<TlsIdentity> {
  if (cluster.record.clusterKey === null) {
    const clusterKey = await cluster.makeClusterKey();
    await cluster.changeRecord((record) => ({ ...record, clusterKey }));
  }
  const { clusterKey } = cluster.record;
  if (clusterKey === null) throw new KeyspanError('KeyspanRefused', 'the cluster has no key');
  const privateKey = await cluster.clusterKey(clusterKey);
  try {
    const certificate =
      cluster.record.certificate ?? (await certify(cluster, secrets, { privateKey, enis }));
    const { certificate: clientCa } = await secrets.authority('clients');
    const key = createPrivateKey({ key: Buffer.from(privateKey), format: 'der', type: 'pkcs8' });
    return {
      key: key.export({ format: 'pem', type: 'pkcs8' }).toString(),
      cert: certificate,
      clientCa,
    };
  } finally {
    wipe(privateKey);
  }
}

/** `up` signs its own cluster, as the operator of a real one would by hand. */
async function certify(
  cluster: RunningCluster,
  secrets: Secrets,
  subject: { privateKey: Uint8Array; enis: readonly Eni[] },
): Promise<string> {
  const { certifyCluster } = await import('../cluster/certificates.js');
  const operator = await secrets.authority('operator');
  const certificate = await certifyCluster({
    operator,
    cluster: cluster.id,
    privateKey: subject.privateKey,
    // also those of HSMs that join later
    addresses: [...new Set(subject.enis.map(({ ip }) => ip))],
  });
  const trustAnchor = operator.certificate;
  await cluster.changeRecord((record) => ({ ...record, certificate, trustAnchor }));
  return certificate;
}
