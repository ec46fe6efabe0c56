import { randomBytes } from 'node:crypto';
import { joinParts, type CommitPart } from '../core/commit.js';
import { newClusterId, newEniId, newHsmId, newMaskingKeyId, type ClusterId } from '../core/ids.js';
import { KEYSPACE } from '../store/keyspace.js';
import type { Store } from '../store/store.js';
import { azOf, encodeCluster, encodeHsm, type ClusterRecord, type HsmRecord } from './cluster.js';
import { eniAt, type Block } from './network.js';
import type { Secrets } from './secrets.js';

/** Users that the installation makes on its own cluster. */
export const USERS = {
  admin: 'admin',
  /** the admin's password until the cluster is activated */
  preCrypto: 'admin_before_activation',
  appliance: 'app_user',
  cryptoUser: 'crypto_user',
  kms: 'kmsuser',
} as const;

export interface NewCluster {
  readonly account: string;
  readonly region: string;
  readonly hsms: number;
  readonly block: Block;
  /** civil time */
  readonly nowMs: number;
}

const awsId = (kind: string): string => `${kind}-${randomBytes(9).toString('hex').slice(0, 17)}`;

/**
 * Writes down a cluster with its HSMs; none of them has a token yet. One commit: it is there
 * whole or not at all.
 */
export async function createCluster(
  store: Store,
  secrets: Secrets,
  wanted: NewCluster,
): Promise<ClusterId> {
  const hsms = newHsms(wanted);
  const [founder] = hsms;
  const { account, region, nowMs } = wanted;
  const record = newClusterRecord({
    account,
    region,
    nowMs,
    vpcId: newVpcId(),
    origin: 'installation',
    state: 'INITIALIZED',
    // for trying things out: it can do all that there is
    mode: 'NON_FIPS',
    subnets: Object.fromEntries(hsms.map(({ az, subnetId }) => [az, subnetId])),
    founder: (founder as HsmRecord).id,
    availability: hsms.length > 1 ? 2 : 1,
  });
  const { id } = record;
  const parts: CommitPart[] = [
    create(KEYSPACE.cluster(id), encodeCluster(record)),
    ...Object.values(USERS).map((user) => secrets.newPasswordOf(id, user)),
    ...hsms.map((hsm) => create(KEYSPACE.hsm(id, hsm.id), encodeHsm(hsm))),
    ...hsms.map((hsm) => secrets.newPins(id, hsm.id)),
  ];
  await store.commit(joinParts(...parts));
  return id;
}

/** Of a cluster without an HSM, before its first or after it. */
const UNFOUNDED = {
  founder: null,
  founded: false,
  availability: 1,
  clusterKey: null,
  certificate: null,
  trustAnchor: null,
  ceremony: null,
};

/** No masking key is made twice: the next founder makes others. */
export const unfounded = (): typeof UNFOUNDED & Pick<ClusterRecord, 'maskingKeyId'> => ({
  ...UNFOUNDED,
  maskingKeyId: newMaskingKeyId(),
});

/** What a new cluster's record is made of; `nowMs` is civil time. */
export type NewRecord = Partial<ClusterRecord> &
  Pick<ClusterRecord, 'account' | 'region' | 'vpcId' | 'origin' | 'state'> & {
    readonly nowMs: number;
  };

/** The record of a cluster that is made now. */
export function newClusterRecord({ nowMs, ...of }: NewRecord): ClusterRecord {
  return {
    id: newClusterId(),
    subnets: {},
    dueMs: null,
    hsmType: 'hsm2m.medium',
    formerHsmType: null,
    rollbackUntilMs: null,
    mode: 'FIPS',
    networkType: 'IPV4',
    retentionDays: 90,
    createdMs: Math.floor(nowMs),
    epoch: 1,
    adoption: 0,
    family: null,
    sourceBackupId: null,
    restoreFrom: null,
    ...unfounded(),
    ...of,
  };
}

/** The write of a fact that is not there yet. */
export const create = (key: string, value: Uint8Array): CommitPart => ({
  compares: [{ key, modRevision: null }],
  writes: [{ op: 'put', key, value }],
});

export const newSubnetId = (): string => awsId('subnet');
export const newVpcId = (): string => awsId('vpc');

function newHsms({ hsms, region, block }: NewCluster): HsmRecord[] {
  const subnets = new Map<string, string>();
  return Array.from({ length: hsms }, (_, index) => {
    const az = azOf(region, index);
    const subnetId = subnets.get(az) ?? newSubnetId();
    subnets.set(az, subnetId);
    const eni = eniAt(block, index);
    return {
      id: newHsmId(),
      az,
      subnetId,
      eniId: newEniId(),
      eniIp: eni.ip,
      eniPort: eni.port,
      serial: null,
      joined: false,
      intent: 'run' as const,
      readyMs: null,
      leaveMs: null,
    };
  });
}
