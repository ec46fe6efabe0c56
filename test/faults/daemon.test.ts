import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { callAdmin } from '../../src/cli/admin-client.js';
import type { KeyspanClient } from '../../src/client/client.js';
import { pause } from '../../src/core/deadline.js';
import { DaemonFixture, eventually, signal } from '../support/daemon-fixture.js';
import { FaultScene, PLAINTEXT } from '../support/fault-scene.js';

/** How often the daemon is killed: more where there is time. */
const ROUNDS = Number(process.env['FAULT_ROUNDS'] ?? 20);
/** a kill comes after so many acknowledgements at most, and some time after the last */
const ACKNOWLEDGED_MAX = 12;
const AFTER_MS_MAX = 40;
const KEYS = 5;

let scene: FaultScene;
let daemon: DaemonFixture;
/** keys that were acknowledged and not yet used */
const fresh: string[] = [];

beforeAll(async () => {
  scene = await FaultScene.start(KEYS);
  ({ daemon } = scene);
});
afterAll(async () => {
  await scene?.[Symbol.asyncDispose]();
});

/** Makes and uses keys until the daemon is gone; what it was told is noted, and nothing else. */
async function work(client: KeyspanClient): Promise<void> {
  const options = { retries: false };
  try {
    for (;;) {
      const { KeyId } = await client.kms.createKey({}, options);
      fresh.push(KeyId);
      const request = { KeyId, Plaintext: PLAINTEXT };
      const { CiphertextBlob } = await client.kms.encrypt(request, options);
      scene.kept.push({ KeyId, CiphertextBlob });
    }
  } catch {
    // killed: what was not answered may have happened or not
  }
}

/** What was acknowledged and not used can be used. */
async function useFresh(): Promise<void> {
  await using client = await daemon.client();
  const unused = fresh.splice(0).filter((id) => !scene.kept.some(({ KeyId }) => KeyId === id));
  for (const KeyId of unused) {
    const { CiphertextBlob } = await client.kms.encrypt({ KeyId, Plaintext: PLAINTEXT });
    scene.kept.push({ KeyId, CiphertextBlob });
  }
}

const listed = (pids: readonly number[]): string => [...pids].sort((a, b) => a - b).join(', ');

/** No process but those of the HSMs. */
async function noOrphan(): Promise<void> {
  const pids = listed((await daemon.allActive()).map(({ pid }) => pid ?? 0));
  await eventually(
    async () => (listed(daemon.processes()) === pids ? true : undefined),
    `no process but ${pids}`,
  );
}

/** Nothing is unfinished, nothing buried waits, and no copy is where none belongs. */
async function inOrder(): Promise<void> {
  await daemon.allActive();
  const check = await eventually(async () => {
    const now = await scene.repaired();
    // one that is busy elsewhere for a moment says nothing, which is not nothing that it holds
    const isWhole = now.hsms.every(({ answered }) => answered);
    return now.clean && isWhole && now.intents === 0 ? now : undefined;
  }, 'a clean check');
  expect(check).toMatchObject({ intents: 0, buried: 0, scarce: 0, lost: 0 });
  const [held = 0] = check.hsms.map((hsm) => hsm.held);
  expect(check.hsms.map((hsm) => hsm.held)).toEqual([held, held, held]);
  expect(check.live).toBe(held);
}

/** Some keys later, and at any point of the making of the next: also on a slow machine. */
async function anInstant(): Promise<void> {
  const enough = fresh.length + Math.floor(Math.random() * (ACKNOWLEDGED_MAX + 1));
  await eventually(async () => (fresh.length >= enough ? true : undefined), `${enough} keys`);
  await pause(Math.random() * AFTER_MS_MAX);
}

describe('the daemon is killed under load', () => {
  test(`${ROUNDS} times, at any instant`, { timeout: 20_000 + ROUNDS * 10_000 }, async () => {
    let seen = 0;
    for (let round = 0; round < ROUNDS; round += 1) {
      const clients = await Promise.all([0, 1].map(() => daemon.client()));
      const workers = clients.flatMap((client) => [work(client), work(client), work(client)]);
      await anInstant();
      await daemon.kill();
      await Promise.all(clients.map((client) => client.close()));
      await Promise.all(workers);
      await daemon.up();
      await useFresh();
      await inOrder();
      await noOrphan();
      // each round looks at what is new; the end at everything
      await scene.allIsWell(scene.kept.slice(seen));
      seen = scene.kept.length;
    }
    // the load made keys beside those of the beginning
    expect(scene.kept.length).toBeGreaterThan(KEYS);
    await scene.allIsWell();
  });

  test('while one of its HSMs stands still', async () => {
    const stopped = await scene.hsm(1);
    signal(stopped.pid, 'SIGSTOP');
    await daemon.kill();
    // who stands still cannot notice that the daemon is gone
    await eventually(
      async () => (daemon.processes().join() === String(stopped.pid) ? true : undefined),
      'the others have ended',
    );
    await daemon.up();
    await noOrphan();
    expect(daemon.processes()).not.toContain(stopped.pid);
    expect((await scene.hsm(1)).pid).not.toBe(stopped.pid);
    await scene.allIsWell();
  });

  test('while one of its HSMs is paused by its operator', async () => {
    const { id, pid } = await scene.hsm(2);
    await callAdmin(daemon.home, 'HsmPause', { id });
    await daemon.hsm(id, 'PAUSED');
    await daemon.kill();
    await daemon.up();
    // it is not to run; what is left of it must not own the token
    await eventually(
      async () => (daemon.processes().includes(pid ?? 0) ? undefined : true),
      'its old process is gone',
    );
    await callAdmin(daemon.home, 'HsmResume', { id });
    await noOrphan();
    await scene.allIsWell();
  });
});

test('a second daemon on the home is refused, and the first goes on', async () => {
  const second = DaemonFixture.on(daemon.home);
  const pids = listed(daemon.processes());
  await expect(second.up()).rejects.toMatchObject({ code: 'StoreInUse' });
  await expect(second.up()).rejects.toThrow(/keyspan down/);
  await eventually(
    async () => (listed(daemon.processes()) === pids ? true : undefined),
    'no process of the second one is left',
  );
  await scene.allIsWell();
});
