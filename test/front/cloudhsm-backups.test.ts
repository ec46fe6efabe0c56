import * as sdk from '@aws-sdk/client-cloudhsm-v2';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { AuditLog } from '../../src/audit/audit-log.js';
import { Events } from '../../src/audit/events.js';
import { BackupRequests } from '../../src/cluster/backup-requests.js';
import type { BackupRecord } from '../../src/cluster/backup-record.js';
import { writeContent } from '../../src/cluster/backups.js';
import type { ControlPlane, WantedCluster } from '../../src/cluster/control-plane.js';
import { ResourceTags } from '../../src/cluster/resource-tags.js';
import { systemClock } from '../../src/core/clock.js';
import { deadlineIn } from '../../src/core/deadline.js';
import { newBackupId, newRequestId } from '../../src/core/ids.js';
import { silentLog } from '../../src/core/log.js';
import { CloudHsm } from '../../src/front/cloudhsm.js';
import { parsePrincipal } from '../../src/iam/principal.js';
import { awsRequest } from '../support/aws-request.js';
import { backupContent, backupRecord } from '../support/backup-content.js';
import { newShelf } from '../support/backup-shelf.js';
import { CloudHsmAccount as Account, REGION } from '../support/cloudhsm-account.js';
import { eventually } from '../support/daemon-fixture.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

const INVALID = { name: 'CloudHsmInvalidRequestException' };
const NOT_FOUND = { name: 'CloudHsmResourceNotFoundException' };
const ELSEWHERE = 'eu-west-1';

describe('the backups of a caller', () => {
  let account: Account;
  let cluster: string | undefined;
  beforeAll(async () => {
    account = await Account.open();
    cluster = (await account.create()).ClusterId;
    await account.createHsm(cluster);
    await account.initialize(cluster);
    await account.activate(cluster);
    await account.active(cluster, 1);
  });
  afterAll(() => account[Symbol.asyncDispose]());

  const listed = async (
    input: sdk.DescribeBackupsCommandInput = {},
    client = account.client,
  ): Promise<sdk.Backup[]> =>
    (await client.send(new sdk.DescribeBackupsCommand(input))).Backups ?? [];

  const first = (): Promise<sdk.Backup> =>
    eventually(async () => {
      const [found] = await listed({ SortAscending: true });
      return found?.BackupState === 'READY' ? found : undefined;
    }, 'the backup of the activation');

  test('begin with the activation', async () => {
    expect(await first()).toMatchObject({
      BackupId: expect.stringMatching(/^backup-[a-z2-7]{11}$/),
      ClusterId: cluster,
      NeverExpires: false,
      TagList: [],
    });
    expect(await listed()).toHaveLength(1);
  });

  test('are taken when an HSM came and when one went, and counted by filters', async () => {
    const { HsmId } = await account.createHsm(cluster, { AvailabilityZone: `${REGION}b` });
    await account.active(cluster, 2);
    const many = (count: number): Promise<sdk.Backup[]> =>
      eventually(async () => {
        const all = await listed();
        const isEach = all.every(({ BackupState }) => BackupState === 'READY');
        return all.length === count && isEach ? all : undefined;
      }, `${count} backups`);
    await many(2);
    await account.deleteHsm(cluster, { HsmId });
    const all = await many(3);
    const times = all.map(({ CreateTimestamp }) => Number(CreateTimestamp));
    expect(times).toEqual(times.toSorted((a, b) => b - a));
    expect(await listed({ SortAscending: true })).toEqual(all.toReversed());
    const [newest] = all;
    const id = newest?.BackupId ?? '';
    for (const [name, value, count] of [
      ['backupIds', id, 1],
      ['clusterIds', cluster ?? '', 3],
      ['clusterIds', 'cluster-abcdefghijk', 0],
      ['states', 'READY', 3],
      ['states', 'PENDING_DELETION', 0],
      ['neverExpires', 'false', 3],
      ['neverExpires', 'true', 0],
      ['sourceBackupIds', id, 0],
    ] as const) {
      expect(await listed({ Filters: { [name]: [value] } }), `${name} ${value}`).toHaveLength(
        count,
      );
    }
    await expect(listed({ Filters: { vpcIds: ['x'] } })).rejects.toMatchObject(INVALID);
    const pages: (string | undefined)[] = [];
    for await (const { Backups } of sdk.paginateDescribeBackups(
      { client: account.client, pageSize: 1 },
      {},
    )) {
      pages.push(...(Backups ?? []).map(({ BackupId }) => BackupId));
    }
    expect(pages).toEqual(all.map(({ BackupId }) => BackupId));
  });

  test('are copied to another region, with their tags unless others are given', async () => {
    const { BackupId, CreateTimestamp } = await first();
    const TagList = [{ Key: 'team', Value: 'x' }];
    await account.client.send(new sdk.TagResourceCommand({ ResourceId: BackupId, TagList }));
    expect((await first()).TagList).toEqual(TagList);
    const copied = new sdk.CopyBackupToRegionCommand({ BackupId, DestinationRegion: ELSEWHERE });
    const { DestinationBackup } = await account.client.send(copied);
    expect(DestinationBackup).toEqual({
      CreateTimestamp,
      SourceRegion: REGION,
      SourceBackup: BackupId,
      SourceCluster: cluster,
    });
    const there = account.in(ELSEWHERE);
    try {
      const [copy] = await listed({ Filters: { sourceBackupIds: [BackupId ?? ''] } }, there);
      expect(copy).toMatchObject({ BackupState: 'READY', ClusterId: cluster, TagList });
      expect(copy).toMatchObject({ ...DestinationBackup, CopyTimestamp: expect.any(Date) });
      const own = { BackupId, DestinationRegion: ELSEWHERE, TagList: [{ Key: 'a', Value: 'b' }] };
      await account.client.send(new sdk.CopyBackupToRegionCommand(own));
      const tags = (await listed({}, there)).map((one) => one.TagList);
      expect(tags).toContainEqual(own.TagList);
      const here = new sdk.CopyBackupToRegionCommand({ BackupId, DestinationRegion: REGION });
      await expect(account.client.send(here)).rejects.toMatchObject(INVALID);
      // each region knows its own
      const gone = new sdk.DeleteBackupCommand({ BackupId });
      await expect(there.send(gone)).rejects.toMatchObject(NOT_FOUND);
    } finally {
      there.destroy();
    }
  });

  test('are deleted, had back, and kept for ever', async () => {
    const { BackupId } = await first();
    const { client } = account;
    const { Backup: deleted } = await client.send(new sdk.DeleteBackupCommand({ BackupId }));
    expect(deleted?.BackupState).toBe('PENDING_DELETION');
    const days = (Number(deleted?.DeleteTimestamp) - Date.now()) / 86_400_000;
    expect(days).toBeGreaterThan(6.9);
    expect(days).toBeLessThan(7.1);
    const create = account.create({ SourceBackupId: BackupId });
    await expect(create).rejects.toMatchObject({
      ...INVALID,
      message: `Backup '${BackupId}' is in state PENDING_DELETION.`,
    });
    const { Backup: back } = await client.send(new sdk.RestoreBackupCommand({ BackupId }));
    expect(back).toMatchObject({ BackupId, BackupState: 'READY' });
    expect(back).not.toHaveProperty('DeleteTimestamp');
    const keep = new sdk.ModifyBackupAttributesCommand({ BackupId, NeverExpires: true });
    expect((await client.send(keep)).Backup?.NeverExpires).toBe(true);
    for (const command of [sdk.DeleteBackupCommand, sdk.RestoreBackupCommand]) {
      const unknown = new command({ BackupId: newBackupId() });
      await expect(client.send(unknown)).rejects.toMatchObject(NOT_FOUND);
    }
  });

  test('have a resource policy', async () => {
    const { BackupId } = await first();
    const ResourceArn = `arn:aws:cloudhsm:${REGION}:123456789012:backup/${BackupId}`;
    const ask = async (action: string, body: object): Promise<[number, unknown]> => {
      const target = `BaldrApiService.${action}`;
      const { status, json } = await awsRequest(account.url, { target, body, region: REGION });
      return [status, json];
    };
    const none = [400, { __type: NOT_FOUND.name, Message: expect.stringContaining('no resource') }];
    expect(await ask('GetResourcePolicy', { ResourceArn })).toEqual(none);
    const Statement = {
      Effect: 'Allow',
      Principal: { AWS: '111122223333' },
      Action: 'cloudhsm:CreateCluster',
      Resource: ResourceArn,
    };
    const Policy = JSON.stringify({ Version: '2012-10-17', Statement });
    const both = { ResourceArn, Policy };
    expect(await ask('PutResourcePolicy', both)).toEqual([200, both]);
    expect(await ask('GetResourcePolicy', { ResourceArn })).toEqual([200, { Policy }]);
    // what is shared by a policy alone is not listed
    expect(await ask('DescribeBackups', { Shared: true })).toEqual([200, { Backups: [] }]);
    expect(await ask('DeleteResourcePolicy', { ResourceArn })).toEqual([200, both]);
    expect(await ask('DeleteResourcePolicy', { ResourceArn })).toEqual(none);
    const broken = await ask('PutResourcePolicy', { ResourceArn, Policy: '{' });
    expect(broken).toMatchObject([400, { __type: INVALID.name }]);
    const other = `arn:aws:cloudhsm:${REGION}:123456789012:cluster/${cluster}`;
    expect(await ask('GetResourcePolicy', { ResourceArn: other })).toMatchObject([
      400,
      { __type: INVALID.name, Message: 'The ResourceArn is not of a backup.' },
    ]);
  });

  test('make another cluster, which has the certificate and is active', async () => {
    const [newest] = await listed();
    const SourceBackupId = newest?.BackupId;
    const made = await account.create({ SourceBackupId });
    expect(made).toMatchObject({ State: 'CREATE_IN_PROGRESS', SourceBackupId, Hsms: [] });
    const shown = await account.cluster(made.ClusterId);
    const { Certificates } = await account.cluster(cluster);
    expect(shown).toMatchObject({ State: 'ACTIVE', Certificates, Hsms: [] });
    await account.createHsm(made.ClusterId);
    await account.active(made.ClusterId, 1);
    await account.create({ SourceBackupId, HsmType: 'hsm1.medium' }).catch((error: Error) => {
      expect(error).toMatchObject({ ...INVALID, message: 'Provided HsmType is not supported.' });
    });
    await expect(account.create({ SourceBackupId: newBackupId() })).rejects.toMatchObject(
      NOT_FOUND,
    );
    const mode = { SourceBackupId, Mode: 'NON_FIPS' } as Partial<sdk.CreateClusterCommandInput>;
    await expect(account.create(mode)).rejects.toMatchObject({
      message: `Backup '${SourceBackupId}' can be restored in mode FIPS only.`,
    });
  });

  test('that are damaged make nothing', async () => {
    const { BackupId } = await first();
    const path = join(account.daemon.home.backups, `${BackupId}.backup`);
    expect(existsSync(path)).toBe(true);
    const whole = readFileSync(path);
    const before = (await account.clusters()).length;
    writeFileSync(path, Buffer.concat([whole.subarray(0, 100), whole.subarray(101)]));
    await expect(account.create({ SourceBackupId: BackupId })).rejects.toMatchObject({
      ...INVALID,
      message: expect.stringContaining('cannot be restored'),
    });
    const copy = new sdk.CopyBackupToRegionCommand({ BackupId, DestinationRegion: ELSEWHERE });
    await expect(account.client.send(copy)).rejects.toMatchObject(INVALID);
    expect(await account.clusters()).toHaveLength(before);
    writeFileSync(path, whole);
  });
});

describe('the backup of another account', () => {
  const [OWNER, FRIEND, STRANGER] = ['111122223333', '444455556666', '777788889999'];

  async function scene(policy: string | null): Promise<{
    record: BackupRecord;
    arn: string;
    create: (account: string, SourceBackupId: string) => Promise<string | undefined>;
  }> {
    const { backups, store, clock } = await newShelf();
    const record = await backups.add(
      backupRecord({ account: OWNER, policy }),
      (id) => writeContent(backups.pathOf(id), backups.sealingOf(id), backupContent(0)),
      0,
    );
    const wanted: WantedCluster[] = [];
    const civil = (): number => clock.nowMs;
    const log = await AuditLog.open(temporaryDirectory());
    onTestFinished(() => log[Symbol.asyncDispose]());
    const done = new Error('this is far enough');
    const control = {
      create: (asked: WantedCluster) => {
        wanted.push(asked);
        return Promise.reject(done);
      },
    };
    const service = new CloudHsm({
      backups: new BackupRequests({ backups, civil, timeScale: 0, clusters: () => [] }),
      control: control as unknown as ControlPlane,
      clusters: () => [],
      tags: new ResourceTags(store),
      events: new Events(log, systemClock()),
      log: silentLog(),
      civil,
    });
    const create = async (account: string, SourceBackupId: string): Promise<string | undefined> => {
      wanted.length = 0;
      const principal = parsePrincipal(`arn:aws:iam::${account}:root`);
      const params = { HsmType: 'hsm2m.medium', SubnetIds: ['subnet-fd54af9b'], SourceBackupId };
      const call = { requestId: newRequestId(), deadline: deadlineIn(10_000) };
      const caller = { principal, region: record.region, origin: {} };
      const error = await service
        .perform('CreateCluster', params, caller, call)
        .catch((cause: unknown) => cause);
      const { code } = error as { code: string };
      if (wanted[0]?.source?.id === record.id) return 'used';
      return code;
    };
    const arn = `arn:aws:cloudhsm:${record.region}:${OWNER}:backup/${record.id}`;
    return { record, arn, create };
  }

  const allow = (account: string, Effect = 'Allow', Action = 'cloudhsm:CreateCluster'): object => ({
    Effect,
    Action: [Action, 'cloudhsm:DescribeBackups'],
    Principal: { AWS: `arn:aws:iam::${account}:root` },
    Resource: '*',
  });
  const policyOf = (...Statement: object[]): string =>
    JSON.stringify({ Version: '2012-10-17', Statement });

  test('is used by whom its policy names, by its whole ARN', async () => {
    const { record, arn, create } = await scene(policyOf(allow(FRIEND)));
    expect(await create(FRIEND, arn)).toBe('used');
    expect(await create(FRIEND, record.id)).toBe(NOT_FOUND.name);
    expect(await create(STRANGER, arn)).toBe(NOT_FOUND.name);
    expect(await create(OWNER, arn)).toBe('used');
    expect(await create(OWNER, record.id)).toBe('used');
    const elsewhere = arn.replace(record.region, 'eu-west-1');
    expect(await create(OWNER, elsewhere)).toBe(NOT_FOUND.name);
  });

  test.each([
    ['no policy', null],
    ['a policy for somebody else', policyOf(allow(STRANGER))],
    ['a policy for something else', policyOf(allow(FRIEND, 'Allow', 'cloudhsm:DeleteBackup'))],
    ['a policy that denies', policyOf(allow(FRIEND), allow(FRIEND, 'Deny'))],
  ])('with %s it does not exist for others', async (_what, policy) => {
    const { arn, create } = await scene(policy);
    expect(await create(FRIEND, arn)).toBe(NOT_FOUND.name);
    expect(await create(OWNER, arn)).toBe('used');
  });
});
