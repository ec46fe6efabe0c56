import { createHash } from 'node:crypto';
import type { HsmState } from '../protocol/admin.js';
import type { CloudHsmCertificates, CloudHsmCluster, CloudHsmHsm } from '../protocol/cloudhsm.js';
import type { ClusterRecord, HsmRecord } from './cluster.js';
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
}

const HSM_TYPE = 'hsm2m.medium';
/** AWS's own default */
const RETENTION = { Type: 'DAYS', Value: '90' } as const;

/** The Cluster object of the CloudHSM V2 API. Pure. */
export function describeCluster(
  { record, members }: ClusterView,
  tags: readonly ResourceTag[],
): CloudHsmCluster {
  return {
    BackupPolicy: 'DEFAULT',
    BackupRetentionPolicy: RETENTION,
    Certificates: certificatesOf(record),
    ClusterId: record.id,
    ...(record.createdMs !== null && { CreateTimestamp: record.createdMs / 1_000 }),
    Hsms: members.map((member) => describeHsm(record, member)),
    HsmType: HSM_TYPE,
    Mode: 'FIPS',
    NetworkType: 'IPV4',
    SecurityGroup: securityGroupOf(record.id),
    State: record.state,
    SubnetMapping: record.subnets,
    TagList: tags.map(({ key: Key, value: Value }) => ({ Key, Value })),
    VpcId: record.vpcId,
  };
}

/** The Hsm object of the CloudHSM V2 API. Pure. */
export function describeHsm(cluster: ClusterRecord, member: MemberView): CloudHsmHsm {
  const { record } = member;
  const state = stateOf(member);
  return {
    AvailabilityZone: record.az,
    ClusterId: cluster.id,
    SubnetId: record.subnetId,
    EniId: record.eniId,
    EniIp: record.eniIp,
    HsmId: record.id,
    HsmType: HSM_TYPE,
    State: state,
    ...(state === 'ACTIVE' && { StateMessage: 'HSM created.' }),
    ...(state === 'DEGRADED' && { StateMessage: `The HSM is ${member.state}.` }),
  };
}

/** AWS knows five states; what it has no word for is an HSM that does not serve just now. */
function stateOf({ record, state, isLeaving }: MemberView): NonNullable<CloudHsmHsm['State']> {
  if (isLeaving) return 'DELETE_IN_PROGRESS';
  if (state === 'ACTIVE') return 'ACTIVE';
  return record.joined ? 'DEGRADED' : 'CREATE_IN_PROGRESS';
}

/** After the initialization only the cluster's certificate is shown. */
const certificatesOf = ({ certificate }: ClusterRecord): CloudHsmCertificates =>
  certificate === null ? {} : { ClusterCertificate: certificate };

/** Each cluster has one group, made with it; nothing but its id exists here. */
const securityGroupOf = (cluster: string): string =>
  `sg-${createHash('sha256').update(cluster).digest('hex').slice(0, 17)}`;
