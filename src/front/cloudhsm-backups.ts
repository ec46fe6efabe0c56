import {
  backupArn,
  describeBackup,
  newestFirst,
  shownBackupState,
  type BackupPlace,
  type BackupRecord,
} from '../cluster/backup-record.js';
import { KeyspanError, isKeyspanError } from '../core/errors.js';
import { evaluate } from '../iam/evaluate.js';
import { cachedPolicy } from '../iam/policy-document.js';
import type { CloudHsmAnswer, CloudHsmBackup, CloudHsmParams } from '../protocol/cloudhsm.js';
import { accessRequest, accountPolicies } from './account-access.js';
import type { AwsCaller } from './aws-json.js';
import type { CloudHsmParts } from './cloudhsm-clusters.js';
import { readFilters, type FilterTable } from './filters.js';
import { readTags } from './given-tags.js';
import { formatToken, readToken } from './next-token.js';

/** The filters of DescribeBackups (CloudHSM V2 API), with what they compare. */
const FILTERS: FilterTable<BackupRecord> = {
  backupIds: ({ id }) => id,
  sourceBackupIds: ({ source }) => source?.backup ?? '',
  clusterIds: ({ cluster }) => cluster,
  states: shownBackupState,
  neverExpires: ({ neverExpires }) => String(neverExpires),
};
const PER_PAGE = 50;

/** The backups of the caller's account and region. */
export const ownBackups = (parts: CloudHsmParts, caller: AwsCaller): BackupRecord[] =>
  parts.backups
    .present()
    .filter(({ account }) => account === caller.principal.account)
    .filter(({ region }) => region === caller.region);

/**
 * The newest first. Those that others share are not listed: that takes a resource share, which only
 * AWS RAM makes.
 * @throws CloudHsmInvalidRequestException for an unknown filter, or a token that is not ours
 */
export async function describeBackups(
  parts: CloudHsmParts,
  params: CloudHsmParams<'DescribeBackups'>,
  caller: AwsCaller,
): Promise<CloudHsmAnswer<'DescribeBackups'>> {
  const nowMs = parts.civil();
  const isWanted = readFilters(params.Filters, FILTERS);
  const sign = params.SortAscending === true ? -1 : 1;
  const order = (a: BackupPlace, b: BackupPlace): number => sign * newestFirst(a, b);
  const after = placeIn(readToken(params.NextToken));
  const listed = params.Shared === true ? [] : ownBackups(parts, caller);
  const selected = listed
    .filter((record) => isWanted(record, nowMs))
    .filter((record) => after === undefined || order(record, after) > 0)
    .toSorted(order);
  const page = selected.slice(0, params.MaxResults ?? PER_PAGE);
  const Backups = await Promise.all(page.map((record) => described(parts, record, caller)));
  const last = page.at(-1);
  if (page.length === selected.length || !last) return { Backups };
  return { Backups, NextToken: formatToken(`${last.createdMs} ${last.id}`) };
}

function placeIn(token: string | undefined): BackupPlace | undefined {
  if (token === undefined) return undefined;
  const match = /^(\d{1,16}) (backup-\w+)$/.exec(token);
  if (!match) throw refused('The NextToken is not valid.');
  return { createdMs: Number(match[1]), id: match[2] as BackupRecord['id'] };
}

/** @throws CloudHsmInvalidRequestException, CloudHsmResourceNotFoundException, and as `readTags` */
export async function copyBackupToRegion(
  parts: CloudHsmParts,
  params: CloudHsmParams<'CopyBackupToRegion'>,
  caller: AwsCaller,
): Promise<CloudHsmAnswer<'CopyBackupToRegion'>> {
  const given = params.TagList && readTags(params.TagList);
  const record = backupOf(parts, params.BackupId, caller);
  const copy = await parts.backups.copy(record, params.DestinationRegion);
  const tags = given ?? (await parts.tags.of(record.id));
  if (tags.length > 0) await parts.tags.add(copy.id, tags);
  return {
    DestinationBackup: {
      CreateTimestamp: record.createdMs / 1_000,
      SourceRegion: record.region,
      SourceBackup: record.id,
      SourceCluster: record.cluster,
    },
  };
}

/** @throws CloudHsmInvalidRequestException, CloudHsmResourceNotFoundException */
export async function deleteBackup(
  parts: CloudHsmParts,
  params: CloudHsmParams<'DeleteBackup'>,
  caller: AwsCaller,
): Promise<CloudHsmAnswer<'DeleteBackup'>> {
  const record = await parts.backups.delete(backupOf(parts, params.BackupId, caller));
  return { Backup: await described(parts, record, caller) };
}

/** @throws CloudHsmInvalidRequestException, CloudHsmResourceNotFoundException */
export async function restoreBackup(
  parts: CloudHsmParts,
  params: CloudHsmParams<'RestoreBackup'>,
  caller: AwsCaller,
): Promise<CloudHsmAnswer<'RestoreBackup'>> {
  const record = await parts.backups.restore(backupOf(parts, params.BackupId, caller));
  return { Backup: await described(parts, record, caller) };
}

/** @throws CloudHsmInvalidRequestException, CloudHsmResourceNotFoundException */
export async function modifyBackupAttributes(
  parts: CloudHsmParts,
  params: CloudHsmParams<'ModifyBackupAttributes'>,
  caller: AwsCaller,
): Promise<CloudHsmAnswer<'ModifyBackupAttributes'>> {
  const record = backupOf(parts, params.BackupId, caller);
  return {
    Backup: await described(parts, await parts.backups.keep(record, params.NeverExpires), caller),
  };
}

/** @throws CloudHsmInvalidRequestException, CloudHsmResourceNotFoundException */
export async function putResourcePolicy(
  parts: CloudHsmParts,
  params: CloudHsmParams<'PutResourcePolicy'>,
  caller: AwsCaller,
): Promise<CloudHsmAnswer<'PutResourcePolicy'>> {
  const record = backupAt(parts, params.ResourceArn, caller);
  const { Policy } = params;
  if (Policy === undefined) throw refused('A Policy is to be given.');
  readPolicy(Policy);
  await parts.backups.share(record, Policy);
  return { ResourceArn: backupArn(record, caller.principal.partition), Policy };
}

/** @throws CloudHsmInvalidRequestException, CloudHsmResourceNotFoundException */
export async function getResourcePolicy(
  parts: CloudHsmParts,
  params: CloudHsmParams<'GetResourcePolicy'>,
  caller: AwsCaller,
): Promise<CloudHsmAnswer<'GetResourcePolicy'>> {
  return { Policy: policyOf(backupAt(parts, params.ResourceArn, caller)) };
}

/** @throws CloudHsmInvalidRequestException, CloudHsmResourceNotFoundException */
export async function deleteResourcePolicy(
  parts: CloudHsmParts,
  params: CloudHsmParams<'DeleteResourcePolicy'>,
  caller: AwsCaller,
): Promise<CloudHsmAnswer<'DeleteResourcePolicy'>> {
  const record = backupAt(parts, params.ResourceArn, caller);
  const Policy = policyOf(record);
  await parts.backups.share(record, null);
  return { ResourceArn: backupArn(record, caller.principal.partition), Policy };
}

/**
 * What CreateCluster is to be made from: a backup of the caller's in this region, or one that its
 * owner lets the caller use.
 * @throws CloudHsmResourceNotFoundException, also for what the caller may not use
 */
export function sourceBackup(parts: CloudHsmParts, name: string, caller: AwsCaller): BackupRecord {
  const record = parts.backups.find(name.slice(name.lastIndexOf('/') + 1));
  const { partition } = caller.principal;
  const isNamed = record && (name === record.id || name === backupArn(record, partition));
  if (!isNamed || record.region !== caller.region) throw notFound(name);
  const isOwn = record.account === caller.principal.account;
  // another account's is named by its whole ARN
  if (isOwn || (name !== record.id && isShared(parts, record, caller))) return record;
  throw notFound(name);
}

function isShared(
  parts: CloudHsmParts,
  { policy, ...record }: BackupRecord,
  caller: AwsCaller,
): boolean {
  if (policy === null) return false;
  const resource = backupArn(record, caller.principal.partition);
  const request = accessRequest(parts, { action: 'cloudhsm:CreateCluster', resource, caller });
  const shared = { document: readPolicy(policy), account: record.account };
  return evaluate(request, { ...accountPolicies(parts, caller), resource: shared }).allowed;
}

function readPolicy(policy: string): ReturnType<typeof cachedPolicy> {
  try {
    return cachedPolicy(policy, 'key');
  } catch (error) {
    if (!isKeyspanError(error, 'MalformedPolicyDocumentException')) throw error;
    throw refused(error.message);
  }
}

function policyOf({ id, policy }: BackupRecord): string {
  if (policy !== null) return policy;
  const sentence = `Backup '${id}' has no resource policy.`;
  throw new KeyspanError('CloudHsmResourceNotFoundException', sentence);
}

/** A backup of the caller's. @throws CloudHsmResourceNotFoundException, also for others' */
function backupOf(parts: CloudHsmParts, id: string, caller: AwsCaller): BackupRecord {
  const record = ownBackups(parts, caller).find((one) => one.id === id);
  if (record) return record;
  throw notFound(id);
}

/** @throws CloudHsmInvalidRequestException for an ARN of something else, and as `backupOf` */
function backupAt(parts: CloudHsmParts, arn: string | undefined, caller: AwsCaller): BackupRecord {
  const id = /:backup\/(backup-\w+)$/.exec(arn ?? '')?.[1];
  if (arn === undefined || id === undefined) throw refused('The ResourceArn is not of a backup.');
  const record = backupOf(parts, id, caller);
  if (backupArn(record, caller.principal.partition) === arn) return record;
  throw notFound(arn);
}

async function described(
  parts: CloudHsmParts,
  record: BackupRecord,
  { principal }: AwsCaller,
): Promise<CloudHsmBackup> {
  const tags = await parts.tags.of(record.id);
  return describeBackup(record, tags, parts.civil(), principal.partition);
}

const notFound = (name: string): KeyspanError =>
  new KeyspanError(
    'CloudHsmResourceNotFoundException',
    `Backup '${name}' does not exist, or may not be used.`,
  );

const refused = (sentence: string): KeyspanError =>
  new KeyspanError('CloudHsmInvalidRequestException', sentence);
