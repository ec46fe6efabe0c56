import { readdirSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { newestFirst, type BackupRecord } from '../../src/cluster/backup-record.js';
import { eventually } from '../support/daemon-fixture.js';
import { PartsFixture, newCall } from '../support/parts-fixture.js';

const DAY_MS = 86_400_000;

let fixture: PartsFixture;
beforeAll(async () => {
  fixture = await PartsFixture.start(['--hsms', '2']);
});
afterAll(async () => {
  await fixture?.[Symbol.asyncDispose]();
});

/** The newest first. */
const all = (): BackupRecord[] => fixture.parts.backups.present().toSorted(newestFirst);

const count = (wanted: number): Promise<true> =>
  eventually(
    async () =>
      all().filter(({ readyMs }) => readyMs !== null).length === wanted ? true : undefined,
    `${wanted} backups`,
  );

async function newKey(): Promise<string> {
  const prepared = await fixture.own.vault.createKey('AES_256', newCall());
  await fixture.store.commit(prepared.part);
  prepared.committed();
  return prepared.id;
}

test('a cluster that is active and has none gets one', async () => {
  const { own } = fixture;
  fixture.parts.jobs.start();
  await count(1);
  const { account, region, retentionDays, hsmType, mode } = own.record;
  expect(all()).toMatchObject([
    {
      account,
      region,
      retentionDays,
      hsmType,
      mode,
      cluster: own.id,
      createdMs: fixture.clock.nowMs,
      source: null,
      policy: null,
    },
  ]);
});

test('it gets another when an HSM joined and when one left', async () => {
  const { own } = fixture;
  const { id } = await own.membership.add();
  await count(2);
  await own.membership.remove(id);
  await count(3);
});

test('it gets another when a day is over, and its keys are in it', async () => {
  const key = await newKey();
  fixture.clock.nowMs += DAY_MS;
  await count(4);
  const [newest] = all();
  expect(newest?.createdMs).toBe(fixture.clock.nowMs);
  const { keys } = await readOf(newest);
  expect([...keys.keys()]).toContain(key);
});

async function readOf(record: BackupRecord | undefined): Promise<{ keys: Map<string, unknown> }> {
  const { Backups } = await import('../../src/cluster/backups.js');
  const { home } = fixture.config;
  const { store, secrets, sealer } = fixture;
  const backups = await Backups.open({ home, store, secrets, sealer, civil: () => 0 });
  try {
    const { keys } = await backups.read(record?.id ?? expect.unreachable());
    return { keys: new Map(keys) };
  } finally {
    await backups[Symbol.asyncDispose]();
  }
}

test('the policy ends those that are old, with their files', async () => {
  const { own, clock, parts } = fixture;
  const [kept] = all();
  if (!kept) expect.unreachable();
  await parts.backups.keep(kept, true);
  await parts.control.retain(own, 7);
  clock.nowMs += 8 * DAY_MS;
  parts.jobs.wake();
  await count(2);
  const [newest] = all();
  expect(all().map(({ id }) => id)).toEqual([newest?.id, kept.id]);
  expect(newest?.createdMs).toBe(clock.nowMs);
  const files = readdirSync(fixture.config.home.backups).sort();
  expect(files).toEqual(
    all()
      .map(({ id }) => `${id}.backup`)
      .sort(),
  );
});

test('while no HSM serves none is taken; a day that passed meanwhile is made up for', async () => {
  const { own, clock } = fixture;
  // in no backup yet
  await newKey();
  for (const { id } of own.members) await own.want(id, 'stop');
  await eventually(
    async () => (own.members.some(({ channel }) => channel) ? undefined : true),
    'all are stopped',
  );
  clock.nowMs += DAY_MS;
  fixture.parts.jobs.want(own.id);
  await expect(fixture.parts.jobs.takeWhole(own)).rejects.toMatchObject({
    code: 'KeyspanRefused',
    message: 'No backup holds every key of the cluster.',
  });
  expect(all()).toHaveLength(2);
  for (const { id } of own.members) await own.want(id, 'run');
  await fixture.serving(own, 2);
  fixture.parts.jobs.wake();
  await count(3);
});

test('what is under way when the daemon ends leaves nothing half done', async () => {
  const before = all().length;
  fixture.parts.jobs.want(fixture.own.id);
  await fixture.close();
  await fixture.open();
  const files = readdirSync(fixture.config.home.backups);
  expect(files.sort()).toEqual(
    all()
      .map(({ id }) => `${id}.backup`)
      .sort(),
  );
  expect(all().length).toBeGreaterThanOrEqual(before);
  expect(all().every(({ readyMs }) => readyMs !== null)).toBe(true);
});
