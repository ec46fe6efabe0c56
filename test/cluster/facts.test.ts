import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { newClusterId, type ClusterId } from '../../src/core/ids.js';
import { ClusterFacts, listClusters } from '../../src/cluster/facts.js';
import { createCluster, USERS } from '../../src/cluster/lifecycle.js';
import type { Block } from '../../src/cluster/network.js';
import { Secrets } from '../../src/cluster/secrets.js';
import { KEYSPACE } from '../../src/store/keyspace.js';
import { MemoryStore } from '../../src/store/memory.js';
import { InstallationKey, Sealer } from '../../src/store/sealed.js';
import { expectCode, putOf } from '../support/store-calls.js';

const block: Block = { mode: 'addresses', prefix: '127.70.1' };
let store: MemoryStore;
let secrets: Secrets;
let id: ClusterId;
let facts: ClusterFacts;

beforeEach(async () => {
  store = new MemoryStore();
  secrets = new Secrets(store, new Sealer(new InstallationKey(randomBytes(32))));
  id = await create(3);
  facts = new ClusterFacts(store, id);
});
afterEach(() => store[Symbol.asyncDispose]());

const create = (hsms: number): Promise<ClusterId> =>
  createCluster(store, secrets, {
    account: '123456789012',
    region: 'eu-west-1',
    hsms,
    block,
    nowMs: 1_700_000_000_000.5,
  });

describe('a new cluster', () => {
  test('has HSMs over three zones, each with an ENI of its own, and no token yet', async () => {
    const hsms = await facts.hsms();
    expect(hsms.map(({ az }) => az)).toEqual(['eu-west-1a', 'eu-west-1b', 'eu-west-1c']);
    expect(hsms.map(({ eniIp }) => eniIp)).toEqual(['127.70.1.10', '127.70.1.11', '127.70.1.12']);
    expect(new Set(hsms.map(({ subnetId }) => subnetId)).size).toBe(3);
    for (const hsm of hsms) {
      expect(hsm).toMatchObject({ serial: null, joined: false, intent: 'run' });
    }
    const cluster = await facts.cluster();
    expect(cluster).toMatchObject({
      id,
      state: 'INITIALIZED',
      epoch: 1,
      founder: hsms[0]?.id,
      founded: false,
      availability: 2,
      clusterKey: null,
    });
    expect(cluster.subnets).toEqual(Object.fromEntries(hsms.map((h) => [h.az, h.subnetId])));
  });

  test('HSMs of one zone share its subnet; zones take turns', async () => {
    const five = await new ClusterFacts(store, await create(5)).hsms();
    expect(five.map(({ az }) => az.at(-1)).join('')).toBe('abcab');
    expect(five[0]?.subnetId).toBe(five[3]?.subnetId);
    expect(five[0]?.subnetId).not.toBe(five[1]?.subnetId);
  });

  test('as large as a cluster may be, it still is one commit', async () => {
    const before = (await store.range('')).revision;
    expect(await new ClusterFacts(store, await create(28)).hsms()).toHaveLength(28);
    expect((await store.range('')).revision).toBe(before + 1);
  });

  test('of one HSM asks for no second copy', async () => {
    const alone = new ClusterFacts(store, await create(1));
    expect((await alone.cluster()).availability).toBe(1);
  });

  test('is listed', async () => {
    const other = await create(1);
    expect((await listClusters(store)).sort()).toEqual([id, other].sort());
  });

  test('has passwords and PINs, each another', async () => {
    const passwords = await Promise.all(
      Object.values(USERS).map((user) => secrets.passwordOf(id, user)),
    );
    const pins = await Promise.all(
      (await facts.hsms()).map(async (hsm) => {
        const { soPin, userPin } = await secrets.pins(id, hsm.id);
        return [soPin.toString(), userPin.toString()];
      }),
    );
    const all = [...passwords, ...pins.flat()];
    expect(new Set(all).size).toBe(all.length);
    for (const secret of all) expect(secret).toMatch(/^[A-Za-z0-9]{24}$/);
  });
});

describe('changes', () => {
  test('of two writers at once both are kept', async () => {
    const other = new ClusterFacts(store, id);
    const [hsm] = await facts.hsms();
    const hsmId = hsm?.id ?? expect.unreachable();
    const [first, second] = await Promise.all([
      facts.changeHsm(hsmId, (record) => ({ ...record, intent: 'kill' })),
      other.changeHsm(hsmId, (record) => ({ ...record, joined: true })),
    ]);
    const [now] = await facts.hsms();
    expect(now).toMatchObject({ intent: 'kill', joined: true });
    expect([first, second]).toContainEqual(now);
  });

  test('of membership raise the epoch, and say when one HSM is left', async () => {
    const { availability, epoch } = await facts.cluster();
    const [first, second] = await facts.hsms();
    const left = await facts.changeMembership({ leave: first?.id ?? expect.unreachable() });
    expect(left).toMatchObject({ availability, epoch: epoch + 1 });
    expect(await facts.removed()).toEqual([first?.id]);
    const leave = second?.id ?? expect.unreachable();
    const alone = await facts.changeMembership({ leave, alone: true });
    expect(alone).toMatchObject({ availability: 1, epoch: epoch + 2 });
    expect(await facts.cluster()).toEqual(alone);
    await facts.forgetRemoved(leave);
    expect(await facts.removed()).toEqual([first?.id]);
  });

  test('many writers count every one', async () => {
    const raise = (): Promise<unknown> =>
      facts.changeCluster((record) => ({ ...record, epoch: record.epoch + 1 }));
    const outcomes = await Promise.allSettled(Array.from({ length: 6 }, raise));
    const won = outcomes.filter(({ status }) => status === 'fulfilled').length;
    expect((await facts.cluster()).epoch).toBe(1 + won);
    expect(won).toBeGreaterThan(1);
  });

  test('of what is not there fail', async () => {
    const nobody = new ClusterFacts(store, newClusterId());
    await expectCode(nobody.cluster(), 'StoreCorrupt');
    await expectCode(
      nobody.changeCluster((record) => record),
      'StoreCorrupt',
    );
  });

  test('a record of another form is not read', async () => {
    await store.commit({ compares: [], writes: [putOf(KEYSPACE.cluster(id), 'junk')] });
    await expectCode(facts.cluster(), 'StoreCorrupt');
  });
});
