import * as sdk from '@aws-sdk/client-cloudhsm-v2';
import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { callAdmin } from '../../src/cli/admin-client.js';
import { awsVariables } from '../../src/cli/commands/env.js';
import type { StatusDocument } from '../../src/protocol/admin.js';
import { parseStructure, planOf } from '../../src/protocol/aws-parser.js';
import { CLOUDHSM_RESPONSES, type CloudHsmAction } from '../../src/protocol/cloudhsm.js';
import { awsRequest, wire, type AwsRequest, type AwsResponse } from '../support/aws-request.js';
import { DaemonFixture } from '../support/daemon-fixture.js';
import { parseMetrics } from '../support/metrics-text.js';

const ACCOUNT = '111122223333';
const REGION = 'eu-west-1';
let daemon: DaemonFixture;
let status: StatusDocument;
let client: sdk.CloudHSMV2Client;
beforeAll(async () => {
  daemon = await DaemonFixture.start({ hsms: 2, region: REGION, account: ACCOUNT, port: 0 });
  status = await daemon.status();
  client = clientOf(REGION);
});
afterAll(async () => {
  client.destroy();
  await daemon[Symbol.asyncDispose]();
});

const clientOf = (region: string, secretAccessKey = 'test'): sdk.CloudHSMV2Client =>
  new sdk.CloudHSMV2Client({
    endpoint: status.endpoints.aws,
    region,
    credentials: { accessKeyId: 'test', secretAccessKey },
    maxAttempts: 1,
  });

/** A request as it goes over the wire, for what neither SDK nor CLI know yet. */
const raw = (
  action: string,
  body: object,
  options: Partial<AwsRequest> = {},
): Promise<AwsResponse> =>
  awsRequest(status.endpoints.aws, {
    target: `BaldrApiService.${action}`,
    body,
    region: REGION,
    ...options,
  });

const describeAll = (): Promise<sdk.DescribeClustersCommandOutput> =>
  client.send(new sdk.DescribeClustersCommand({}));

/** The audit's lines about requests at this door. */
const audited = (): Record<string, unknown>[] =>
  readFileSync(join(daemon.home.audit, 'audit.jsonl'), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter(({ eventSource }) => eventSource === 'cloudhsm.amazonaws.com');

describe('DescribeClusters', () => {
  test("shows up's cluster as it stands", async () => {
    const { Clusters } = await describeAll();
    const { cluster } = status;
    expect(Clusters).toHaveLength(1);
    expect(Clusters?.[0]).toMatchObject({
      ClusterId: cluster.id,
      State: 'ACTIVE',
      HsmType: 'hsm2m.medium',
      BackupPolicy: 'DEFAULT',
      Hsms: cluster.hsms.map(({ id, az, eniIp }) => ({
        HsmId: id,
        ClusterId: cluster.id,
        AvailabilityZone: az,
        EniIp: eniIp,
        State: 'ACTIVE',
      })),
    });
    const [shown] = Clusters ?? [];
    const age = Date.now() - (shown?.CreateTimestamp?.getTime() ?? 0);
    expect(age).toBeGreaterThanOrEqual(0);
    const subnets = shown?.Hsms?.map((hsm) => [hsm.AvailabilityZone, hsm.SubnetId]) ?? [];
    expect(shown?.SubnetMapping).toEqual(Object.fromEntries(subnets));
    expect(new Set(shown?.Hsms?.map(({ EniId }) => EniId)).size).toBe(2);
  });

  test('shows the certificate that the ENIs listen with', async () => {
    const { Clusters } = await describeAll();
    const { ClusterCertificate, ...others } = Clusters?.[0]?.Certificates ?? {};
    expect(ClusterCertificate).toMatch(/^-----BEGIN CERTIFICATE-----\n/);
    expect(others).toEqual({});
  });

  test('answers in the form that the API has', async () => {
    const { json } = await raw('DescribeClusters', {});
    const plan = planOf(CLOUDHSM_RESPONSES.DescribeClusters);
    expect(() => parseStructure(plan, json, 'json')).not.toThrow();
    const { Clusters } = json as { Clusters: Record<string, unknown>[] };
    expect(Clusters[0]).toMatchObject({ Mode: 'NON_FIPS', NetworkType: 'IPV4' });
    expect(typeof Clusters[0]?.['CreateTimestamp']).toBe('number');
  });

  test.each<[Record<string, string[]>, number]>([
    [{}, 1],
    [{ states: ['ACTIVE'] }, 1],
    [{ states: ['UNINITIALIZED', 'ACTIVE'] }, 1],
    [{ states: ['UNINITIALIZED'] }, 0],
    [{ clusterIds: ['cluster-aaaaaaaaaaa'] }, 0],
    [{ vpcIds: ['vpc-00000000'], states: ['ACTIVE'] }, 0],
    [{ states: [] }, 0],
  ])('filters %j: %i', async (Filters, count) => {
    const { Clusters } = await client.send(new sdk.DescribeClustersCommand({ Filters }));
    expect(Clusters).toHaveLength(count);
  });

  test('filters by its own id and VPC', async () => {
    const [{ VpcId = '' } = {}] = (await describeAll()).Clusters ?? [];
    const Filters = { clusterIds: ['cluster-x', status.cluster.id], vpcIds: [VpcId] };
    const { Clusters } = await client.send(new sdk.DescribeClustersCommand({ Filters }));
    expect(Clusters).toHaveLength(1);
  });

  test('refuses a filter that it does not have, nothing to filter or not', async () => {
    for (const region of [REGION, 'us-east-1']) {
      const { status: code, json } = await raw(
        'DescribeClusters',
        { Filters: { constructor: ['x'] } },
        { region },
      );
      expect([code, json]).toEqual([
        400,
        {
          __type: 'CloudHsmInvalidRequestException',
          Message: 'There is no filter constructor. Filters are clusterIds, vpcIds, states.',
        },
      ]);
    }
  });

  test('shows nothing in another region', async () => {
    const other = clientOf('us-west-2');
    const { Clusters, NextToken } = await other.send(new sdk.DescribeClustersCommand({}));
    other.destroy();
    expect([Clusters, NextToken]).toEqual([[], undefined]);
  });

  test('has one page, and refuses a token that is not its own', async () => {
    const input = { MaxResults: 1 };
    const { NextToken } = await client.send(new sdk.DescribeClustersCommand(input));
    expect(NextToken).toBeUndefined();
    const wrong = client.send(new sdk.DescribeClustersCommand({ NextToken: 'x' }));
    await expect(wrong).rejects.toMatchObject({
      name: 'CloudHsmInvalidRequestException',
      message: 'The NextToken is not valid.',
      $metadata: { httpStatusCode: 400 },
    });
  });

  test('shows an HSM that does not serve as degraded', async () => {
    const [, hsm] = status.cluster.hsms;
    await callAdmin(daemon.home, 'HsmKill', { id: hsm?.id });
    const shown = async (): Promise<string | undefined> =>
      (await describeAll()).Clusters?.[0]?.Hsms?.[1]?.State;
    await expect.poll(shown).toBe('DEGRADED');
    await callAdmin(daemon.home, 'HsmStart', { id: hsm?.id });
    await daemon.hsm(hsm?.id ?? '');
    expect(await shown()).toBe('ACTIVE');
  });
});

describe('tags', () => {
  const list = async (
    input: Partial<sdk.ListTagsCommandInput> = {},
  ): Promise<sdk.ListTagsResponse> =>
    await client.send(new sdk.ListTagsCommand({ ResourceId: status.cluster.id, ...input }));

  test('are put, shown and taken away', async () => {
    const ResourceId = status.cluster.id;
    expect((await list()).TagList).toEqual([]);
    const TagList = [
      { Key: 'b', Value: '2' },
      { Key: 'a', Value: '' },
    ];
    await client.send(new sdk.TagResourceCommand({ ResourceId, TagList }));
    expect((await list()).TagList).toEqual(TagList.toReversed());
    expect((await describeAll()).Clusters?.[0]?.TagList).toEqual(TagList.toReversed());
    const first = await list({ MaxResults: 1 });
    expect(first.TagList).toEqual([{ Key: 'a', Value: '' }]);
    const next = { MaxResults: 1, NextToken: first.NextToken };
    expect(await list(next)).toMatchObject({ TagList: [{ Key: 'b', Value: '2' }] });
    expect((await list(next)).NextToken).toBeUndefined();
    const TagKeyList = ['a', 'b', 'absent'];
    await client.send(new sdk.UntagResourceCommand({ ResourceId, TagKeyList }));
    expect((await list()).TagList).toEqual([]);
  });

  test.each([
    [[{ Key: 'aws:x', Value: '' }], 'Tag keys that begin with aws: are reserved.'],
    [
      [
        { Key: 'a', Value: '1' },
        { Key: 'a', Value: '2' },
      ],
      'A tag key is given twice.',
    ],
  ])('%j are refused', async (TagList, message) => {
    const input = { ResourceId: status.cluster.id, TagList };
    await expect(client.send(new sdk.TagResourceCommand(input))).rejects.toMatchObject({
      name: 'CloudHsmTagException',
      message,
    });
  });

  test('of what is not there, or elsewhere', async () => {
    const unknown = { name: 'CloudHsmResourceNotFoundException' };
    for (const ResourceId of ['cluster-aaaaaaaaaaa', 'backup-aaaaaaaaaaa']) {
      await expect(list({ ResourceId })).rejects.toMatchObject({
        ...unknown,
        message: `The resource ${ResourceId} could not be found.`,
      });
    }
    const other = clientOf('us-west-2');
    const input = { ResourceId: status.cluster.id };
    await expect(other.send(new sdk.ListTagsCommand(input))).rejects.toMatchObject(unknown);
    other.destroy();
  });
});

describe('what is wrong in its form', () => {
  const CLUSTER = { HsmType: 'hsm2m.medium', SubnetIds: ['subnet-fd54af9b'] };
  const ClusterId = 'cluster-abcdefghijk';
  const BackupId = 'backup-abcdefghijk';
  const SHORT = 'cluster-abcdefghij';
  const tags = (Key: string, Value = ''): object => ({
    ResourceId: ClusterId,
    TagList: [{ Key, Value }],
  });

  /** each form of the API's reference, broken once */
  test.each<[CloudHsmAction, object, string]>([
    ['DeleteCluster', { ClusterId: SHORT }, 'clusterId'],
    ['DeleteHsm', { ClusterId, HsmId: 'hsm-abcdefghij1' }, 'hsmId'],
    ['DeleteHsm', { ClusterId, EniId: 'eni-xyz' }, 'eniId'],
    ['DeleteHsm', { ClusterId, EniIp: '127.0.0' }, 'eniIp'],
    ['CreateHsm', { ClusterId, AvailabilityZone: 'us-west-2' }, 'availabilityZone'],
    ['CreateHsm', { ClusterId, AvailabilityZone: 'us-west-2a', IpAddress: 'x' }, 'ipAddress'],
    ['DeleteBackup', { BackupId: 'backup-' }, 'backupId'],
    ['RestoreBackup', { BackupId: 'backup-abc' }, 'backupId'],
    ['ModifyBackupAttributes', { BackupId: 'x', NeverExpires: true }, 'backupId'],
    ['ModifyBackupAttributes', { BackupId }, 'neverExpires'],
    ['CopyBackupToRegion', { BackupId, DestinationRegion: 'nowhere' }, 'destinationRegion'],
    ['CreateCluster', { ...CLUSTER, SourceBackupId: `arn:aws:kms:${BackupId}` }, 'sourceBackupId'],
    ['CreateCluster', { ...CLUSTER, HsmType: 'm5.large' }, 'hsmType'],
    ['CreateCluster', { ...CLUSTER, Mode: 'fips' }, 'mode'],
    ['CreateCluster', { ...CLUSTER, NetworkType: 'IPV6' }, 'networkType'],
    ['CreateCluster', { ...CLUSTER, SubnetIds: ['subnet-1'] }, 'subnetIds'],
    ['CreateCluster', { ...CLUSTER, SubnetIds: [] }, 'subnetIds'],
    [
      'CreateCluster',
      { ...CLUSTER, BackupRetentionPolicy: { Type: 'DAYS', Value: '1000' } },
      'backupRetentionPolicy.value',
    ],
    [
      'ModifyCluster',
      { ClusterId, BackupRetentionPolicy: { Type: 'WEEKS', Value: '7' } },
      'backupRetentionPolicy.type',
    ],
    ['InitializeCluster', { ClusterId, SignedCert: '{}', TrustAnchor: 'x' }, 'signedCert'],
    [
      'InitializeCluster',
      { ClusterId, SignedCert: 'x', TrustAnchor: 'x'.repeat(20_001) },
      'trustAnchor',
    ],
    ['TagResource', { ...tags('a'), ResourceId: 'hsm-abcdefghijk' }, 'resourceId'],
    ['TagResource', tags('a'.repeat(129)), 'tagList.1.member.key'],
    ['TagResource', tags('a', '!'), 'tagList.1.member.value'],
    ['UntagResource', { ResourceId: ClusterId, TagKeyList: [] }, 'tagKeyList'],
    ['ListTags', { ResourceId: ClusterId, MaxResults: 101 }, 'maxResults'],
    ['DescribeClusters', { MaxResults: 26 }, 'maxResults'],
    ['DescribeBackups', { MaxResults: 51 }, 'maxResults'],
    ['DescribeBackups', { NextToken: 'x'.repeat(257) }, 'nextToken'],
    ['PutResourcePolicy', { ResourceArn: 'arn:aws:s3:::x', Policy: '{}' }, 'resourceArn'],
    ['PutResourcePolicy', { Policy: '' }, 'policy'],
    ['GetResourcePolicy', { ResourceArn: BackupId }, 'resourceArn'],
    ['DeleteResourcePolicy', { ResourceArn: BackupId }, 'resourceArn'],
  ])('%s %#', async (action, params, member) => {
    const { status: code, json } = await raw(action, params);
    expect(code).toBe(400);
    expect(json).toMatchObject({ __type: 'ValidationException' });
    const { message } = json as { message: string };
    expect(message).toContain(`1 validation error detected:`);
    expect(message).toContain(`at '${member}' failed to satisfy constraint`);
  });
});

describe('the door', () => {
  test('knows nobody without a good signature', async () => {
    const stranger = clientOf(REGION, 'wrong');
    await expect(stranger.send(new sdk.DescribeClustersCommand({}))).rejects.toMatchObject({
      name: 'InvalidSignatureException',
    });
    stranger.destroy();
    expect(await raw('DescribeClusters', {}, { signed: false })).toMatchObject({
      status: 400,
      json: { __type: 'MissingAuthenticationTokenException' },
    });
  });

  test('wants the name that CloudHSM has in scopes', async () => {
    expect((await raw('DescribeClusters', {}, { service: 'cloudhsmv2' })).json).toEqual({
      __type: 'InvalidSignatureException',
      message: "Credential should be scoped to correct service: 'cloudhsm'. ",
    });
  });

  test('has no other actions', async () => {
    expect(await raw('DropTables', {})).toMatchObject({
      status: 400,
      json: { __type: 'UnknownOperationException' },
    });
  });

  test("shows the operator's CA and the emulated roots", async () => {
    const { customerCa, awsRoot, manufacturerRoot } = daemon.home;
    for (const [name, path] of [
      ['customerCA.crt', customerCa],
      ['AWS_CloudHSM_Root-G1.crt', awsRoot],
      ['liquid_security_certificate.crt', manufacturerRoot],
    ] as const) {
      const { text } = await wire(`${status.endpoints.aws}/public/${name}`);
      expect(text).toContain('-----BEGIN CERTIFICATE-----');
      expect(text).toBe(readFileSync(path, 'utf8'));
    }
  });

  test('counts each request', async () => {
    const label = 'door="cloudhsm",action="DeleteBackup",code="CloudHsmResourceNotFoundException"';
    const count = async (): Promise<number> => {
      const { body } = await daemon.adminRequest('/metrics', '', 'GET');
      return parseMetrics(body).get(`keyspan_requests_total{${label}}`) ?? 0;
    };
    const before = await count();
    await raw('DeleteBackup', { BackupId: 'backup-ro5c4er4aac' });
    expect(await count()).toBe(before + 1);
  });

  test('writes a line for each request', async () => {
    await raw('ListTags', { ResourceId: 'cluster-aaaaaaaaaaa' });
    await raw('Nonsense', {});
    await expect
      .poll(() => audited().slice(-2))
      .toMatchObject([
        {
          userIdentity: { type: 'Root', arn: `arn:aws:iam::${ACCOUNT}:root` },
          eventName: 'ListTags',
          requestParameters: { resourceId: 'cluster-aaaaaaaaaaa' },
          resources: [{ ARN: `arn:aws:cloudhsm:${REGION}:${ACCOUNT}:cluster/cluster-aaaaaaaaaaa` }],
          errorCode: 'CloudHsmResourceNotFoundException',
        },
        { eventName: 'Unknown', errorCode: 'UnknownOperationException' },
      ]);
  });
});

const run = promisify(execFile);

/** Debian's, where it is; another may stand before it on the PATH. */
const AWS = existsSync('/usr/bin/aws') ? '/usr/bin/aws' : 'aws';

describe('the AWS CLI', () => {
  const aws = async (...args: string[]): Promise<{ stdout: string }> => {
    const credentials = await callAdmin(daemon.home, 'Credentials');
    const env = { ...process.env, HOME: daemon.home.root, ...awsVariables(status, credentials) };
    return await run(AWS, ['--endpoint-url', status.endpoints.aws, ...args], { env });
  };

  test('describes clusters', async () => {
    const filter = `clusterIds=${status.cluster.id},cluster-aaaaaaaaaaa`;
    const query = 'Clusters[].[ClusterId,State,Hsms[0].EniIp]';
    const output = ['--output', 'text', '--query', query];
    const { stdout } = await aws('cloudhsmv2', 'describe-clusters', '--filters', filter, ...output);
    const { id, hsms } = status.cluster;
    expect(stdout).toBe(`${id}\tACTIVE\t${hsms[0]?.eniIp}\n`);
  });

  test('shows what the service says', async () => {
    const members = ['--hsm-type', 'hsm1.medium', '--subnet-ids', 'subnet-49a1bc00'];
    const create = aws('cloudhsmv2', 'create-cluster', ...members);
    await expect(create).rejects.toMatchObject({
      code: 254,
      stderr:
        '\nAn error occurred (CloudHsmInvalidRequestException) when calling the CreateCluster ' +
        'operation: Provided HsmType is not supported.\n',
    });
  });
});
