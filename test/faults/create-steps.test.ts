import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { KeyspanClient } from '../../src/client/client.js';
import type { HsmStatus } from '../../src/protocol/admin.js';
import { FaultScene, PLAINTEXT } from '../support/fault-scene.js';
import {
  armHsm,
  haveStruck,
  isBack,
  isWhole,
  killDaemonAt,
  operate,
} from '../support/stepped-fault.js';

let scene: FaultScene;
beforeAll(async () => {
  scene = await FaultScene.start(3, { faults: true });
});
afterAll(async () => {
  await scene?.[Symbol.asyncDispose]();
});

const MOMENTS = ['before', 'after'] as const;

async function through(id: string, others: readonly HsmStatus[] = []): Promise<KeyspanClient> {
  const ids = [id, ...others.map((hsm) => hsm.id).filter((one) => one !== id)];
  return await scene.daemon.client({
    endpoints: await Promise.all(ids.map((one) => scene.daemon.endpoint(one))),
  });
}

describe('a create succeeds and is on every HSM', () => {
  const cases = [0, 1, 2].flatMap((at) => MOMENTS.map((when) => ({ at, when })));

  test.each(cases)('when HSM $at is killed $when its insert', async ({ at, when }) => {
    const hsms = await scene.daemon.allActive();
    const [hsm, entry] = [hsms[at], hsms[(at + 1) % 3]];
    if (!hsm || !entry) return expect.unreachable();
    await armHsm(scene, { hsm: hsm.id, operation: 'insert', when });
    await using client = await through(entry.id);
    const { KeyId } = await client.kms.createKey({}, { retries: false });
    const { CiphertextBlob } = await client.kms.encrypt({ KeyId, Plaintext: PLAINTEXT });
    scene.kept.push({ KeyId, CiphertextBlob });
    await isBack(scene, hsm);
    await isWhole(scene);
    await haveStruck(scene);
  });

  // its own ENI goes with it: who came that way may have to come again by another
  const makers = (['generate', 'insert'] as const).flatMap((operation) =>
    MOMENTS.map((when) => ({ operation, when })),
  );
  test.each(makers)('when its maker is killed $when $operation', async ({ operation, when }) => {
    const hsms = await scene.daemon.allActive();
    const maker = hsms[1] ?? expect.unreachable();
    await armHsm(scene, { hsm: maker.id, operation, when });
    await using client = await through(maker.id, hsms);
    await scene.keep(client);
    await isBack(scene, maker);
    await isWhole(scene);
    await haveStruck(scene);
  });
});

describe('an HSM that was away has every key', () => {
  /** Keys are made without an HSM, and a fault waits for its return. */
  async function comesBack(arm: (away: HsmStatus, others: HsmStatus[]) => Promise<void>) {
    const [first, ...others] = await scene.daemon.allActive();
    const away = first ?? expect.unreachable();
    await operate(scene, 'HsmStop', { id: away.id });
    await scene.daemon.hsm(away.id, 'STOPPED');
    await using client = await through(others[0]?.id ?? '');
    await scene.keep(client);
    await arm(away, others);
    await operate(scene, 'HsmStart', { id: away.id });
    await scene.daemon.hsm(away.id);
  }

  const risers = (['inventory', 'insert'] as const).flatMap((operation) =>
    MOMENTS.map((when) => ({ operation, when })),
  );
  test.each(risers)('when it is killed $when $operation', async ({ operation, when }) => {
    await comesBack(() => armHsm(scene, { hsm: 'next', operation, when }));
    await isWhole(scene);
    await haveStruck(scene);
  });

  test.each(MOMENTS)('when who gives them is killed %s extract', async (when) => {
    let giver: HsmStatus | undefined;
    await comesBack(async (_, others) => {
      giver = others[0] ?? expect.unreachable();
      await armHsm(scene, { hsm: giver.id, operation: 'extract', when });
    });
    await isBack(scene, giver ?? expect.unreachable());
    await isWhole(scene);
    await haveStruck(scene);
  });
});

describe('a create that was not acknowledged is nowhere', () => {
  const liveKeys = async (): Promise<number> => (await operate(scene, 'ClusterCheck')).live;

  async function fail(): Promise<unknown> {
    const [entry] = await scene.daemon.hsms();
    await using client = await through(entry?.id ?? '');
    const outcome = client.kms.createKey({}, { retries: false });
    return await outcome.then(
      () => expect.unreachable('the create was acknowledged'),
      () => undefined,
    );
  }

  test.each(['create.intended', 'create.made', 'create.spread'] as const)(
    'when the daemon is killed at %s',
    async (step) => {
      const before = await liveKeys();
      await killDaemonAt(scene, step, fail);
      await isWhole(scene);
      expect(await liveKeys()).toBe(before);
    },
  );

  /** Two of three HSMs do not take the key. */
  async function failTwo(): Promise<void> {
    const action = { do: 'error', ckr: 'CKR_DEVICE_MEMORY' } as const;
    for (const { id } of (await scene.daemon.allActive()).slice(1)) {
      await armHsm(scene, { hsm: id, operation: 'insert', when: 'before', action });
    }
  }

  test('when two of three HSMs do not take it', async () => {
    const before = await liveKeys();
    await failTwo();
    await fail();
    await isWhole(scene);
    expect(await liveKeys()).toBe(before);
    await haveStruck(scene);
  });

  test('when the daemon is killed while it is given up', async () => {
    const before = await liveKeys();
    await failTwo();
    await killDaemonAt(scene, 'bury.discarded', fail);
    await isWhole(scene);
    expect(await liveKeys()).toBe(before);
  });
});
