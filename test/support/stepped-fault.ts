import { readdirSync } from 'node:fs';
import { expect } from 'vitest';
import { callAdmin } from '../../src/cli/admin-client.js';
import type { StepName } from '../../src/cluster/fault-desk.js';
import type { FaultAction, FaultRule } from '../../src/core/fault-rules.js';
import { LIMITS } from '../../src/core/limits.js';
import type { AdminAction, AdminResults, HsmStatus } from '../../src/protocol/admin.js';
import type { HsmOperation } from '../../src/protocol/hsm-frames.js';
import { eventually } from './daemon-fixture.js';
import type { FaultScene } from './fault-scene.js';

/** Asks the daemon as its operator, with patience for joins on a slow machine. */
export const operate = <A extends AdminAction>(
  { daemon }: FaultScene,
  action: A,
  params: object = {},
): Promise<AdminResults[A]> => callAdmin(daemon.home, action, params, 2 * LIMITS.join_timeout_ms);

/** Lets the next such operation of an HSM, or of the next HSM process, end it. */
export async function armHsm(
  scene: FaultScene,
  fault: {
    hsm: string;
    operation: HsmOperation;
    when: FaultRule['when'];
    action?: FaultAction;
  },
): Promise<void> {
  const { hsm, operation, when, action = { do: 'crash' } } = fault;
  await operate(scene, 'FaultAdd', { hsm, rule: { operation, when, nth: 1, times: 1, action } });
}

/** Kills the daemon at a step of some work of its own, and starts it again. */
export async function killDaemonAt(
  scene: FaultScene,
  step: StepName,
  work: () => Promise<unknown>,
): Promise<void> {
  const { pid } = scene.daemon;
  const rule = { operation: step, when: 'after', nth: 1, times: 1, action: { do: 'crash' } };
  await operate(scene, 'FaultAdd', { hsm: 'daemon', rule });
  // whoever waits for an answer learns that there is none, or got an earlier one
  await work().catch(() => undefined);
  await eventually(async () => (isGone(pid) ? true : undefined), `the daemon ends at ${step}`);
  await scene.daemon.kill();
  await scene.daemon.up(scene.options);
}

/** Another process serves in the place of the one that was killed. */
export async function isBack(scene: FaultScene, { id, pid }: HsmStatus): Promise<void> {
  await eventually(async () => {
    const now = (await scene.daemon.hsms()).find((hsm) => hsm.id === id);
    return now?.state === 'ACTIVE' && now.pid !== pid ? true : undefined;
  }, `${id} is killed and serves again`);
}

/** No fault waits any more: each has struck. */
export async function haveStruck(scene: FaultScene): Promise<void> {
  expect((await operate(scene, 'FaultList')).faults).toEqual([]);
}

function isGone(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return false;
  } catch {
    return true;
  }
}

/**
 * Every HSM serves and holds the live keys and no other, without anybody's repair; no directory and
 * no process is left of what was.
 */
export async function isWhole(scene: FaultScene): Promise<void> {
  const hsms = await scene.daemon.allActive();
  const { live } = await eventually(async () => {
    const check = await operate(scene, 'ClusterCheck');
    const isSettled = check.clean && check.intents + check.buried === 0;
    return isSettled && check.hsms.every(({ answered }) => answered) ? check : undefined;
  }, 'a clean check of all HSMs');
  expect((await scene.daemon.hsms()).map(({ keys }) => keys)).toEqual(hsms.map(() => live));
  await scene.allIsWell();
  const ids = hsms.map(({ id }) => id).sort();
  expect(readdirSync(scene.daemon.home.hsms).sort()).toEqual(ids);
  await eventually(async () => {
    const running = new Set(scene.daemon.processes());
    const served = (await scene.daemon.hsms()).map(({ pid }) => pid ?? 0);
    return running.size === served.length && served.every((pid) => running.has(pid))
      ? true
      : undefined;
  }, 'the processes of the HSMs and no other');
}
