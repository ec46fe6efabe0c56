import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Frame } from '../../src/cli/top-frame.js';
import { keyspan } from '../support/command.js';
import { DaemonFixture } from '../support/daemon-fixture.js';

let daemon: DaemonFixture;
beforeAll(async () => {
  daemon = await DaemonFixture.start({ ephemeral: true, hsms: 2 });
});
afterAll(async () => {
  await daemon?.[Symbol.asyncDispose]();
});

/** Runs a command while requests come. */
async function underLoad(args: readonly string[]): Promise<string> {
  const client = await daemon.client();
  const { KeyId } = await client.kms.createKey();
  const until = new AbortController();
  const load = (async () => {
    const Plaintext = Buffer.from('text');
    while (!until.signal.aborted) await client.kms.encrypt({ KeyId, Plaintext });
  })();
  const { code, stdout, stderr } = await keyspan(args, { home: daemon.home.root });
  until.abort();
  await load;
  expect([code, stderr]).toEqual([0, '']);
  return stdout.toString();
}

test('one frame for programs', async () => {
  const text = await underLoad(['top', '--once', '--json']);
  expect(text.trimEnd()).not.toContain('\n');
  const frame = JSON.parse(text) as Frame;
  const hsms = await daemon.hsms();
  expect(frame).toMatchObject({ state: 'READY', region: 'us-east-1' });
  expect(frame.intervalMs).toBeGreaterThan(900);
  expect(frame.hsms.map(({ id, az, keys }) => ({ id, az, keys }))).toEqual(
    hsms.map(({ id, az, keys }) => ({ id, az, keys })),
  );
  const encrypt = frame.actions.find(({ action }) => action === 'Encrypt');
  expect(encrypt?.perSecond).toBeGreaterThan(0);
  expect(encrypt?.failuresPerSecond).toBe(0);
  expect(encrypt?.p50Ms).toBeGreaterThan(0);
  expect(encrypt?.p99Ms).toBeGreaterThanOrEqual(encrypt?.p50Ms ?? Infinity);
  const asked = frame.hsms.reduce((sum, hsm) => sum + hsm.operationsPerSecond, 0);
  expect(asked).toBeGreaterThan(0);
});

test('without a terminal there is one frame, and nothing of a terminal in it', async () => {
  const text = await underLoad(['top']);
  expect(text).not.toContain('\u001b');
  expect(text).toMatch(/^cluster-\w+ in us-east-1 is READY$/m);
  for (const { id } of await daemon.hsms())
    expect(text).toMatch(new RegExp(`^${id} .* ACTIVE `, 'm'));
  expect(text).toMatch(/^Encrypt +\d+ +[\d.]+ +0 +[\d.]+ +[\d.]+$/m);
});
