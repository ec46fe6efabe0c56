import * as sdk from '@aws-sdk/client-cloudhsm-v2';
import { readdirSync } from 'node:fs';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { callAdmin } from '../../src/cli/admin-client.js';
import type { BackupStatus } from '../../src/protocol/admin.js';
import { eventually } from '../support/daemon-fixture.js';
import { FaultScene } from '../support/fault-scene.js';
import { armHsm, haveStruck, isWhole, killDaemonAt, operate } from '../support/stepped-fault.js';

const REGION = 'us-east-1';

let scene: FaultScene;
beforeAll(async () => {
  scene = await FaultScene.start(0, { faults: true, hsms: 1, port: 0 });
  await newest();
});
afterAll(async () => {
  await scene?.[Symbol.asyncDispose]();
});

// an HSM that was killed at the end of a test is back
beforeEach(async () => {
  await isWhole(scene);
  await noneIsHalf();
});

const listed = async (): Promise<readonly BackupStatus[]> =>
  (await callAdmin(scene.daemon.home, 'BackupList')).backups;

const newest = (): Promise<BackupStatus> =>
  eventually(async () => {
    const backup = (await listed()).at(-1);
    return backup?.state === 'READY' ? backup : undefined;
  }, 'a backup that is ready');

/** Each backup has its file, and no file is left of another. */
async function noneIsHalf(): Promise<void> {
  await eventually(async () => {
    const backups = await listed();
    const files = readdirSync(scene.daemon.home.backups).sort();
    const wanted = backups.map(({ id }) => `${id}.backup`).sort();
    const isEach = JSON.stringify(files) === JSON.stringify(wanted);
    return isEach && backups.every(({ state }) => state === 'READY') ? true : undefined;
  }, 'a file for each backup, and each ready');
}

/** A join is followed by a backup; the HSM leaves again. */
async function joined(during: (join: () => Promise<unknown>) => Promise<unknown>): Promise<void> {
  const before = (await scene.daemon.hsms()).map(({ id }) => id);
  await during(() => operate(scene, 'HsmAdd'));
  // a backup of its own time may have come to the step first: who got no answer asks again
  if ((await scene.daemon.hsms()).length === before.length) await operate(scene, 'HsmAdd');
  await isWhole(scene);
  await noneIsHalf();
  const more = (await scene.daemon.hsms()).filter(({ id }) => !before.includes(id));
  expect(more).toHaveLength(1);
  for (const { id } of more) await operate(scene, 'HsmRemove', { id });
}

describe('a backup is whole or not there', () => {
  test.each(['backup.begun', 'backup.written'] as const)(
    'when the daemon is killed at %s',
    async (step) => {
      await joined((join) => killDaemonAt(scene, step, join));
    },
  );

  test.each([
    ['backup', 'before'],
    ['backup', 'after'],
    ['backup-keys', 'before'],
    ['backup-keys', 'after'],
  ] as const)('when the HSM that gives it is killed at %s, %s that', async (operation, when) => {
    const count = (await listed()).length;
    const hsm = (await scene.daemon.hsms())[0]?.id ?? '';
    await joined(async (join) => {
      await armHsm(scene, { hsm, operation, when });
      await join();
      await eventually(async () => {
        const { faults } = await operate(scene, 'FaultList');
        return faults.length === 0 ? true : undefined;
      }, 'the fault has struck');
      // another HSM gives what this one did not
      await eventually(
        async () => ((await listed()).length > count ? true : undefined),
        'a backup',
      );
    });
    await haveStruck(scene);
    await noneIsHalf();
  });
});

describe('the last HSM of a cluster goes whole, and what it held comes back', () => {
  const client = async (): Promise<sdk.CloudHSMV2Client> =>
    new sdk.CloudHSMV2Client({
      endpoint: (await scene.daemon.status()).endpoints.aws,
      region: REGION,
      credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
      maxAttempts: 1,
    });

  const clusterNow = async (): Promise<sdk.Cluster> => {
    const asking = await client();
    const { Clusters } = await asking.send(new sdk.DescribeClustersCommand({}));
    asking.destroy();
    return Clusters?.[0] ?? {};
  };

  async function deleteLast(): Promise<void> {
    const { ClusterId, Hsms } = await clusterNow();
    const asking = await client();
    const input = { ClusterId, HsmId: Hsms?.[0]?.HsmId };
    await asking.send(new sdk.DeleteHsmCommand(input));
    asking.destroy();
  }

  async function createAgain(): Promise<void> {
    const { ClusterId, State } = await eventually(async () => {
      const cluster = await clusterNow();
      return cluster.Hsms?.length === 0 ? cluster : undefined;
    }, 'the last HSM is gone');
    expect(State).toBe('ACTIVE');
    await noneIsHalf();
    const asking = await client();
    const AvailabilityZone = `${REGION}a`;
    await asking.send(new sdk.CreateHsmCommand({ ClusterId, AvailabilityZone }));
    asking.destroy();
    await scene.daemon.allActive();
    await isWhole(scene);
  }

  test.each([
    'backup.begun',
    'backup.written',
    'leave.proved',
    'member.committed',
    'member.adopted',
    'member.erased',
  ] as const)('when the daemon is killed at %s', async (step) => {
    await killDaemonAt(scene, step, deleteLast);
    // a backup of its own time may have come to the step first: who got no answer asks again
    const [hsm] = (await clusterNow()).Hsms ?? [];
    if (hsm && hsm.State !== 'DELETE_IN_PROGRESS') await deleteLast();
    await createAgain();
  });

  test.each(['backup', 'backup-keys'] as const)('when it is killed at %s', async (operation) => {
    const [hsm] = await scene.daemon.hsms();
    await armHsm(scene, { hsm: hsm?.id ?? '', operation, when: 'before' });
    await deleteLast();
    await createAgain();
  });

  test.each(['rise.entered', 'catch-up.examined', 'catch-up.copied'] as const)(
    'when the daemon is killed at %s of its return',
    async (step) => {
      await deleteLast();
      await killDaemonAt(scene, step, createAgain);
      await scene.daemon.allActive();
      await isWhole(scene);
    },
  );
});
