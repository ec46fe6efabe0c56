import type { BackupRequests } from '../cluster/backup-requests.js';
import type { ControlPlane } from '../cluster/control-plane.js';
import { shownState } from '../cluster/cluster-states.js';
import { describeCluster, type ClusterView } from '../cluster/description.js';
import type { ResourceTags } from '../cluster/resource-tags.js';
import type { CloudHsmAnswer, CloudHsmCluster, CloudHsmParams } from '../protocol/cloudhsm.js';
import type { AccessParts } from './account-access.js';
import type { AwsCaller } from './aws-json.js';
import { readFilters, type FilterTable } from './filters.js';
import { formatToken, readToken } from './next-token.js';

/** What CloudHSM's operations work with. */
export interface CloudHsmParts extends AccessParts {
  /** every cluster of the installation, whoever owns it */
  readonly clusters: () => readonly ClusterView[];
  readonly tags: ResourceTags;
  readonly control: ControlPlane;
  readonly backups: BackupRequests;
}

type Params = CloudHsmParams<'DescribeClusters'>;

/** The filters of DescribeClusters (CloudHSM V2 API), with what they compare. */
const FILTERS: FilterTable<ClusterView> = {
  clusterIds: ({ record }) => record.id,
  vpcIds: ({ record }) => record.vpcId,
  states: ({ record }, nowMs) => shownState(record, nowMs),
};
const PER_PAGE = 25;

/** The clusters of the caller's account and region, in the order of their ids. */
export const ownClusters = (parts: CloudHsmParts, caller: AwsCaller): ClusterView[] =>
  parts
    .clusters()
    .filter(({ record }) => record.account === caller.principal.account)
    .filter(({ record }) => record.region === caller.region)
    .toSorted((a, b) => (a.record.id < b.record.id ? -1 : 1));

/** @throws CloudHsmInvalidRequestException for an unknown filter, or a token that is not ours */
export async function describeClusters(
  parts: CloudHsmParts,
  params: Params,
  caller: AwsCaller,
): Promise<CloudHsmAnswer<'DescribeClusters'>> {
  const nowMs = parts.civil();
  const isWanted = readFilters(params.Filters, FILTERS);
  const after = readToken(params.NextToken) ?? '';
  const selected = ownClusters(parts, caller)
    .filter((view) => isWanted(view, nowMs))
    .filter(({ record }) => record.id > after);
  const page = selected.slice(0, params.MaxResults ?? PER_PAGE);
  const Clusters = await Promise.all(page.map((view) => described(parts, view, nowMs)));
  const last = page.at(-1);
  if (page.length === selected.length || !last) return { Clusters };
  return { Clusters, NextToken: formatToken(last.record.id) };
}

async function described(
  parts: CloudHsmParts,
  view: ClusterView,
  nowMs: number,
): Promise<CloudHsmCluster> {
  return describeCluster(view, await parts.tags.of(view.record.id), nowMs);
}
