import { describe, expect, onTestFinished, test } from 'vitest';
import { callAdmin } from '../../src/cli/admin-client.js';
import { pause } from '../../src/core/deadline.js';
import type { ClusterStatus } from '../../src/protocol/admin.js';
import { CloudHsmAccount, REGION } from '../support/cloudhsm-account.js';
import { eventually, signal } from '../support/daemon-fixture.js';

/** How often the daemon is killed at each step: more where there is time. */
const ROUNDS = Number(process.env['CEREMONY_ROUNDS'] ?? 1);
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
  await eventually(async () => {
    const states = ((await account.cluster(id)).Hsms ?? []).map((hsm) => hsm.State);
    return states.includes('DELETE_IN_PROGRESS') ? undefined : true;
  }, 'what was deleted is gone');
  const zones = ['a', 'b'].map((letter) => ({ AvailabilityZone: `${REGION}${letter}` }));
  const left = (await account.cluster(id)).Hsms?.length ?? 0;
  for (const zone of zones.slice(left)) await account.createHsm(id, zone);
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
  DeleteHsm: (account, id) => deleteLast(account, id, 2),
  'DeleteHsm, the last one': (account, id) => deleteLast(account, id, 1),
  'CreateHsm, from a backup': async (account, id) => {
    await account.active(id, 0);
    await account.createHsm(id);
  },
};

/** The last in the list, of so many. */
async function deleteLast(account: CloudHsmAccount, id: string, count: number): Promise<void> {
  const hsms = await account.active(id, count);
  await account.deleteHsm(id, { HsmId: hsms.at(-1)?.HsmId });
}
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
    20_000 + ROUNDS * 40_000,
  );

  test.each(NAMES)(
    'when its HSM is killed at %s',
    async (name) => {
      const account = await open();
      const { ClusterId: id = '' } = await account.create();
      for (const before of NAMES.slice(0, NAMES.indexOf(name))) await STEPS[before]?.(account, id);
      const pidOf = async (): Promise<number | undefined> =>
        (await statusOf(account))?.hsms.at(-1)?.pid ?? undefined;
      const before = name.startsWith('Delete') ? await pidOf() : undefined;
      const asked = STEPS[name]?.(account, id).catch(() => undefined);
      const pid = before ?? (await eventually(pidOf, 'an HSM process'));
      signal(pid, 'SIGKILL');
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
