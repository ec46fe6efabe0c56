import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ListedUser } from '../../src/protocol/hsm-session.js';
import { FaultScene } from '../support/fault-scene.js';
import { armHsm, haveStruck, isBack, operate } from '../support/stepped-fault.js';

const PASSWORD = 'password-1';
const MOMENTS = ['before', 'after'] as const;
let scene: FaultScene;
let session = '';

beforeAll(async () => {
  scene = await FaultScene.start(3, { faults: true });
  const { admin } = await operate(scene, 'Credentials');
  ({ session } = await operate(scene, 'UserLogin', { ...admin, role: 'admin' }));
});
afterAll(async () => {
  await scene?.[Symbol.asyncDispose]();
});

const user = (username: string): { username: string; role: 'crypto-user' } => ({
  username,
  role: 'crypto-user',
});
const create = (username: string, password = PASSWORD): Promise<unknown> =>
  operate(scene, 'UserCreate', { session, ...user(username), password });
const remove = (username: string): Promise<unknown> =>
  operate(scene, 'UserDelete', { session, ...user(username) });
const change = (username: string, password: string): Promise<unknown> =>
  operate(scene, 'UserChangePassword', { session, ...user(username), password });

async function listed(username: string): Promise<ListedUser | undefined> {
  const { users } = await operate(scene, 'UserList');
  return users.find((one) => one.username === username);
}

/** Logs in on every HSM in turn: each has the password, or refuses it. */
async function isEverywhere(username: string, password: string): Promise<void> {
  for (const { id } of await scene.daemon.allActive()) {
    await operate(scene, 'HsmStop', { id });
    await scene.daemon.hsm(id, 'STOPPED');
    const login = await operate(scene, 'UserLogin', { ...user(username), password });
    await operate(scene, 'UserLogout', { session: login.session });
    await operate(scene, 'HsmStart', { id });
    await scene.daemon.allActive();
  }
}

/** One HSM dies in the middle of a command, which tells so unless it was done there already. */
async function dying(
  operation: 'user-create' | 'user-delete' | 'user-change-password',
  when: (typeof MOMENTS)[number],
  work: () => Promise<unknown>,
): Promise<void> {
  const [hsm] = await scene.daemon.allActive();
  if (!hsm) return expect.unreachable();
  await armHsm(scene, { hsm: hsm.id, operation, when });
  await expect(work()).rejects.toMatchObject({
    message: expect.stringMatching(/ failed on 1 of 3 connections$/),
  });
  await isBack(scene, hsm);
  await haveStruck(scene);
}

describe.each(MOMENTS)('an HSM that is killed %s its part', (when) => {
  const name = `alice_${when}`;

  test('of user create is made whole by the same command', async () => {
    await dying('user-create', when, () => create(name));
    const coverage = when === 'before' ? 'inconsistent' : 'full';
    expect(await listed(name)).toMatchObject({ 'cluster-coverage': coverage });
    if (when === 'before') await create(name);
    expect(await listed(name)).toMatchObject({ 'cluster-coverage': 'full' });
  });

  test('of user change-password is made whole by the same command', async () => {
    await dying('user-change-password', when, () => change(name, 'password-2'));
    await change(name, 'password-2');
    await isEverywhere(name, 'password-2');
  });

  test('of user delete is made whole by the same command', async () => {
    await dying('user-delete', when, () => remove(name));
    const left = await listed(name);
    if (when === 'after') return expect(left).toBeUndefined();
    expect(left).toMatchObject({ 'cluster-coverage': 'inconsistent' });
    await remove(name);
    expect(await listed(name)).toBeUndefined();
  });
});

test('an HSM that stands still during user create is made whole later', async () => {
  const [hsm] = await scene.daemon.allActive();
  if (!hsm) return expect.unreachable();
  await operate(scene, 'HsmPause', { id: hsm.id });
  await create('paul').catch((error: unknown) => {
    expect(error).toMatchObject({ message: expect.stringMatching(/1 of 3 connections$/) });
  });
  await operate(scene, 'HsmResume', { id: hsm.id });
  await scene.daemon.allActive();
  await create('paul').catch((error: unknown) =>
    expect(error).toMatchObject({ code: 'HsmAlreadyExists' }),
  );
  expect(await listed('paul')).toMatchObject({ 'cluster-coverage': 'full' });
});
