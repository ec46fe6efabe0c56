import { describe, expect, onTestFinished, test } from 'vitest';
import { AuditLog } from '../../src/audit/audit-log.js';
import { Events } from '../../src/audit/events.js';
import type { BackupRequests } from '../../src/cluster/backup-requests.js';
import type { ControlPlane } from '../../src/cluster/control-plane.js';
import type { ClusterView } from '../../src/cluster/description.js';
import { ResourceTags } from '../../src/cluster/resource-tags.js';
import { systemClock } from '../../src/core/clock.js';
import { deadlineIn } from '../../src/core/deadline.js';
import { KeyspanError } from '../../src/core/errors.js';
import { newRequestId } from '../../src/core/ids.js';
import { silentLog } from '../../src/core/log.js';
import type { AwsCaller } from '../../src/front/aws-json.js';
import { CloudHsm } from '../../src/front/cloudhsm.js';
import type { Identities } from '../../src/iam/identities.js';
import { parsePolicy, type PolicyDocument } from '../../src/iam/policy-document.js';
import { parsePrincipal } from '../../src/iam/principal.js';
import { MemoryStore } from '../../src/store/memory.js';
import { clusterRecord } from '../support/cluster-record.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

const [ACCOUNT, OTHER] = ['111122223333', '444455556666'];
const REGION = 'eu-central-1';

function clusterOf(account: string, region: string): ClusterView {
  const record = clusterRecord({ account, region });
  return { record, members: [] };
}

const callerOf = (arn: string, region = REGION): AwsCaller => ({
  principal: parsePrincipal(arn),
  region,
  origin: {},
});
const ROOT = callerOf(`arn:aws:iam::${ACCOUNT}:root`);

/** nothing here changes a cluster */
const STILL = {
  control: {} as ControlPlane,
  backups: { present: () => [] } as unknown as BackupRequests,
  civil: () => 0,
};

async function serviceOf(clusters: ClusterView[], identities?: Identities): Promise<CloudHsm> {
  const log = await AuditLog.open(temporaryDirectory());
  onTestFinished(() => log[Symbol.asyncDispose]());
  return new CloudHsm({
    ...STILL,
    identities,
    clusters: () => clusters,
    tags: new ResourceTags(new MemoryStore()),
    events: new Events(log, systemClock()),
    log: silentLog(),
  });
}

const ask = (service: CloudHsm, action: string, params: object, caller = ROOT): Promise<object> => {
  const call = { requestId: newRequestId(), deadline: deadlineIn(10_000) };
  return service.perform(action, params, caller, call);
};

interface Page {
  readonly Clusters: { ClusterId: string }[];
  readonly NextToken?: string;
}

const idsOf = ({ Clusters }: Page): string[] => Clusters.map(({ ClusterId }) => ClusterId);

describe('DescribeClusters', () => {
  test('goes page by page through all clusters, each once', async () => {
    const clusters = Array.from({ length: 60 }, () => clusterOf(ACCOUNT, REGION));
    const service = await serviceOf(clusters);
    const sizes: number[] = [];
    const seen: string[] = [];
    let token: string | undefined;
    do {
      const params = { ...(token !== undefined && { NextToken: token }) };
      const page = (await ask(service, 'DescribeClusters', params)) as Page;
      sizes.push(page.Clusters.length);
      seen.push(...idsOf(page));
      token = page.NextToken;
    } while (token !== undefined);
    expect(sizes).toEqual([25, 25, 10]);
    expect(seen).toEqual(clusters.map(({ record }) => record.id).toSorted());
  });

  test('needs no page behind one that is just full', async () => {
    const service = await serviceOf([clusterOf(ACCOUNT, REGION), clusterOf(ACCOUNT, REGION)]);
    const page = await ask(service, 'DescribeClusters', { MaxResults: 2 });
    expect(page).not.toHaveProperty('NextToken');
  });

  test("shows each account and region its own clusters, and nobody another's", async () => {
    const clusters = [ACCOUNT, OTHER].flatMap((account) =>
      [REGION, 'us-east-1'].map((region) => clusterOf(account, region)),
    );
    const service = await serviceOf(clusters);
    for (const { record } of clusters) {
      const caller = callerOf(`arn:aws:iam::${record.account}:root`, record.region);
      const page = (await ask(service, 'DescribeClusters', {}, caller)) as Page;
      expect(idsOf(page)).toEqual([record.id]);
      const tags = { ResourceId: record.id, TagList: [{ Key: 'a', Value: 'b' }] };
      await ask(service, 'TagResource', tags, caller);
      if (caller.region === REGION && record.account === ACCOUNT) continue;
      await expect(ask(service, 'TagResource', tags)).rejects.toMatchObject({
        code: 'CloudHsmResourceNotFoundException',
      });
    }
  });
});

test('whoever is not the root has no policy that lets him in', async () => {
  const cluster = clusterOf(ACCOUNT, REGION);
  const service = await serviceOf([cluster]);
  const arn = `arn:aws:iam::${ACCOUNT}:user/alice`;
  const who = `User: ${arn} is not authorized to perform: cloudhsm`;
  await expect(ask(service, 'DescribeClusters', {}, callerOf(arn))).rejects.toMatchObject({
    code: 'CloudHsmAccessDeniedException',
    message:
      `${who}:DescribeClusters on resource: * because no identity-based policy allows the ` +
      'cloudhsm:DescribeClusters action',
  });
  const ResourceId = cluster.record.id;
  await expect(ask(service, 'ListTags', { ResourceId }, callerOf(arn))).rejects.toMatchObject({
    message:
      `${who}:ListTags on resource: ` +
      `arn:aws:cloudhsm:${REGION}:${ACCOUNT}:cluster/${ResourceId} because no identity-based ` +
      'policy allows the cloudhsm:ListTags action',
  });
});

test("what a caller's account says of him lets him in, within his boundary", async () => {
  const cluster = clusterOf(ACCOUNT, REGION);
  const policy = (Action: string): PolicyDocument =>
    parsePolicy(
      JSON.stringify({ Statement: [{ Effect: 'Allow', Action, Resource: '*' }] }),
      'identity',
    );
  const service = await serviceOf([cluster], {
    of: () => ({
      policies: [policy('cloudhsm:*')],
      boundary: policy('cloudhsm:Describe*'),
      tags: new Map(),
    }),
  });
  const alice = callerOf(`arn:aws:iam::${ACCOUNT}:user/alice`);
  const page = (await ask(service, 'DescribeClusters', {}, alice)) as Page;
  expect(idsOf(page)).toEqual([cluster.record.id]);
  const ResourceId = cluster.record.id;
  await expect(ask(service, 'ListTags', { ResourceId }, alice)).rejects.toMatchObject({
    message: expect.stringMatching(
      /because no permissions boundary allows the cloudhsm:ListTags action$/,
    ),
  });
});

test('a fault of the inside has no name for a caller', async () => {
  const service = new CloudHsm({
    ...STILL,
    clusters: () => {
      throw new Error('secret of the inside');
    },
    tags: new ResourceTags(new MemoryStore()),
    events: new Events(await AuditLog.open(temporaryDirectory()), systemClock()),
    log: silentLog(),
  });
  await expect(ask(service, 'DescribeClusters', {})).rejects.toMatchObject({
    code: 'CloudHsmInternalFailureException',
    message: 'The request could not be processed.',
  });
});

test('what is refused for now is a request that is not valid, with its sentence', async () => {
  const service = new CloudHsm({
    ...STILL,
    clusters: () => {
      throw new KeyspanError('KeyspanRefused', 'Not now.');
    },
    tags: new ResourceTags(new MemoryStore()),
    events: new Events(await AuditLog.open(temporaryDirectory()), systemClock()),
    log: silentLog(),
  });
  await expect(ask(service, 'DescribeClusters', {})).rejects.toMatchObject({
    code: 'CloudHsmInvalidRequestException',
    message: 'Not now.',
  });
});
