import { X509Certificate } from 'node:crypto';
import { wipe } from '../core/bytes.js';
import { KeyspanError } from '../core/errors.js';
import type { ClusterRecord } from './cluster.js';
import type { RunningCluster } from './running-cluster.js';
import type { Secrets } from './secrets.js';

/**
 * Makes the cluster's key in its first HSM, and what an operator verifies and signs: the CSR and
 * the certificates that speak for it (CloudHSM User Guide, "Verify HSM identity"). It can be done
 * again after a crash.
 */
export async function prepareClaim(cluster: RunningCluster, secrets: Secrets): Promise<void> {
  if (cluster.record.ceremony ?? cluster.record.certificate) return;
  const { founder } = cluster.record;
  if (cluster.record.clusterKey === null) {
    const clusterKey = await cluster.makeClusterKey();
    // one that was deleted meanwhile has taken its key with it
    await cluster.changeRecord((record) =>
      record.founder === founder ? { ...record, clusterKey } : record,
    );
  }
  const { clusterKey } = cluster.record;
  if (clusterKey === null || founder === null) {
    throw new KeyspanError('KeyspanRefused', 'the first HSM is gone again');
  }
  const [{ attest }, aws, manufacturer, hardware, privateKey] = await Promise.all([
    import('./attestation.js'),
    secrets.authority('aws'),
    secrets.authority('manufacturer'),
    secrets.authority('hardware'),
    cluster.clusterKey(clusterKey),
  ]);
  try {
    const ceremony = await attest({ privateKey, hsm: founder, aws, manufacturer, hardware });
    await cluster.changeRecord((record) =>
      record.clusterKey === clusterKey ? { ...record, ceremony } : record,
    );
  } finally {
    wipe(privateKey);
  }
}

/** What an operator hands over to claim a cluster; PEM. */
export interface Claim {
  readonly signedCert: string;
  readonly trustAnchor: string;
}

/**
 * Takes the operator's word that the cluster is theirs. @param initialized what else changes
 * @throws KeyspanError CloudHsmInvalidRequestException
 */
export async function claim(
  cluster: RunningCluster,
  { signedCert, trustAnchor }: Claim,
  initialized: (record: ClusterRecord) => ClusterRecord,
  nowMs: number,
): Promise<void> {
  const { ceremony, id } = cluster.record;
  if (!ceremony) {
    const sentence = `Cluster '${id}' has no HSM yet whose certificate could be signed.`;
    throw new KeyspanError('CloudHsmInvalidRequestException', sentence);
  }
  const { publicKey } = new X509Certificate(ceremony.hsmCertificate);
  const spki = new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }));
  const { checkClaim } = await import('./trust-anchor.js');
  const checked = await checkClaim({ signedCert, trustAnchor, publicKey: spki, nowMs });
  await cluster.changeRecord((record) => {
    if (record.ceremony?.csr !== ceremony.csr) {
      const sentence = `Cluster '${id}' was initialized already, or has another HSM now.`;
      throw new KeyspanError('CloudHsmInvalidRequestException', sentence);
    }
    return initialized({ ...record, ...checked, ceremony: null });
  });
}
