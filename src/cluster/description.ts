import { createHash } from 'node:crypto';
import type { HsmState } from '../protocol/admin.js';
import type { CloudHsmCertificates, CloudHsmCluster, CloudHsmHsm } from '../protocol/cloudhsm.js';
import type { ClusterRecord, HsmRecord } from './cluster.js';
import { isBeingMade, messageOf, shownState, type ShownClusterState } from './cluster-states.js';
import type { ResourceTag } from './resource-tags.js';

/** A cluster as it stands, with the HSMs that are its members. */
export interface ClusterView {
  readonly record: ClusterRecord;
  readonly members: readonly MemberView[];
}

export interface MemberView {
  readonly record: HsmRecord;
  readonly state: HsmState;
  readonly isLeaving: boolean;
  /** it has not served yet */
  readonly isNew: boolean;
}

/** The answer to what was just asked for shows it as begun, however soon it is over. */
export const AS_ASKED = -Infinity;

/** The Cluster object of the CloudHSM V2 API at a moment of civil time. Pure. */
export function describeCluster(
  { record, members }: ClusterView,
  tags: readonly ResourceTag[],
  nowMs: number,
): CloudHsmCluster {
  const state = shownState(record, nowMs);
  const message = messageOf(state);
  return {
    BackupPolicy: 'DEFAULT',
    BackupRetentionPolicy: { Type: 'DAYS', Value: String(record.retentionDays) },
    Certificates: certificatesOf(record, state),
    ClusterId: record.id,
    ...(record.createdMs !== null && { CreateTimestamp: record.createdMs / 1_000 }),
    Hsms: members.map((member) => describeHsm(record, member, nowMs)),
    HsmType: record.hsmType,
    ...(record.rollbackUntilMs !== null && {
      HsmTypeRollbackExpiration: record.rollbackUntilMs / 1_000,
    }),
    Mode: record.mode,
    NetworkType: record.networkType,
    SecurityGroup: securityGroupOf(record.id),
    ...(record.sourceBackupId !== null && { SourceBackupId: record.sourceBackupId }),
    State: state,
    ...(message !== undefined && { StateMessage: message }),
    SubnetMapping: record.subnets,
    TagList: tags.map(({ key: Key, value: Value }) => ({ Key, Value })),
    VpcId: record.vpcId,
  };
}

/** The Hsm object of the CloudHSM V2 API at a moment of civil time. Pure. */
export function describeHsm(
  cluster: ClusterRecord,
  member: MemberView,
  nowMs: number,
): CloudHsmHsm {
  const { record } = member;
  const state = stateOf(cluster, member, nowMs);
  return {
    AvailabilityZone: record.az,
    ClusterId: cluster.id,
    SubnetId: record.subnetId,
    EniId: record.eniId,
    EniIp: record.eniIp,
    HsmId: record.id,
    HsmType: cluster.hsmType,
    State: state,
    ...(state === 'ACTIVE' && { StateMessage: 'HSM created.' }),
    ...(state === 'DEGRADED' && { StateMessage: `The HSM is ${member.state}.` }),
  };
}

/** AWS knows five states; what it has no word for is an HSM that does not serve just now. */
function stateOf(
  cluster: ClusterRecord,
  { record, state, isLeaving, isNew }: MemberView,
  nowMs: number,
): NonNullable<CloudHsmHsm['State']> {
  if (isLeaving || record.leaveMs !== null) return 'DELETE_IN_PROGRESS';
  if (isBeingMade(cluster, record, nowMs)) return 'CREATE_IN_PROGRESS';
  if (state === 'ACTIVE') return 'ACTIVE';
  // one that joined is brought up to date first: it is still being made
  return record.joined && !isNew ? 'DEGRADED' : 'CREATE_IN_PROGRESS';
}

/** What is to be verified and signed; once the cluster is claimed its certificate alone. */
function certificatesOf(
  { certificate, ceremony }: ClusterRecord,
  state: ShownClusterState,
): CloudHsmCertificates {
  if (certificate !== null) {
    return state === 'INITIALIZE_IN_PROGRESS' ? {} : { ClusterCertificate: certificate };
  }
  if (!ceremony) return {};
  return {
    ClusterCsr: ceremony.csr,
    HsmCertificate: ceremony.hsmCertificate,
    AwsHardwareCertificate: ceremony.awsHardwareCertificate,
    ManufacturerHardwareCertificate: ceremony.manufacturerHardwareCertificate,
  };
}

/** Each cluster has one group, made with it; nothing but its id exists here. */
const securityGroupOf = (cluster: string): string =>
  `sg-${createHash('sha256').update(cluster).digest('hex').slice(0, 17)}`;
