import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { callAdmin } from '../../src/cli/admin-client.js';
import { pause } from '../../src/core/deadline.js';
import { exists } from '../../src/daemon/installation.js';
import type { StatusDocument } from '../../src/protocol/admin.js';
import {
  DaemonFixture,
  eventually,
  signal,
  type FixtureOptions,
} from '../support/daemon-fixture.js';

const PLAINTEXT = Buffer.from('kept');
const fixtures: DaemonFixture[] = [];
afterEach(async () => {
  for (const fixture of fixtures.splice(0)) await fixture[Symbol.asyncDispose]();
});

function prepare(): DaemonFixture {
  const fixture = DaemonFixture.prepare();
  fixtures.push(fixture);
  return fixture;
}

async function start(options: FixtureOptions = {}): Promise<DaemonFixture> {
  const fixture = prepare();
  await fixture.up(options);
  return fixture;
}

/** A key on every HSM, what it sealed, and an alias of it. */
async function fill(daemon: DaemonFixture): Promise<Uint8Array> {
  await using client = await daemon.client();
  const { KeyId } = await client.kms.createKey();
  // two HSMs acknowledge a key; a third may have it a moment later. Beside it is the cluster's
  await eventually(
    async () => ((await daemon.hsms()).every(({ keys }) => keys === 2) ? true : undefined),
    'the key is on every HSM',
  );
  await client.kms.createAlias({ name: 'alias/kept', targetKeyId: KeyId });
  const request = { KeyId: 'alias/kept', Plaintext: PLAINTEXT };
  return (await client.kms.encrypt(request)).CiphertextBlob;
}

async function open(daemon: DaemonFixture, CiphertextBlob: Uint8Array): Promise<void> {
  await using client = await daemon.client();
  const { Plaintext } = await client.kms.decrypt({ CiphertextBlob });
  expect(Buffer.from(Plaintext)).toEqual(PLAINTEXT);
  await client.kms.encrypt({ KeyId: 'alias/kept', Plaintext: PLAINTEXT });
}

const idsOf = (status: StatusDocument): string[] => status.cluster.hsms.map(({ id }) => id);

/** The error that a start ends with. */
async function refusal(
  daemon: DaemonFixture,
  options: FixtureOptions = {},
): Promise<{ code: string; message: string }> {
  return await daemon.up(options).then(
    () => expect.unreachable('it started'),
    (error: unknown) => error as { code: string; message: string },
  );
}

describe('a lasting home', () => {
  test('keys, aliases, certificates and addresses survive a restart', async () => {
    const daemon = await start();
    const before = await daemon.status();
    const pems = daemon.pems();
    const sealed = await fill(daemon);
    expect(await daemon.down()).toBe(0);
    await daemon.noProcesses();
    expect(exists(daemon.home.runtime)).toBe(false);
    // what the command line asks of an existing cluster changes nothing
    const after = await daemon.up({ hsms: 5, region: 'eu-west-1' });
    expect(after.cluster.id).toBe(before.cluster.id);
    expect(idsOf(after)).toEqual(idsOf(before));
    expect(after.endpoints).toEqual(before.endpoints);
    expect(after.cluster.region).toBe(before.cluster.region);
    expect(daemon.pems()).toEqual(pems);
    await open(daemon, sealed);
  });

  test('has one daemon: a second one says what to do, and harms nothing', async () => {
    const daemon = await start({ hsms: 1 });
    const sealed = await fill(daemon);
    const second = await refusal(daemon);
    expect(second.code).toBe('StoreInUse');
    expect(second.message).toMatch(/^Another Keyspan daemon .*keyspan down.*--home/);
    const third = await refusal(daemon, { ephemeral: true });
    expect(third.code).toBe('KeyspanConfig');
    expect(third.message).toContain('lasting');
    await open(daemon, sealed);
  });

  test('outlives kill -9 of its daemon, also with an HSM that stands still', async () => {
    const daemon = await start();
    const sealed = await fill(daemon);
    for (const stopped of [false, true]) {
      const [first] = await daemon.allActive();
      const before = daemon.processes();
      expect(before).toHaveLength(3);
      if (stopped) signal(first?.pid, 'SIGSTOP');
      await daemon.kill();
      await daemon.up();
      await daemon.allActive();
      const gone = await eventually(async () => {
        const left = daemon.processes().filter((pid) => before.includes(pid));
        return left.length === 0 ? true : undefined;
      }, 'the processes of the killed daemon end');
      expect(gone).toBe(true);
      await open(daemon, sealed);
    }
  });

  test('a paused HSM is ended after kill -9 of the daemon, and stays stopped', async () => {
    const daemon = await start();
    const [paused] = await daemon.allActive();
    const id = paused?.id ?? '';
    await callAdmin(daemon.home, 'HsmPause', { id });
    await daemon.hsm(id, 'PAUSED');
    await daemon.kill();
    await daemon.up();
    await eventually(
      async () => (daemon.processes().includes(paused?.pid ?? 0) ? undefined : true),
      'the paused process ends',
    );
    expect((await daemon.hsms())[0]).toMatchObject({ id, state: 'STOPPED', pid: null });
    await callAdmin(daemon.home, 'HsmResume', { id });
    await daemon.hsm(id);
  });

  test('an HSM that its operator killed stays so over restarts, also the last', async () => {
    const daemon = await start();
    const sealed = await fill(daemon);
    const ids = idsOf(await daemon.status());
    const [first = ''] = ids;
    await callAdmin(daemon.home, 'HsmKill', { id: first });
    await daemon.hsm(first, 'KILLED');
    await daemon.down();
    const degraded = await daemon.up();
    expect(degraded.state).toBe('DEGRADED');
    expect(degraded.cluster.hsms.map(({ state }) => state)).toEqual(['KILLED', 'ACTIVE', 'ACTIVE']);
    await open(daemon, sealed);
    for (const id of ids.slice(1)) await callAdmin(daemon.home, 'HsmKill', { id });
    await daemon.down();
    const dark = await daemon.up();
    expect(dark.state).toBe('UNAVAILABLE');
    await daemon.noProcesses();
    await callAdmin(daemon.home, 'HsmStart', { id: first });
    await daemon.hsm(first);
    await eventually(async () => {
      const { endpoints } = await daemon.status();
      return endpoints.websocket.length > 0 ? true : undefined;
    }, 'the doors open');
    await open(daemon, sealed);
  });

  test('goes on with the HSMs whose tokens are left', async () => {
    const daemon = await start();
    const sealed = await fill(daemon);
    const [lost = ''] = idsOf(await daemon.status());
    await daemon.down();
    rmSync(join(daemon.home.hsms, lost, 'tokens'), { recursive: true });
    const status = await daemon.up();
    expect(status.state).toBe('DEGRADED');
    expect(status.cluster.hsms[0]?.state).toBe('FAILED');
    await open(daemon, sealed);
    expect(readdirSync(join(daemon.home.hsms, lost, 'tokens'))).toEqual([]);
  });

  test('does not start, and makes nothing, when every token is gone', async () => {
    const daemon = await start({ hsms: 2 });
    await fill(daemon);
    const ids = idsOf(await daemon.status());
    await daemon.down();
    for (const id of ids) rmSync(join(daemon.home.hsms, id), { recursive: true });
    const { code, message } = await refusal(daemon);
    expect(code).toBe('KeyspanRefused');
    expect(message).toContain('No HSM can serve');
    for (const id of ids) {
      expect(message).toContain(id);
      expect(readdirSync(join(daemon.home.hsms, id, 'tokens'))).toEqual([]);
    }
    await daemon.noProcesses();
  });
});

describe('a passphrase', () => {
  const env = { KEYSPAN_PASSPHRASE: 'correct horse' };

  test('is needed again, and the right one', async () => {
    const daemon = await start({ hsms: 1, env });
    const sealed = await fill(daemon);
    await daemon.down();
    const wrong = await refusal(daemon, { env: { KEYSPAN_PASSPHRASE: 'battery staple' } });
    expect(wrong.code).toBe('KeyspanConfig');
    expect(wrong.message).toMatch(/KEYSPAN_PASSPHRASE does not open/);
    const missing = await refusal(daemon);
    expect(missing.message).toMatch(/needs a passphrase: set KEYSPAN_PASSPHRASE/);
    await daemon.up({ env });
    await open(daemon, sealed);
    expect(daemon.log()).not.toContain(env.KEYSPAN_PASSPHRASE);
  });
});

describe('one HSM', () => {
  test('acknowledges keys by itself, and says so', async () => {
    const daemon = await start({ hsms: 1 });
    expect((await daemon.status()).cluster.keyAvailabilityCheck).toBe(false);
    const sealed = await fill(daemon);
    await open(daemon, sealed);
  });

  test('two HSMs do not', async () => {
    const daemon = await start({ hsms: 2 });
    expect((await daemon.status()).cluster.keyAvailabilityCheck).toBe(true);
    const [one] = await daemon.allActive();
    await callAdmin(daemon.home, 'HsmStop', { id: one?.id ?? '' });
    await daemon.hsm(one?.id ?? '', 'STOPPED');
    await using client = await daemon.client();
    await expect(client.kms.createKey({}, { retries: false })).rejects.toThrow(/enough HSMs/);
  });
});

describe('an ephemeral home', () => {
  test('leaves nothing behind', async () => {
    const daemon = await start({ ephemeral: true, hsms: 1 });
    const { root, runtime } = daemon.home;
    await fill(daemon);
    expect(await daemon.down()).toBe(0);
    expect(existsSync(root) ? readdirSync(root) : []).toEqual([]);
    expect(existsSync(runtime)).toBe(false);
    await daemon.noProcesses();
  });

  test('has one daemon too: whoever comes second does not clear it away', async () => {
    const daemon = await start({ ephemeral: true, hsms: 1 });
    const sealed = await fill(daemon);
    for (const options of [{ ephemeral: true }, {}]) {
      const { code, message } = await refusal(daemon, options);
      expect(code).toBe('StoreInUse');
      expect(message).toContain('keyspan down');
    }
    await open(daemon, sealed);
  });

  test('begins empty after kill -9, and ends what stood still there', async () => {
    const daemon = await start({ ephemeral: true, hsms: 1 });
    const before = await daemon.status();
    await fill(daemon);
    const [stopped] = daemon.processes();
    signal(stopped, 'SIGSTOP');
    await daemon.kill();
    const after = await daemon.up({ hsms: 1 });
    expect(after.ephemeral).toBe(false);
    expect(after.cluster.id).not.toBe(before.cluster.id);
    expect(daemon.processes()).not.toContain(stopped);
    await using client = await daemon.client();
    expect((await client.kms.listKeys()).Keys).toEqual([]);
  });
});

test('two homes run side by side', async () => {
  const [one, two] = await Promise.all([start({ hsms: 1 }), start({ hsms: 1 })]);
  const [sealedByOne] = await Promise.all([fill(one), fill(two)]);
  expect((await one.status()).endpoints).not.toEqual((await two.status()).endpoints);
  await using client = await two.client();
  await expect(client.kms.decrypt({ CiphertextBlob: sealedByOne })).rejects.toMatchObject({
    code: 'AccessDeniedException',
  });
});

test('HSMs on consecutive ports of one address', async () => {
  const daemon = await start({ hsms: 2, eniMode: 'ports', bind: '127.0.0.1' });
  const ports = (await daemon.status()).endpoints.websocket.map((url) => new URL(url).port);
  expect(Number(ports[1])).toBe(Number(ports[0]) + 1);
  await open(daemon, await fill(daemon));
});

test('a start that is called off ends in good order', async () => {
  const daemon = prepare();
  const starting = refusal(daemon, { ephemeral: true, hsms: 3 });
  await eventually(
    async () => (existsSync(daemon.home.adminSocket) ? true : undefined),
    'the daemon hears its operator',
  );
  await pause(20);
  await callAdmin(daemon.home, 'Shutdown');
  const outcome = await starting.catch(() => undefined);
  if (outcome) expect(outcome.code).toBe('KeyspanRefused');
  await daemon.down();
  await daemon.noProcesses();
});
