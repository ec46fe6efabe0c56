import { describe, expect, onTestFinished, test } from 'vitest';
import { callAdmin } from '../../src/cli/admin-client.js';
import { pause } from '../../src/core/deadline.js';
import type { ClusterStatus } from '../../src/protocol/admin.js';
import { CloudHsmAccount, REGION } from '../support/cloudhsm-account.js';
import { eventually } from '../support/daemon-fixture.js';

const ROUNDS = 3;
const AFTER_MS_MAX = 60;

async function open(): Promise<CloudHsmAccount> {
  const account = await CloudHsmAccount.open();
  onTestFinished(() => account[Symbol.asyncDispose]());
  return account;
}

const statusOf = async (account: CloudHsmAccount): Promise<ClusterStatus | undefined> =>
  (await callAdmin(account.daemon.home, 'Status')).clusters[0];

/** From here the documented commands lead to an active cluster of two HSMs, less the first. */
async function goOn(account: CloudHsmAccount, id: string | undefined): Promise<void> {
  const { State, Hsms = [] } = await account.cluster(id);
  if (State === 'UNINITIALIZED' && Hsms.length === 0) await account.createHsm(id);
  if (State === 'UNINITIALIZED') await account.initialize(id);
  if (State !== 'ACTIVE') await account.activate(id);
  await eventually(
    async () => ((await account.cluster(id)).State === 'ACTIVE' ? true : undefined),
    'the cluster is active',
  );
  const zone = { AvailabilityZone: `${REGION}b` };
  if ((await account.cluster(id)).Hsms?.length === 1) await account.createHsm(id, zone);
  const [first] = await account.active(id, 2);
  await account.deleteHsm(id, { HsmId: first?.HsmId });
  await account.active(id, 1);
  const { users } = await callAdmin(account.daemon.home, 'UserList', { cluster: id });
  expect(users).toContainEqual(
    expect.objectContaining({ username: 'admin', role: 'admin', 'cluster-coverage': 'full' }),
  );
}

/** What an operator asks for, in its order. */
const STEPS: Record<string, (account: CloudHsmAccount, id: string) => Promise<unknown>> = {
  'CreateHsm, the first': (account, id) => account.createHsm(id),
  InitializeCluster: (account, id) => account.initialize(id),
  activation: (account, id) => account.activate(id),
  'CreateHsm, another': (account, id) => account.createHsm(id, { AvailabilityZone: `${REGION}b` }),
};
const NAMES = Object.keys(STEPS);

describe('the ceremony goes on', () => {
  test.each(NAMES)(
    'when the daemon is killed at %s',
    async (name) => {
      const account = await open();
      for (let round = 0; round < ROUNDS; round += 1) {
        const { ClusterId: id = '' } = await account.create();
        for (const before of NAMES.slice(0, NAMES.indexOf(name)))
          await STEPS[before]?.(account, id);
        const asked = STEPS[name]?.(account, id).catch(() => undefined);
        await pause(Math.random() * AFTER_MS_MAX);
        await account.daemon.kill();
        await asked;
        await account.up();
        await goOn(account, id);
        await account.daemon.kill();
        await account.up();
        await account.active(id, 1);
      }
    },
    120_000,
  );

  test.each(NAMES)(
    'when its HSM is killed at %s',
    async (name) => {
      const account = await open();
      const { ClusterId: id = '' } = await account.create();
      for (const before of NAMES.slice(0, NAMES.indexOf(name))) await STEPS[before]?.(account, id);
      const asked = STEPS[name]?.(account, id).catch(() => undefined);
      const pid = await eventually(
        async () => (await statusOf(account))?.hsms.at(-1)?.pid ?? undefined,
        'an HSM process',
      );
      process.kill(pid, 'SIGKILL');
      await asked;
      await eventually(
        async () =>
          (await statusOf(account))?.hsms.every(({ state }) => state === 'ACTIVE')
            ? true
            : undefined,
        'the HSMs serve again',
      );
      await goOn(account, id);
    },
    60_000,
  );
});
