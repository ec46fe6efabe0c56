import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { StepName } from '../../src/cluster/fault-desk.js';
import type { HsmKeyId } from '../../src/core/ids.js';
import type { HsmStatus } from '../../src/protocol/admin.js';
import { FaultScene } from '../support/fault-scene.js';
import { RecordDoor, SHAREE, WITH_RECORD_DOOR } from '../support/record-door.js';
import {
  armHsm,
  haveStruck,
  isBack,
  isWhole,
  killDaemonAt,
  operate,
} from '../support/stepped-fault.js';

let scene: FaultScene;
let door: RecordDoor;
beforeAll(async () => {
  scene = await FaultScene.start(2, WITH_RECORD_DOOR);
  door = new RecordDoor(scene.daemon);
});
afterAll(async () => {
  await scene?.[Symbol.asyncDispose]();
});

const MOMENTS = ['before', 'after'] as const;
const everywhere = (what: boolean): boolean[] => [what, what, what];

/** A key that is shared, on every HSM. */
async function sharedKey(): Promise<HsmKeyId> {
  const key = await door.create();
  await door.change(key, { share: [SHAREE] });
  await isWhole(scene);
  expect(await door.allows(key)).toEqual(everywhere(true));
  return key;
}

const unshare = (key: HsmKeyId, entry?: string): Promise<void> =>
  door.change(key, { unshare: [SHAREE] }, entry);

/** The key is shared on every HSM or on none, and nothing is left to be repaired. */
async function isShared(key: HsmKeyId): Promise<boolean> {
  await isWhole(scene);
  const [first = false, ...others] = await door.allows(key);
  expect(others).toEqual([first, first]);
  expect(await door.works(key)).toEqual(everywhere(true));
  return first;
}

/** An HSM is away while something happens, and a fault waits for its return. */
async function whileAway(
  work: () => Promise<void>,
  arm: (away: HsmStatus) => Promise<void> = async () => undefined,
): Promise<HsmStatus> {
  const away = (await scene.daemon.allActive())[1] ?? expect.unreachable();
  await operate(scene, 'HsmStop', { id: away.id });
  await scene.daemon.hsm(away.id, 'STOPPED');
  await work();
  await arm(away);
  return away;
}

/** A repair of another HSM may come to the step first: who got no answer asks once more. */
async function killOnReturn(step: StepName, id: string): Promise<void> {
  await killDaemonAt(scene, step, () => operate(scene, 'HsmStart', { id }));
  await operate(scene, 'HsmStart', { id });
}

describe('a change of a record that was acknowledged stands on every HSM', () => {
  const cases = [0, 1, 2].flatMap((at) => MOMENTS.map((when) => ({ at, when })));

  test.each(cases)('when HSM $at is killed $when it takes it up', async ({ at, when }) => {
    const key = await sharedKey();
    const hsm = (await scene.daemon.allActive())[at] ?? expect.unreachable();
    await armHsm(scene, { hsm: hsm.id, operation: 'record-apply', when });
    await unshare(key);
    // acknowledged: from now on nobody serves by the old record, who comes back least of all
    expect(await door.allows(key)).not.toContain(true);
    await isBack(scene, hsm);
    expect(await isShared(key)).toBe(false);
    await haveStruck(scene);
  });

  test.each(MOMENTS)('when the HSM that decides it is killed %s that', async (when) => {
    const key = await sharedKey();
    const hsm = (await scene.daemon.allActive())[2] ?? expect.unreachable();
    await armHsm(scene, { hsm: hsm.id, operation: 'record-prepare', when });
    await unshare(key, hsm.id);
    expect(await door.allows(key)).not.toContain(true);
    await isBack(scene, hsm);
    expect(await isShared(key)).toBe(false);
    await haveStruck(scene);
  });

  test.each(MOMENTS)('when one that was away is killed %s it is told', async (when) => {
    const key = await sharedKey();
    const arm = (): Promise<void> =>
      armHsm(scene, { hsm: 'next', operation: 'record-apply', when });
    const { id } = await whileAway(() => unshare(key), arm);
    await operate(scene, 'HsmStart', { id });
    await scene.daemon.hsm(id);
    expect(await isShared(key)).toBe(false);
    await haveStruck(scene);
  });

  test.each(['rise.entered', 'catch-up.examined', 'catch-up.copied'] as const)(
    'when one was away and the daemon is killed at %s of its return',
    async (step) => {
      const key = await sharedKey();
      const { id } = await whileAway(() => unshare(key));
      await killOnReturn(step, id);
      expect(await isShared(key)).toBe(false);
    },
  );
});

test.each([
  ['change.prepared', 'not made'],
  ['change.committed', 'made'],
  ['change.spread', 'made'],
] as const)(
  'a change of a record is whole when the daemon is killed at %s: %s',
  async (step, is) => {
    const key = await sharedKey();
    await killDaemonAt(scene, step, () => unshare(key));
    expect(await isShared(key)).toBe(is === 'not made');
    await unshare(key);
    expect(await isShared(key)).toBe(false);
  },
);

describe('a key that is destroyed is on no HSM', () => {
  const liveKeys = async (): Promise<number> => (await operate(scene, 'ClusterCheck')).live;

  async function isGone(key: HsmKeyId, before: number): Promise<void> {
    await isWhole(scene);
    expect(await liveKeys()).toBe(before - 1);
    expect(await door.works(key)).toEqual(everywhere(false));
    await haveStruck(scene);
  }

  const cases = [0, 1, 2].flatMap((at) => MOMENTS.map((when) => ({ at, when })));

  // it was changed before: its record is an object of its own, which must go with it
  test.each(cases)('when HSM $at is killed $when it destroys its copy', async ({ at, when }) => {
    const key = await sharedKey();
    const before = await liveKeys();
    const hsm = (await scene.daemon.allActive())[at] ?? expect.unreachable();
    await armHsm(scene, { hsm: hsm.id, operation: 'discard', when });
    await door.destroy(key);
    await isBack(scene, hsm);
    await isGone(key, before);
  });

  test('when the daemon is killed while it is destroyed', async () => {
    const key = await sharedKey();
    const before = await liveKeys();
    await killDaemonAt(scene, 'bury.discarded', () => door.destroy(key));
    await isGone(key, before);
  });

  test.each(MOMENTS)('when one that was away is killed %s it is told', async (when) => {
    const key = await sharedKey();
    const before = await liveKeys();
    const arm = (): Promise<void> => armHsm(scene, { hsm: 'next', operation: 'discard', when });
    const { id } = await whileAway(() => door.destroy(key), arm);
    await operate(scene, 'HsmStart', { id });
    await scene.daemon.hsm(id);
    await isGone(key, before);
  });

  test.each(['catch-up.examined', 'catch-up.copied'] as const)(
    'when one was away and the daemon is killed at %s of its return',
    async (step) => {
      const key = await sharedKey();
      const before = await liveKeys();
      const { id } = await whileAway(() => door.destroy(key));
      await killOnReturn(step, id);
      await isGone(key, before);
    },
  );
});
