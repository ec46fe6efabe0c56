import type { RunningCluster } from '../cluster/running-cluster.js';
import type { Member } from '../cluster/member.js';
import { viewOf } from '../cluster/clusters.js';
import { messageOf, shownState } from '../cluster/cluster-states.js';
import { AS_ASKED, describeCluster, describeHsm } from '../cluster/description.js';
import { KeyspanError } from '../core/errors.js';
import type { CloudHsmAnswer, CloudHsmCluster, CloudHsmParams } from '../protocol/cloudhsm.js';
import type { AwsCaller } from './aws-json.js';
import { sourceBackup } from './cloudhsm-backups.js';
import type { CloudHsmParts } from './cloudhsm-clusters.js';
import { readTags } from './given-tags.js';

const RETENTION_DEFAULT_DAYS = 90;
const RETENTION_DAYS = { min: 7, max: 379 };

/** @throws CloudHsmInvalidRequestException, CloudHsmTagException */
export async function createCluster(
  parts: CloudHsmParts,
  params: CloudHsmParams<'CreateCluster'>,
  caller: AwsCaller,
): Promise<CloudHsmAnswer<'CreateCluster'>> {
  const tags = params.TagList && readTags(params.TagList);
  const { SourceBackupId } = params;
  const source =
    SourceBackupId === undefined ? undefined : sourceBackup(parts, SourceBackupId, caller);
  const cluster = await parts.control.create({
    account: caller.principal.account,
    region: caller.region,
    hsmType: params.HsmType,
    subnetIds: params.SubnetIds,
    retentionDays: daysOf(params.BackupRetentionPolicy) ?? RETENTION_DEFAULT_DAYS,
    mode: params.Mode,
    source,
    networkType: params.NetworkType ?? 'IPV4',
  });
  if (tags) await parts.tags.add(cluster.id, tags);
  return { Cluster: await described(parts, cluster, AS_ASKED) };
}

/** @throws CloudHsmInvalidRequestException, CloudHsmResourceNotFoundException */
export async function createHsm(
  parts: CloudHsmParts,
  params: CloudHsmParams<'CreateHsm'>,
  caller: AwsCaller,
): Promise<CloudHsmAnswer<'CreateHsm'>> {
  const cluster = clusterOf(parts, params.ClusterId, caller);
  const { AvailabilityZone, IpAddress } = params;
  const { id } = await parts.control.createHsm(cluster, AvailabilityZone, IpAddress);
  const view = viewOf(cluster);
  const member = view.members.find(({ record }) => record.id === id);
  if (!member) throw new KeyspanError('CloudHsmServiceException', `HSM '${id}' is gone again.`);
  return { Hsm: describeHsm(view.record, member, AS_ASKED) };
}

/** @throws CloudHsmInvalidRequestException, CloudHsmResourceNotFoundException */
export async function deleteHsm(
  parts: CloudHsmParts,
  params: CloudHsmParams<'DeleteHsm'>,
  caller: AwsCaller,
): Promise<CloudHsmAnswer<'DeleteHsm'>> {
  const cluster = clusterOf(parts, params.ClusterId, caller);
  const member = memberOf(cluster, params);
  await parts.control.deleteHsm(cluster, member);
  return { HsmId: member.id };
}

function memberOf(cluster: RunningCluster, params: CloudHsmParams<'DeleteHsm'>): Member {
  const { HsmId, EniId, EniIp } = params;
  const given = [HsmId, EniId, EniIp].filter((value) => value !== undefined);
  if (given.length !== 1) {
    throw refused('Exactly one of HsmId, EniId and EniIp names the HSM.');
  }
  const member = cluster.members.find(
    ({ id, record }) => id === HsmId || record.eniId === EniId || record.eniIp === EniIp,
  );
  if (member) return member;
  const sentence = `Cluster '${cluster.id}' has no HSM '${given[0]}'.`;
  throw new KeyspanError('CloudHsmResourceNotFoundException', sentence);
}

/** @throws CloudHsmInvalidRequestException, CloudHsmResourceNotFoundException */
export async function deleteCluster(
  parts: CloudHsmParts,
  params: CloudHsmParams<'DeleteCluster'>,
  caller: AwsCaller,
): Promise<CloudHsmAnswer<'DeleteCluster'>> {
  const cluster = clusterOf(parts, params.ClusterId, caller);
  await parts.control.delete(cluster);
  return { Cluster: await described(parts, cluster, AS_ASKED) };
}

/** @throws CloudHsmInvalidRequestException, CloudHsmResourceNotFoundException */
export async function modifyCluster(
  parts: CloudHsmParts,
  params: CloudHsmParams<'ModifyCluster'>,
  caller: AwsCaller,
): Promise<CloudHsmAnswer<'ModifyCluster'>> {
  const cluster = clusterOf(parts, params.ClusterId, caller);
  const { HsmType } = params;
  const days = daysOf(params.BackupRetentionPolicy);
  if (HsmType === undefined && days === undefined) {
    throw refused('A BackupRetentionPolicy or an HsmType is to be given.');
  }
  if (HsmType !== undefined) await parts.control.changeType(cluster, HsmType);
  if (days !== undefined) await parts.control.retain(cluster, days);
  const nowMs = HsmType === undefined ? parts.civil() : AS_ASKED;
  return { Cluster: await described(parts, cluster, nowMs) };
}

/** @throws CloudHsmInvalidRequestException, CloudHsmResourceNotFoundException */
export async function initializeCluster(
  parts: CloudHsmParts,
  params: CloudHsmParams<'InitializeCluster'>,
  caller: AwsCaller,
): Promise<CloudHsmAnswer<'InitializeCluster'>> {
  const cluster = clusterOf(parts, params.ClusterId, caller);
  const { SignedCert: signedCert, TrustAnchor: trustAnchor } = params;
  await parts.control.initialize(cluster, { signedCert, trustAnchor });
  const State = shownState(cluster.record, AS_ASKED);
  return { State, StateMessage: messageOf(State) };
}

/** A cluster of the caller's. @throws CloudHsmResourceNotFoundException, also for others' */
export function clusterOf(parts: CloudHsmParts, id: string, caller: AwsCaller): RunningCluster {
  const cluster = parts.control
    .present()
    .filter(({ record }) => record.account === caller.principal.account)
    .find(({ record }) => record.region === caller.region && record.id === id);
  if (cluster) return cluster;
  const sentence = `Cluster '${id}' does not exist in ${caller.region}.`;
  throw new KeyspanError('CloudHsmResourceNotFoundException', sentence);
}

async function described(
  parts: CloudHsmParts,
  cluster: RunningCluster,
  nowMs: number,
): Promise<CloudHsmCluster> {
  return describeCluster(viewOf(cluster), await parts.tags.of(cluster.id), nowMs);
}

function daysOf(
  policy: CloudHsmParams<'CreateCluster'>['BackupRetentionPolicy'],
): number | undefined {
  if (policy === undefined) return undefined;
  const days = Number(policy.Value);
  if (policy.Type !== 'DAYS' || policy.Value === undefined) {
    throw refused('A BackupRetentionPolicy has a Type, DAYS, and a Value.');
  }
  if (days >= RETENTION_DAYS.min && days <= RETENTION_DAYS.max) return days;
  throw refused(`Backups are kept for ${RETENTION_DAYS.min} to ${RETENTION_DAYS.max} days.`);
}

const refused = (sentence: string): KeyspanError =>
  new KeyspanError('CloudHsmInvalidRequestException', sentence);
