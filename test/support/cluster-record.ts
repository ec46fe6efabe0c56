import type { ClusterRecord, HsmRecord } from '../../src/cluster/cluster.js';
import { newClusterId, newEniId, newHsmId, newMaskingKeyId } from '../../src/core/ids.js';

/** An active cluster of a caller's. */
export const clusterRecord = (changes: Partial<ClusterRecord> = {}): ClusterRecord => ({
  id: newClusterId(),
  account: '123456789012',
  region: 'us-west-2',
  origin: 'caller',
  state: 'ACTIVE',
  dueMs: null,
  hsmType: 'hsm2m.medium',
  formerHsmType: null,
  rollbackUntilMs: null,
  mode: 'FIPS',
  networkType: 'IPV4',
  retentionDays: 90,
  createdMs: 0,
  vpcId: 'vpc-50ae0636',
  subnets: {},
  epoch: 1,
  maskingKeyId: newMaskingKeyId(),
  founder: newHsmId(),
  founded: true,
  adoption: 0,
  availability: 2,
  clusterKey: null,
  certificate: null,
  trustAnchor: null,
  ceremony: null,
  family: null,
  sourceBackupId: null,
  restoreFrom: null,
  ...changes,
});

/** An HSM that has joined. */
export const hsmRecord = (changes: Partial<HsmRecord> = {}): HsmRecord => ({
  id: newHsmId(),
  az: 'us-west-2a',
  subnetId: 'subnet-fd54af9b',
  eniId: newEniId(),
  eniIp: '127.0.0.12',
  eniPort: 2225,
  serial: null,
  joined: true,
  intent: 'run',
  readyMs: null,
  leaveMs: null,
  ...changes,
});
