import { afterAll, beforeAll, expect, test } from 'vitest';
import type { HsmStatus } from '../../src/protocol/admin.js';
import { FaultScene } from '../support/fault-scene.js';
import { isWhole, killDaemonAt, operate } from '../support/stepped-fault.js';

let scene: FaultScene;
beforeAll(async () => {
  scene = await FaultScene.start(5, { faults: true });
});
afterAll(async () => {
  await scene?.[Symbol.asyncDispose]();
});

const idsOf = (hsms: readonly HsmStatus[]): string[] => hsms.map(({ id }) => id);

test.each([
  'member.committed',
  'member.adopted',
  'rise.entered',
  'catch-up.examined',
  'catch-up.copied',
] as const)('a daemon killed at %s of a join has the new HSM', async (step) => {
  const before = idsOf(await scene.daemon.hsms());
  await killDaemonAt(scene, step, () => operate(scene, 'HsmAdd'));
  await isWhole(scene);
  const joined = idsOf(await scene.daemon.hsms()).filter((id) => !before.includes(id));
  expect(joined).toHaveLength(1);
  await operate(scene, 'HsmRemove', { id: joined[0] });
});

test.each([
  ['leave.proved', 'still'],
  ['member.committed', 'no more'],
  ['member.adopted', 'no more'],
  ['member.erased', 'no more'],
] as const)('a daemon killed at %s of a leave has that HSM %s', async (step, has) => {
  const { id } = await operate(scene, 'HsmAdd');
  await killDaemonAt(scene, step, () => operate(scene, 'HsmRemove', { id }));
  await isWhole(scene);
  const isMember = idsOf(await scene.daemon.hsms()).includes(id);
  expect(isMember).toBe(has === 'still');
  if (isMember) await operate(scene, 'HsmRemove', { id });
});

test.each([
  ['HsmReplace', 'member.adopted'],
  ['HsmWipe', 'member.committed'],
] as const)('a daemon killed in %s at %s has the new HSM alone', async (action, step) => {
  const before = await scene.daemon.hsms();
  const old = before.at(-1) ?? expect.unreachable();
  await killDaemonAt(scene, step, () => operate(scene, action, { id: old.id }));
  await isWhole(scene);
  const after = await scene.daemon.hsms();
  expect(after).toHaveLength(before.length);
  expect(idsOf(after)).not.toContain(old.id);
  expect(after.map(({ eniIp }) => eniIp)).toContain(old.eniIp);
});
