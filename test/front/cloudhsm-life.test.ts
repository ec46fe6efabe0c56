import * as sdk from '@aws-sdk/client-cloudhsm-v2';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { callAdmin } from '../../src/cli/admin-client.js';
import { awsRequest } from '../support/aws-request.js';
import { CloudHsmAccount as Account, REGION, SUBNETS } from '../support/cloudhsm-account.js';
import { eventually } from '../support/daemon-fixture.js';

const INVALID = { name: 'CloudHsmInvalidRequestException' };
const NOT_YET = 'has not yet been fully activated';
const NOT_FOUND = { name: 'CloudHsmResourceNotFoundException' };

describe('a cluster of a caller', () => {
  let account: Account;
  beforeAll(async () => {
    account = await Account.open();
  });
  afterAll(() => account[Symbol.asyncDispose]());

  test('is there from the call on, as it was asked for', async () => {
    expect(await account.clusters()).toEqual([]);
    const policy = { Type: 'DAYS', Value: '30' } as const;
    const TagList = [{ Key: 'team', Value: 'x' }];
    const made = await account.create({ BackupRetentionPolicy: policy, TagList });
    expect(made).toMatchObject({
      State: 'CREATE_IN_PROGRESS',
      BackupRetentionPolicy: policy,
      Certificates: {},
      Hsms: [],
      HsmType: 'hsm2m.medium',
      SubnetMapping: { [`${REGION}a`]: SUBNETS[0], [`${REGION}b`]: SUBNETS[1] },
      TagList,
    });
    expect(await account.clusters()).toEqual([{ ...made, State: 'UNINITIALIZED' }]);
    const [state] = (await callAdmin(account.daemon.home, 'Status')).clusters;
    expect(state).toMatchObject({ id: made.ClusterId, state: 'UNINITIALIZED', hsms: [] });
    await account.delete(made.ClusterId);
    expect(await account.clusters()).toEqual([]);
  });

  test('gets an HSM with a process, a token and an address of its own', async () => {
    const { ClusterId } = await account.create();
    const hsm = await account.createHsm(ClusterId);
    expect(hsm).toMatchObject({ ClusterId, SubnetId: SUBNETS[0], State: 'CREATE_IN_PROGRESS' });
    expect(hsm.EniIp).toMatch(/^127\./);
    const { Hsms, State, Certificates } = await account.claimable(ClusterId);
    expect(Hsms).toMatchObject([{ HsmId: hsm.HsmId, EniId: hsm.EniId, EniIp: hsm.EniIp }]);
    expect(State).toBe('UNINITIALIZED');
    expect(Object.keys(Certificates ?? {})).toHaveLength(4);
    expect(existsSync(join(account.daemon.home.hsms, hsm.HsmId ?? ''))).toBe(true);

    await expect(account.createHsm(ClusterId)).rejects.toMatchObject({
      ...INVALID,
      message: `Cluster '${ClusterId}' already contains an HSM but ${NOT_YET}`,
    });
    await expect(account.delete(ClusterId)).rejects.toMatchObject({
      ...INVALID,
      message: `Cluster '${ClusterId}' still contains HSMs. Delete them first.`,
    });
    // with the HSM goes the key that was to be signed
    expect(await account.deleteHsm(ClusterId, { EniIp: hsm.EniIp })).toBe(hsm.HsmId);
    await eventually(
      async () => ((await account.cluster(ClusterId)).Hsms?.length === 0 ? true : undefined),
      'the HSM is gone',
    );
    const directory = join(account.daemon.home.hsms, hsm.HsmId ?? '');
    await eventually(async () => (existsSync(directory) ? undefined : true), 'its token is gone');
    expect((await account.cluster(ClusterId)).Certificates).toEqual({});
    await account.createHsm(ClusterId, { AvailabilityZone: `${REGION}b` });
    const again = await account.claimable(ClusterId);
    expect(again.Certificates?.ClusterCsr).not.toBe(Certificates?.ClusterCsr);
    await account.deleteHsm(ClusterId, { EniId: again.Hsms?.[0]?.EniId });
    await eventually(
      async () => ((await account.cluster(ClusterId)).Hsms?.length === 0 ? true : undefined),
      'the HSM is gone',
    );
    const { Cluster } = await account.delete(ClusterId);
    expect(Cluster).toMatchObject({
      State: 'DELETE_IN_PROGRESS',
      StateMessage: 'The cluster is being deleted.',
    });
    expect(await account.clusters()).toEqual([]);
  });

  test.each<[string, Partial<sdk.CreateClusterCommandInput>, string]>([
    ['a type of long ago', { HsmType: 'hsm1.medium' }, 'Provided HsmType is not supported.'],
    ['a type of nobody', { HsmType: 'hsm9.large' }, 'Provided HsmType is not supported.'],
    ['a subnet twice', { SubnetIds: ['subnet-aaaaaaaa', 'subnet-aaaaaaaa'] }, 'A subnet is given'],
    [
      'a short retention',
      { BackupRetentionPolicy: { Type: 'DAYS', Value: '6' } },
      'Backups are kept for 7 to 379 days.',
    ],
    ['half a retention', { BackupRetentionPolicy: { Value: '9' } }, 'A BackupRetentionPolicy has'],
  ])('is refused with %s', async (_what, input, message) => {
    const refusal = { ...INVALID, message: expect.stringContaining(message) as string };
    await expect(account.create(input)).rejects.toMatchObject(refusal);
    expect(await account.clusters()).toEqual([]);
  });

  test('is changed in its retention at once, and not to a type that it cannot have', async () => {
    const { ClusterId } = await account.create();
    onTestFinished(async () => void (await account.delete(ClusterId)));
    const modify = (body: object): ReturnType<typeof awsRequest> =>
      awsRequest(account.url, {
        target: 'BaldrApiService.ModifyCluster',
        body: { ClusterId, ...body },
        region: REGION,
      });
    const policy = { Type: 'DAYS', Value: '379' };
    const changed = await modify({ BackupRetentionPolicy: policy });
    expect(changed.json).toMatchObject({
      Cluster: { State: 'UNINITIALIZED', BackupRetentionPolicy: policy },
    });
    const shown = await account.cluster(ClusterId);
    expect(shown.BackupRetentionPolicy).toEqual(policy);
    expect((await modify({})).json).toMatchObject({ __type: INVALID.name });
    expect((await modify({ HsmType: 'hsm2m.medium' })).json).toEqual({
      __type: INVALID.name,
      Message: `Cluster '${ClusterId}' is in state UNINITIALIZED.`,
    });
  });

  test('is not there for others', async () => {
    const { ClusterId } = await account.create();
    onTestFinished(async () => void (await account.delete(ClusterId)));
    const elsewhere = account.in('eu-west-1');
    const input = { ClusterId, AvailabilityZone: 'eu-west-1a' };
    await expect(elsewhere.send(new sdk.CreateHsmCommand(input))).rejects.toMatchObject(NOT_FOUND);
    elsewhere.destroy();
    const nobody = 'cluster-aaaaaaaaaaa';
    await expect(account.delete(nobody)).rejects.toMatchObject(NOT_FOUND);
    await expect(account.deleteHsm(ClusterId, { EniIp: '127.0.0.1' })).rejects.toMatchObject({
      ...NOT_FOUND,
      message: `Cluster '${ClusterId}' has no HSM '127.0.0.1'.`,
    });
    for (const names of [{}, { EniIp: '127.0.0.1', HsmId: 'hsm-aaaaaaaaaaa' }]) {
      await expect(account.deleteHsm(ClusterId, names)).rejects.toMatchObject({
        ...INVALID,
        message: 'Exactly one of HsmId, EniId and EniIp names the HSM.',
      });
    }
  });

  test('has HSMs in its own subnets only, at addresses that this machine has', async () => {
    const { ClusterId } = await account.create();
    onTestFinished(async () => void (await account.delete(ClusterId)));
    await expect(
      account.createHsm(ClusterId, { AvailabilityZone: `${REGION}c` }),
    ).rejects.toMatchObject({
      ...INVALID,
      message: `Cluster '${ClusterId}' has no subnet in ${REGION}c.`,
    });
    await expect(account.createHsm(ClusterId, { IpAddress: '192.0.2.1' })).rejects.toMatchObject({
      ...INVALID,
      message: 'This machine cannot listen on the IpAddress 192.0.2.1, or an HSM has it.',
    });
    expect((await account.cluster(ClusterId)).Hsms).toEqual([]);
  });

  test('counts against the quota', async () => {
    const made = await Promise.all([1, 2, 3, 4].map(() => account.create()));
    await expect(account.create()).rejects.toMatchObject({
      ...INVALID,
      message: `The account has 4 clusters in ${REGION}: its quota.`,
    });
    for (const { ClusterId } of made) await account.delete(ClusterId);
    const { ClusterId } = await account.create();
    await account.delete(ClusterId);
  });
});

test('outlives the daemon, and what was begun is ended', async () => {
  await using account = await Account.open();
  const { ClusterId } = await account.create();
  const { HsmId } = await account.createHsm(ClusterId);
  await account.claimable(ClusterId);
  const before = await account.cluster(ClusterId);
  await account.daemon.kill();
  await account.up();
  const after = await account.claimable(ClusterId);
  expect(after).toEqual(before);
  await account.deleteHsm(ClusterId, { HsmId });
  await account.daemon.kill();
  await account.up();
  await eventually(
    async () => ((await account.cluster(ClusterId)).Hsms?.length === 0 ? true : undefined),
    'the HSM is gone',
  );
});

test('a poller sees every state in its order when steps take time', async () => {
  await using account = await Account.open({ timeScale: 0.01 });
  const { ClusterId } = await account.create();
  const seen: string[] = [];
  const look = async (): Promise<sdk.Cluster> => {
    const cluster = await account.cluster(ClusterId);
    const state = `${cluster.State ?? 'gone'} ${cluster.Hsms?.[0]?.State ?? '-'}`;
    if (seen.at(-1) !== state) seen.push(state);
    return cluster;
  };
  const until = (test: (cluster: sdk.Cluster) => boolean): Promise<true> =>
    eventually(async () => (test(await look()) ? true : undefined), seen.join(', '));
  await until(({ State }) => State === 'UNINITIALIZED');
  const { EniId, HsmId } = await account.createHsm(ClusterId);
  expect(EniId).toMatch(/^eni-/);
  await until(({ Hsms }) => Hsms?.[0]?.State === 'ACTIVE');
  await account.deleteHsm(ClusterId, { HsmId });
  await until(({ Hsms }) => Hsms?.length === 0);
  await account.delete(ClusterId);
  await until(({ State }) => State === undefined);
  expect(seen).toEqual([
    'CREATE_IN_PROGRESS -',
    'UNINITIALIZED -',
    'UNINITIALIZED CREATE_IN_PROGRESS',
    'UNINITIALIZED ACTIVE',
    'UNINITIALIZED DELETE_IN_PROGRESS',
    'UNINITIALIZED -',
    'DELETE_IN_PROGRESS -',
    'gone -',
  ]);
});

test("up's cluster grows and shrinks by the API, and is not deleted", async () => {
  await using account = await Account.open({ cluster: true, hsms: 2 });
  const [own] = await account.clusters();
  const id = own?.ClusterId;
  const added = await account.createHsm(id, { AvailabilityZone: `${REGION}b` });
  const active = (count: number): Promise<true> =>
    eventually(async () => {
      const { Hsms = [] } = await account.cluster(id);
      const states = Hsms.map(({ State }) => State);
      return states.length === count && states.every((one) => one === 'ACTIVE') ? true : undefined;
    }, `${count} HSMs are active`);
  await active(3);
  await account.deleteHsm(id, { HsmId: added.HsmId });
  await active(2);
  await using client = await account.daemon.client();
  const { KeyId } = await client.kms.createKey();
  // both at once: the one that is counted last is the last one
  const both = await Promise.allSettled(
    (own?.Hsms ?? []).map(({ HsmId }) => account.deleteHsm(id, { HsmId })),
  );
  expect(both.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  expect(both.find((one) => one.status === 'rejected')?.reason).toMatchObject({
    ...INVALID,
    message: `Cluster '${id}' backs KMS keys: its last HSM cannot be deleted.`,
  });
  await expect(account.delete(id)).rejects.toMatchObject({
    ...INVALID,
    message: `Cluster '${id}' backs KMS keys and cannot be deleted.`,
  });
  expect(KeyId).toMatch(/^[0-9a-f-]{36}$/);
  // it does not count
  await account.create();
});

test("up's cluster goes like any other while there are no KMS keys", async () => {
  await using account = await Account.open({ cluster: true, hsms: 1 });
  const [own] = await account.clusters();
  const id = own?.ClusterId;
  await account.deleteHsm(id, { HsmId: own?.Hsms?.[0]?.HsmId });
  await account.active(id, 0);
  expect((await account.cluster(id)).State).toBe('ACTIVE');
  // a daemon starts with it as it is
  await account.daemon.kill();
  await account.up({ cluster: true });
  const { HsmId } = await account.createHsm(id);
  const [hsm] = await account.active(id, 1);
  await using client = await account.daemon.client();
  await client.kms.createKey();
  expect(hsm?.HsmId).toBe(HsmId);
});

/** What the provider of Terraform for AWS does: it looks at all clusters, and knows ENIs. */
describe('a poller of the shape of Terraform', () => {
  const pending = new Set(['CREATE_IN_PROGRESS', 'INITIALIZE_IN_PROGRESS']);

  async function waitFor(
    account: Account,
    id: string | undefined,
    target: string,
  ): Promise<sdk.Cluster> {
    return await eventually(async () => {
      const cluster = await account.cluster(id);
      if (cluster.State === target) return cluster;
      expect(pending).toContain(cluster.State);
      return undefined;
    }, target);
  }

  /** By its ENI, whose id stays when an HSM is replaced. */
  async function hsmOf(account: Account, eni: string | undefined): Promise<sdk.Hsm | undefined> {
    const hsms = (await account.clusters()).flatMap(({ Hsms }) => Hsms ?? []);
    return hsms.find(({ EniId }) => EniId === eni);
  }

  async function applyHsm(
    account: Account,
    cluster: string | undefined,
    zone: string,
  ): Promise<string | undefined> {
    const asked = { AvailabilityZone: `${REGION}${zone}` };
    const { EniId, State } = await account.createHsm(cluster, asked);
    expect(State).toBe('CREATE_IN_PROGRESS');
    await eventually(async () => {
      const state = (await hsmOf(account, EniId))?.State;
      expect(['CREATE_IN_PROGRESS', 'ACTIVE']).toContain(state);
      return state === 'ACTIVE' ? true : undefined;
    }, 'the HSM is active');
    return EniId;
  }

  async function destroyHsm(account: Account, EniId: string | undefined): Promise<void> {
    const hsm = await hsmOf(account, EniId);
    await account.deleteHsm(hsm?.ClusterId, { EniId });
    await eventually(async () => {
      const state = (await hsmOf(account, EniId))?.State;
      expect(['DELETE_IN_PROGRESS', undefined]).toContain(state);
      return state === undefined ? true : undefined;
    }, 'the HSM is gone');
  }

  test('makes a cluster with HSMs, another from its backup, and takes all down', async () => {
    await using account = await Account.open({ timeScale: 0.001 });
    const { ClusterId: id } = await account.create();
    await waitFor(account, id, 'UNINITIALIZED');
    const enis = [await applyHsm(account, id, 'a')];
    // by hand, as its documentation says
    await account.initialize(id);
    await eventually(
      async () => ((await account.cluster(id)).State === 'INITIALIZED' ? true : undefined),
      'initialized',
    );
    await account.activate(id);
    await eventually(
      async () => ((await account.cluster(id)).State === 'ACTIVE' ? true : undefined),
      'active',
    );
    enis.push(...(await Promise.all(['a', 'b'].map((zone) => applyHsm(account, id, zone)))));
    const backup = await eventually(async () => {
      const { Backups } = await account.client.send(new sdk.DescribeBackupsCommand({}));
      return Backups?.find(({ BackupState }) => BackupState === 'READY');
    }, 'a backup');
    const { ClusterId: second } = await account.create({ SourceBackupId: backup.BackupId });
    const restored = await waitFor(account, second, 'ACTIVE');
    expect(restored.Certificates?.ClusterCertificate).toBe(
      (await account.cluster(id)).Certificates?.ClusterCertificate,
    );
    enis.push(await applyHsm(account, second, 'b'));
    await Promise.all(enis.map((eni) => destroyHsm(account, eni)));
    for (const cluster of [id, second]) {
      await account.delete(cluster);
      await eventually(async () => {
        const { State } = await account.cluster(cluster);
        expect(['DELETE_IN_PROGRESS', 'DELETED', undefined]).toContain(State);
        return State === undefined || State === 'DELETED' ? true : undefined;
      }, 'the cluster is gone');
    }
  });
});
