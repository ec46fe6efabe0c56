import { describe, expect, onTestFinished, test } from 'vitest';
import type { ClusterRecord } from '../../src/cluster/cluster.js';
import { STEP_TIMES_MS, shownState } from '../../src/cluster/cluster-states.js';
import { ControlPlane } from '../../src/cluster/control-plane.js';
import { Subnets } from '../../src/cluster/subnets.js';
import { silentLog } from '../../src/core/log.js';
import { clusterRecord } from '../support/cluster-record.js';
import { BLOCK, stillClusters } from '../support/still-clusters.js';

const REGION = 'us-west-2';
const SUBNETS = ['subnet-fd54af9b', 'subnet-49a1bc00'];

describe('a control plane', () => {
  const DAY_MS = 86_400_000;
  const HSM1 = 'hsm1.medium';
  const HSM2 = 'hsm2m.medium';
  const wanted = { account: '1'.repeat(12), region: REGION, subnetIds: SUBNETS, retentionDays: 90 };

  /** A control plane whose civil clock is ours. */
  async function controlOf(
    records: ClusterRecord[],
    timeScale = 0,
  ): Promise<{ control: ControlPlane; clock: { nowMs: number } }> {
    const { clusters, store, secrets, backups } = await stillClusters(records);
    const clock = { nowMs: Date.UTC(2026, 0) };
    const control = new ControlPlane({
      clusters,
      store,
      secrets,
      backups,
      jobs: { want: () => undefined, takeWhole: () => Promise.reject(new Error('no HSM')) },
      subnets: new Subnets(store, BLOCK, 'here'),
      civil: () => clock.nowMs,
      timeScale,
      quotas: { clusters: 2, hsms: 2 },
      allowsHsm1: true,
      claimed: () => undefined,
      log: silentLog(),
    });
    onTestFinished(() => control[Symbol.asyncDispose]());
    return { control, clock };
  }

  test('goes up and back within a day', async () => {
    const { control, clock } = await controlOf([clusterRecord({ hsmType: HSM1 })], 1);
    const cluster = control.named(undefined);
    const shown = (): string =>
      `${shownState(cluster.record, clock.nowMs)} ${cluster.record.hsmType}`;
    await control.changeType(cluster, HSM2);
    expect(shown()).toBe(`MODIFY_IN_PROGRESS ${HSM2}`);
    await expect(control.changeType(cluster, HSM1)).rejects.toMatchObject({
      message: `Cluster '${cluster.id}' is in state MODIFY_IN_PROGRESS.`,
    });
    clock.nowMs += STEP_TIMES_MS.modifyType;
    expect(shown()).toBe(`ACTIVE ${HSM2}`);
    expect(cluster.record.rollbackUntilMs).toBe(Date.UTC(2026, 0) + DAY_MS);
    await control.changeType(cluster, HSM1);
    expect(shown()).toBe(`ROLLBACK_IN_PROGRESS ${HSM1}`);
    clock.nowMs += STEP_TIMES_MS.modifyType;
    expect(shown()).toBe(`ACTIVE ${HSM1}`);
    expect(cluster.record.rollbackUntilMs).toBeNull();
  });

  test('does not go back after a day, nor to what it is', async () => {
    const { control, clock } = await controlOf([clusterRecord({ hsmType: HSM1 })]);
    const cluster = control.named(undefined);
    await control.changeType(cluster, HSM2);
    await expect(control.changeType(cluster, HSM2)).rejects.toMatchObject({
      message: `Cluster '${cluster.id}' is of that HsmType.`,
    });
    clock.nowMs += DAY_MS;
    await expect(control.changeType(cluster, HSM1)).rejects.toMatchObject({
      message: 'Provided HsmType is not supported.',
    });
  });

  test('hsm1.medium, where it is allowed, is in FIPS mode and has addresses of IPv4', async () => {
    const { control } = await controlOf([]);
    const hsm1 = { ...wanted, hsmType: HSM1, mode: 'FIPS', networkType: 'IPV4' } as const;
    await expect(control.create({ ...hsm1, mode: 'NON_FIPS' })).rejects.toMatchObject({
      message: `Mode NON_FIPS needs the HsmType ${HSM2}.`,
    });
    await expect(control.create({ ...hsm1, networkType: 'DUALSTACK' })).rejects.toMatchObject({
      message: `DUALSTACK needs the HsmType ${HSM2}.`,
    });
    expect((await control.create(hsm1)).record.hsmType).toBe(HSM1);
  });

  test('one cluster is meant where there is one, else it is to be named', async () => {
    const { control } = await controlOf([]);
    const usage = { code: 'KeyspanUsage' };
    expect(() => control.named(undefined)).toThrow(expect.objectContaining(usage) as Error);
    const hsm2 = { ...wanted, hsmType: HSM2, mode: 'FIPS', networkType: 'IPV4' } as const;
    const first = await control.create(hsm2);
    expect(control.named(undefined)).toBe(first);
    await control.create(hsm2);
    expect(control.named(first.id)).toBe(first);
    expect(() => control.named(undefined)).toThrow('name the cluster');
    expect(() => control.named('cluster-aaaaaaaaaaa')).toThrow('there is no cluster');
    await expect(control.create(hsm2)).rejects.toMatchObject({
      message: `The account has 2 clusters in ${REGION}: its quota.`,
    });
  });

  test('an activation is seen after its time, and is one', async () => {
    const record = clusterRecord({ state: 'INITIALIZE_IN_PROGRESS', certificate: 'signed' });
    const { control, clock } = await controlOf([record], 1);
    const cluster = control.named(record.id);
    await control.activated(record.id);
    expect(shownState(cluster.record, clock.nowMs)).toBe('INITIALIZED');
    clock.nowMs += STEP_TIMES_MS.activate;
    expect(shownState(cluster.record, clock.nowMs)).toBe('ACTIVE');
    const { dueMs } = cluster.record;
    await control.activated(record.id);
    expect(cluster.record.dueMs).toBe(dueMs);
  });
});
