import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { callAdmin } from '../../src/cli/admin-client.js';
import type { BackupStatus } from '../../src/protocol/admin.js';
import { keyspan } from '../support/command.js';
import { DaemonFixture, eventually } from '../support/daemon-fixture.js';

const DAY_MS = 86_400_000;

let daemon: DaemonFixture;
beforeAll(async () => {
  daemon = await DaemonFixture.start({ hsms: 1, port: 0 });
});
afterAll(() => daemon?.[Symbol.asyncDispose]());

/** What the command line prints. */
async function clock(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await keyspan(['clock', ...args], { home: daemon.home.root });
  expect([code, stderr]).toEqual([0, '']);
  return stdout.toString();
}

const backups = async (): Promise<readonly BackupStatus[]> =>
  (await callAdmin(daemon.home, 'BackupList')).backups;

test('what goes by civil time follows a move of it, and the store remembers it', async () => {
  await using client = await daemon.client();
  const { KeyId } = await client.kms.createKey();
  await client.call('EnableKeyRotation', { KeyId, RotationPeriodInDays: 90 });
  const first = await eventually(async () => (await backups())[0]?.id, 'the first backup');
  expect(await clock('show')).toMatch(/, as the machine's clock\n$/);
  expect(await clock('advance', '13w')).toMatch(/, 91d ahead of the machine's clock \(/);
  await eventually(async () => {
    const { result } = await client.call('ListKeyRotations', { KeyId });
    return (result['Rotations'] as unknown[]).length === 1 ? true : undefined;
  }, 'the key is rotated');
  // a day's backup is due, and the first one was kept for ninety days
  await eventually(async () => {
    const ids = (await backups()).map(({ id }) => id);
    return ids.length > 0 && !ids.includes(first) ? true : undefined;
  }, 'a new backup in the place of the first');
  const [newest] = await backups();
  const aheadMs = Date.parse(newest?.created ?? '') - Date.now();
  expect(Math.round(aheadMs / DAY_MS)).toBe(91);
  await client.close();
  await daemon.down();
  await daemon.up({ hsms: 1, port: 0 });
  expect((await callAdmin(daemon.home, 'ClockShow')).offsetMs).toBe(91 * DAY_MS);
});

test('it goes back only with force, which the audit log knows too', async () => {
  const back = await keyspan(['clock', 'reset'], { home: daemon.home.root });
  expect(back).toMatchObject({ code: 254, stderr: expect.stringContaining('KeyspanRefused') });
  expect(await clock('advance', '--force', '--', '-1w')).toContain(', 84d ahead');
  expect(await clock('reset', '--force')).toMatch(/, as the machine's clock\n$/);
  await expect
    .poll(() => readFileSync(join(daemon.home.audit, 'audit.jsonl'), 'utf8'))
    .toMatch(/"action":"clock advance","target":"7862400000 ms"[^]*"action":"clock reset"/);
});
