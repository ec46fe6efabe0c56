import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { newHsmKeyId } from '../../src/core/ids.js';
import type { AdminAction, AdminResults, HsmStatus } from '../../src/protocol/admin.js';
import { eventually } from '../support/daemon-fixture.js';
import { FaultScene } from '../support/fault-scene.js';
import { FrameClient } from '../support/hsm-host.js';
import { isWhole, operate } from '../support/stepped-fault.js';
import { expectCode } from '../support/store-calls.js';

let scene: FaultScene;
beforeAll(async () => {
  scene = await FaultScene.start(5, { faults: true });
});
afterAll(async () => {
  await scene?.[Symbol.asyncDispose]();
});

const ask = <A extends AdminAction>(action: A, params: object = {}): Promise<AdminResults[A]> =>
  operate(scene, action, params);
const idsOf = (hsms: readonly HsmStatus[]): string[] => hsms.map(({ id }) => id).sort();
const directory = (id: string): string => join(scene.daemon.home.hsms, id);
const last = async (): Promise<HsmStatus> =>
  (await scene.daemon.hsms()).at(-1) ?? expect.unreachable();

async function frames(id: string): Promise<FrameClient> {
  return (await FrameClient.connect(join(scene.daemon.home.runtime, `${id}.sock`))).greet();
}

/** The newest epoch on each token. */
async function epochs(): Promise<number[]> {
  const hsms = await scene.daemon.hsms();
  return await Promise.all(
    hsms.map(async ({ id }) => {
      const client = await frames(id);
      const { epoch } = await client.ask<'info'>('info', {});
      client.end();
      return epoch;
    }),
  );
}

async function keepOne(): Promise<void> {
  await using client = await scene.daemon.client();
  await scene.keep(client);
}

describe('an HSM joins', () => {
  test('where there are fewest, with every key', async () => {
    const before = await scene.daemon.hsms();
    expect(new Set(before.map(({ az }) => az.at(-1)))).toEqual(new Set(['a', 'b', 'c']));
    const added = await ask('HsmAdd');
    expect(added).toMatchObject({ state: 'ACTIVE', az: before[0]?.az });
    expect(idsOf(before)).not.toContain(added.id);
    expect(before.map(({ eniIp }) => eniIp)).not.toContain(added.eniIp);
    await isWhole(scene);
  });

  test('where the operator says', async () => {
    const region = (await scene.daemon.status()).cluster.region;
    expect(await ask('HsmAdd', { az: `${region}f` })).toMatchObject({ az: `${region}f` });
    for (const az of ['mars', `${region}z`, region, 'eu-west-1a']) {
      await expect(ask('HsmAdd', { az })).rejects.toMatchObject({ code: 'KeyspanUsage' });
    }
    await isWhole(scene);
  });

  test('and the epoch reaches every token, which refuses an older one', async () => {
    await keepOne();
    const [now = 0, ...others] = await epochs();
    await eventually(async () => (new Set(await epochs()).size === 1 ? true : undefined), 'one');
    expect(others.every((epoch) => epoch <= now)).toBe(true);
    const added = await ask('HsmAdd');
    await keepOne();
    await eventually(
      async () => ((await epochs()).every((epoch) => epoch === now + 1) ? true : undefined),
      `epoch ${now + 1} on every token`,
    );
    const { username = '', password = '' } = (await ask('Credentials')).cryptoUser ?? {};
    const client = await frames(added.id);
    const session = await client.login(username, password);
    const destroy = (epoch: number): Promise<unknown> =>
      client.ask('destroy', { keyId: newHsmKeyId() }, { session, epoch });
    await expectCode(destroy(now), 'HsmEpochStale');
    await expectCode(destroy(now + 1), 'HsmKeyNotFound');
    client.end();
  });
});

describe('an HSM leaves', () => {
  test('not while the others may lack a key', async () => {
    const [first, away, ...others] = await scene.daemon.hsms();
    const id = first?.id ?? '';
    // three are left: one that stays away, and two more that the new key will be on
    for (const { id: gone } of others.slice(1)) await ask('HsmRemove', { id: gone });
    await ask('HsmKill', { id: away?.id });
    await keepOne();
    await expect(ask('HsmRemove', { id })).rejects.toMatchObject({ code: 'KeyspanRefused' });
    await expect(ask('HsmReplace', { id })).rejects.toMatchObject({ code: 'KeyspanRefused' });
    // it is a member as before: alone with one more it is enough for a new key
    await keepOne();
    await ask('HsmStart', { id: away?.id });
    await isWhole(scene);
  });

  test('and so does one that serves no more', async () => {
    const added = await ask('HsmAdd');
    await ask('HsmPause', { id: added.id });
    await ask('HsmRemove', { id: added.id });
    await isWhole(scene);
  });

  test('down to one, where the key-availability rule is off, and no further', async () => {
    const isChecked = async (): Promise<boolean> =>
      (await scene.daemon.status()).cluster.keyAvailabilityCheck;
    const [stays, ...others] = await scene.daemon.hsms();
    expect(await isChecked()).toBe(true);
    for (const { id } of others) await ask('HsmRemove', { id });
    expect(await isChecked()).toBe(false);
    await keepOne();
    for (const action of ['HsmRemove', 'HsmReplace', 'HsmWipe'] as const) {
      const refused = ask(action, { id: stays?.id });
      await expect(refused).rejects.toMatchObject({ code: 'KeyspanRefused' });
    }
    await isWhole(scene);
    await ask('HsmAdd');
    expect(await isChecked()).toBe(true);
    const { az } = await ask('HsmAdd');
    expect(az.at(-1)).toBe('c');
    await isWhole(scene);
  });

  test('one that is not there does not', async () => {
    for (const action of ['HsmRemove', 'HsmReplace', 'HsmWipe'] as const) {
      const refused = ask(action, { id: 'hsm-aaaaaaaaaaa' });
      await expect(refused).rejects.toMatchObject({ code: 'KeyspanUsage' });
    }
  });
});

test('members stay members when the daemon is started again', async () => {
  const { id } = await ask('HsmAdd');
  const [leaver] = await scene.daemon.hsms();
  await ask('HsmRemove', { id: leaver?.id });
  const before = await scene.daemon.hsms();
  await scene.daemon.down();
  await scene.daemon.up({ faults: true });
  const after = await scene.daemon.allActive();
  expect(idsOf(after)).toEqual(idsOf(before));
  expect(idsOf(after)).toContain(id);
  const places = (hsms: readonly HsmStatus[]): string[] =>
    hsms.map((hsm) => `${hsm.id} ${hsm.az} ${hsm.eniIp}`).sort();
  expect(places(after)).toEqual(places(before));
  await isWhole(scene);
});

// these come last: loads leave many keys, and each costs a later join its time
test('an HSM leaves under load, with its directory and its process', async () => {
  const leaver = await last();
  await scene.survive('hsm remove', leaver, async () => {
    expect(await ask('HsmRemove', { id: leaver.id })).toEqual({ id: leaver.id });
  });
  expect(idsOf(await scene.daemon.hsms())).not.toContain(leaver.id);
  expect(existsSync(directory(leaver.id))).toBe(false);
  await isWhole(scene);
});

describe('another HSM on the same ENI', () => {
  // two must be left for a new key
  beforeAll(() => ask('HsmAdd'));

  /** The client of that ENI alone comes back, and the new HSM serves it. */
  async function takesOver(change: (old: HsmStatus) => Promise<HsmStatus>): Promise<void> {
    const old = await scene.hsm(1);
    const endpoint = await scene.daemon.endpoint(old.id);
    await using onlyThere = await scene.daemon.client({ endpoints: [endpoint] });
    const { KeyId } = scene.kept[0] ?? expect.unreachable();
    expect(await onlyThere.call('DescribeKey', { KeyId })).toBeDefined();
    const fresh = await change(old);
    expect(fresh).toMatchObject({ state: 'ACTIVE', az: old.az, eniIp: old.eniIp });
    expect(fresh.id).not.toBe(old.id);
    expect(await scene.daemon.endpoint(fresh.id)).toBe(endpoint);
    const Plaintext = Buffer.from('again');
    const answer = await eventually(
      async () => await onlyThere.call('Encrypt', { KeyId, Plaintext }).catch(() => undefined),
      'the client of that ENI is served again',
    );
    expect(answer.hsm).toBe(fresh.id);
    expect(existsSync(directory(old.id))).toBe(false);
    await isWhole(scene);
  }

  test('when one is replaced', async () => {
    await takesOver(({ id }) => ask('HsmReplace', { id }));
  });

  test('when one is wiped under load', async () => {
    await takesOver(async (old) => {
      let fresh: HsmStatus | undefined;
      await scene.survive('hsm wipe', old, async () => {
        fresh = await ask('HsmWipe', { id: old.id });
      });
      return fresh ?? expect.unreachable();
    });
  });
});
