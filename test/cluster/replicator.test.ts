import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Call } from '../../src/core/call.js';
import { deadlineIn } from '../../src/core/deadline.js';
import type { Member } from '../../src/cluster/member.js';
import { ClusterFixture } from '../support/cluster-fixture.js';
import { eventually, signal } from '../support/daemon-fixture.js';

let fixture: ClusterFixture;
beforeAll(async () => {
  fixture = await ClusterFixture.start(3);
});
afterAll(() => fixture?.[Symbol.asyncDispose]());

const call = (): Call => ({ requestId: 'a-create', deadline: deadlineIn(30_000) });
const others = (): readonly Member[] => fixture.cluster.members.slice(1);

const allServe = (): Promise<boolean> =>
  eventually(
    async () => fixture.cluster.members.every(({ channel }) => channel) || undefined,
    'all HSMs serve',
  );

async function create(): Promise<void> {
  const prepared = await fixture.cluster.vault.createKey('AES_256', call());
  await fixture.store.commit(prepared.part);
  prepared.committed();
}

test('a create that begins before it is known that two of three were killed succeeds', async () => {
  for (const { supervisor } of others()) signal(supervisor.pid, 'SIGKILL');
  await create();
  await allServe();
  const check = await fixture.cluster.check(true);
  expect(check).toMatchObject({ live: 1, clean: true, intents: 0, buried: 0 });
});

test('and so does one that begins when that is known', async () => {
  for (const { supervisor } of others()) signal(supervisor.pid, 'SIGKILL');
  await eventually(
    async () => others().every(({ channel }) => !channel) || undefined,
    'they are seen to be gone',
  );
  await create();
  await allServe();
  expect(await fixture.cluster.check(true)).toMatchObject({ live: 2, clean: true, intents: 0 });
});

test('a create does not wait for HSMs that are not to serve', async () => {
  for (const { id } of others()) await fixture.cluster.want(id, 'kill');
  await expect(create()).rejects.toMatchObject({ code: 'VaultNotDurable' });
  for (const { id } of others()) await fixture.cluster.want(id, 'run');
  await allServe();
  expect(await fixture.cluster.check(true)).toMatchObject({ live: 2, clean: true, intents: 0 });
});
