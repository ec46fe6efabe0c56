import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { callAdmin } from '../../src/cli/admin-client.js';
import { LIMITS } from '../../src/core/limits.js';
import type { HsmStatus } from '../../src/protocol/admin.js';
import { eventually, signal, type DaemonFixture } from '../support/daemon-fixture.js';
import { FaultScene, PLAINTEXT } from '../support/fault-scene.js';

let scene: FaultScene;
let daemon: DaemonFixture;
let hsms: readonly HsmStatus[];

beforeAll(async () => {
  scene = await FaultScene.start(10);
  daemon = scene.daemon;
  hsms = await daemon.hsms();
});
afterAll(async () => {
  await scene?.[Symbol.asyncDispose]();
});

/** The fault happens under load, and the HSM comes back. */
const survive = (name: string, hsm: HsmStatus, fault: () => Promise<void>): Promise<void> =>
  scene.survive(name, hsm, async () => {
    await fault();
    await daemon.hsm(hsm.id);
  });

const now = (index: number): Promise<HsmStatus> => scene.hsm(index);

describe('no request fails', () => {
  test.each([0, 1, 2])('while HSM %i is killed', async (index) => {
    const hsm = await now(index);
    await survive(`kill -9 of HSM ${index}`, hsm, async () => {
      signal(hsm.pid, 'SIGKILL');
      await scene.noticed(hsm);
    });
  });

  test('while one crashes by order', async () => {
    const hsm = await now(0);
    await survive('hsm crash', hsm, async () => {
      await callAdmin(daemon.home, 'HsmCrash', { id: hsm.id });
      await scene.noticed(hsm);
    });
  });

  test('while one stands still', async () => {
    const hsm = await now(1);
    await survive('SIGSTOP', hsm, async () => {
      signal(hsm.pid, 'SIGSTOP');
      await scene.noticed(hsm);
      signal(hsm.pid, 'SIGCONT');
    });
  });

  test('while one is stopped and started by its operator', async () => {
    const hsm = await now(2);
    await survive('hsm stop', hsm, async () => {
      await callAdmin(daemon.home, 'HsmStop', { id: hsm.id });
      await daemon.hsm(hsm.id, 'STOPPED');
      await callAdmin(daemon.home, 'HsmStart', { id: hsm.id });
    });
  });
});

test('an HSM that stands still for good is ended and started anew', async () => {
  const hsm = await now(2);
  signal(hsm.pid, 'SIGSTOP');
  await daemon.hsm(hsm.id, 'HUNG');
  const back = await eventually(
    async () => {
      const [seen] = (await daemon.hsms()).filter(
        ({ id, pid }) => id === hsm.id && pid !== hsm.pid,
      );
      return seen?.state === 'ACTIVE' ? seen : undefined;
    },
    'a new process',
    4 * LIMITS.hung_restart_ms,
  );
  expect(back.pid).not.toBe(hsm.pid);
});

test('every acknowledged key is on every HSM, with nothing left over', async () => {
  // attempts that were given up are destroyed in the background; beside ours is the cluster's key
  await eventually(
    async () => {
      const counts = (await daemon.allActive()).map(({ keys }) => keys);
      return counts.every((count) => count === scene.kept.length + 1) ? true : undefined;
    },
    `${scene.kept.length + 1} keys on each HSM`,
  );
  for (const alone of hsms) {
    const others = hsms.filter(({ id }) => id !== alone.id);
    for (const { id } of others) await callAdmin(daemon.home, 'HsmKill', { id });
    const client = await daemon.client({ endpoints: [await daemon.endpoint(alone.id)] });
    for (const { CiphertextBlob } of scene.kept) {
      const { result, hsm } = await client.call('Decrypt', { CiphertextBlob });
      expect(Buffer.from(result['Plaintext'] as Uint8Array)).toEqual(PLAINTEXT);
      expect(hsm).toBe(alone.id);
    }
    // alone it may not promise that a new key survives
    await expect(client.kms.createKey({}, { retries: false })).rejects.toMatchObject({
      code: 'KMSInternalException',
    });
    for (const { id } of others) await callAdmin(daemon.home, 'HsmStart', { id });
    await daemon.allActive();
    await client.close();
  }
});

test('keys that are made while an HSM is away are on it when it serves again', async () => {
  const [away, ...others] = await daemon.allActive();
  const id = away?.id ?? '';
  await callAdmin(daemon.home, 'HsmKill', { id });
  const fresh = await daemon.client({ endpoints: [await daemon.endpoint(others[0]?.id ?? '')] });
  const before = scene.kept.length;
  for (let count = 0; count < 5; count += 1) await scene.keep(fresh);
  await callAdmin(daemon.home, 'HsmStart', { id });
  await daemon.hsm(id);
  for (const other of others) await callAdmin(daemon.home, 'HsmKill', { id: other.id });
  const client = await daemon.client({ endpoints: [await daemon.endpoint(id)] });
  for (const { CiphertextBlob } of scene.kept.slice(before)) {
    const { hsm } = await client.call('Decrypt', { CiphertextBlob });
    expect(hsm).toBe(id);
  }
  for (const other of others) await callAdmin(daemon.home, 'HsmStart', { id: other.id });
  await daemon.allActive();
});
