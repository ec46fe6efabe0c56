import { copyFileSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { callAdmin } from '../../src/cli/admin-client.js';
import { pause } from '../../src/core/deadline.js';
import { LIMITS } from '../../src/core/limits.js';
import { CKO } from '../../src/core/pkcs11.js';
import type { HsmStatus } from '../../src/protocol/admin.js';
import { eventually, signal, type DaemonFixture } from '../support/daemon-fixture.js';
import { FaultScene, PLAINTEXT } from '../support/fault-scene.js';
import { readOnly, smallDisk, type SmallDisk } from '../support/full-disk.js';
import {
  classOf,
  exchangeValue,
  flip,
  objectFiles,
  spoilPadding,
  tokenFolder,
  truncate,
} from '../support/object-files.js';

const KEYS = 18;

let scene: FaultScene;
let daemon: DaemonFixture;
/** object files of each HSM that are its own: users, facts, masking keys, identity */
const own = new Map<string, ReadonlySet<string>>();

const directoryOf = ({ id }: { id: string }): string => join(daemon.home.hsms, id);

/** The files of keys, and of nothing else. */
const keyFiles = (hsm: HsmStatus): string[] =>
  objectFiles(directoryOf(hsm)).filter(
    (path) => !own.get(hsm.id)?.has(path) && classOf(path) === CKO.SECRET_KEY,
  );

/** A third of the files is turned over somewhere, a third cut off somewhere, a third is gone. */
function damage(all: readonly string[]): void {
  const files = all.slice(0, KEYS);
  const each = Math.ceil(files.length / 3);
  expect(each).toBeGreaterThan(3);
  files.forEach((path, index) => {
    const part = (index % each) / each;
    if (index < each) flip(path, part);
    else if (index < 2 * each) truncate(path, part);
    else rmSync(path);
  });
}

beforeAll(async () => {
  scene = await FaultScene.start(0);
  ({ daemon } = scene);
  for (const hsm of await daemon.hsms()) own.set(hsm.id, new Set(objectFiles(directoryOf(hsm))));
  await using client = await daemon.client();
  for (let count = 0; count < KEYS; count += 1) await scene.keep(client);
});
afterAll(async () => {
  await scene?.[Symbol.asyncDispose]();
});

describe('files of keys on one HSM are damaged, cut off and deleted', () => {
  test('while it is stopped', async () => {
    const hsm = await scene.hsm(0);
    await scene.survive('files damaged while it is stopped', hsm, async () => {
      await scene.whileStopped(hsm, () => damage(keyFiles(hsm)));
      await daemon.hsm(hsm.id);
    });
    await scene.allIsWell();
  });

  test('while it is killed', async () => {
    const hsm = await scene.hsm(1);
    await scene.survive('files damaged while it is killed', hsm, async () => {
      await callAdmin(daemon.home, 'HsmKill', { id: hsm.id });
      await scene.noticed(hsm);
      damage(keyFiles(hsm));
      await callAdmin(daemon.home, 'HsmStart', { id: hsm.id });
      await daemon.hsm(hsm.id);
    });
    await scene.allIsWell();
  });

  test('while it runs, and then it is killed', async () => {
    const hsm = await scene.hsm(2);
    await scene.survive('files damaged while it runs', hsm, async () => {
      damage(keyFiles(hsm));
      await pause(500);
      signal((await scene.hsm(2)).pid, 'SIGKILL');
      await scene.noticed(hsm);
      await daemon.hsm(hsm.id);
    });
    await scene.allIsWell();
  });
});

/** The HSM serves, or says why it does not. */
const settled = async ({ id }: HsmStatus): Promise<HsmStatus> =>
  await eventually(async () => {
    const now = (await daemon.hsms()).find((hsm) => hsm.id === id);
    return now?.state === 'ACTIVE' || now?.reason !== undefined ? now : undefined;
  }, 'it serves or says why not');

/** Makes and uses a key through the ENI of each HSM that serves. */
async function works(): Promise<void> {
  for (const { id } of (await daemon.hsms()).filter(({ state }) => state === 'ACTIVE')) {
    await using client = await daemon.client({ endpoints: [await daemon.endpoint(id)] });
    await scene.keep(client);
    const { CiphertextBlob } = scene.kept.at(-1) ?? expect.unreachable();
    expect(PLAINTEXT.equals((await client.kms.decrypt({ CiphertextBlob })).Plaintext)).toBe(true);
  }
}

const DAMAGES = [
  { name: 'deleted', spoil: (path: string) => rmSync(path) },
  { name: 'cut off', spoil: (path: string) => truncate(path, 0.6) },
  { name: 'not to be decrypted', spoil: spoilPadding },
  { name: 'another value', spoil: exchangeValue },
];

test('an HSM with a damaged file of its own serves rightly or not at all', async () => {
  const hsm = await scene.hsm(0);
  const backup = mkdtempSync(join(tmpdir(), 'keyspan-token-backup-'));
  const files = [...(own.get(hsm.id) ?? [])].filter((path) => existsSync(path)).sort();
  files.push(join(dirname(files[0] ?? ''), 'token.object'));
  expect(files.length).toBeGreaterThan(8);
  let refusals = 0;
  for (const [index, path] of files.entries()) {
    const copy = join(backup, basename(path));
    const { spoil } = DAMAGES[index % DAMAGES.length] ?? expect.unreachable();
    await scene.whileStopped(hsm, () => {
      copyFileSync(path, copy);
      spoil(path);
    });
    const { state, reason } = await settled(hsm);
    if (state !== 'ACTIVE') {
      expect(reason).not.toBe('');
      refusals += 1;
    }
    await works();
    await scene.whileStopped(hsm, () => copyFileSync(copy, path));
    await daemon.hsm(hsm.id);
  }
  rmSync(backup, { recursive: true });
  // without its token, its masking keys or its users it must not serve
  expect(refusals).toBeGreaterThan(2);
  await scene.allIsWell();
});

test('an HSM whose token does not load is wiped, and a new one takes its place', async () => {
  const hsm = await scene.hsm(0);
  await scene.survive('a token that does not load, and hsm wipe', hsm, async () => {
    await scene.whileStopped(hsm, () =>
      truncate(join(tokenFolder(directoryOf(hsm)), 'token.object'), 0.5),
    );
    expect((await settled(hsm)).state).not.toBe('ACTIVE');
    await callAdmin(daemon.home, 'HsmWipe', { id: hsm.id }, LIMITS.join_timeout_ms);
  });
  const fresh = (await daemon.allActive()).find(({ eniIp }) => eniIp === hsm.eniIp);
  expect(fresh?.id).not.toBe(hsm.id);
  await scene.allIsWell();
});

test('the directory of one HSM becomes read-only', async () => {
  const hsm = await scene.hsm(1);
  await scene.survive('directory read-only', hsm, async () => {
    {
      using way = readOnly(directoryOf(hsm));
      process.stdout.write(`read-only by ${way.how}\n`);
      await pause(1_000);
      // it serves what it has, until it ends
      expect((await scene.hsm(1)).state).toBe('ACTIVE');
      signal((await scene.hsm(1)).pid, 'SIGKILL');
      await scene.noticed(hsm);
      await eventually(async () => (await scene.hsm(1)).reason, 'it says why it cannot start');
    }
    await callAdmin(daemon.home, 'HsmStart', { id: hsm.id });
    await daemon.hsm(hsm.id);
  });
  await scene.allIsWell();
});

test('the disk of one HSM is full', async () => {
  const hsm = await scene.hsm(2);
  const disks: SmallDisk[] = [];
  await scene.whileStopped(hsm, () => disks.push(smallDisk(directoryOf(hsm), 32 << 10)));
  const [disk = expect.unreachable()] = disks;
  process.stdout.write(`a full disk by ${disk.how}\n`);
  try {
    const { pid } = await daemon.hsm(hsm.id);
    await scene.survive('disk full', hsm, async () => {
      disk.fill(pid ?? 0);
      await pause(1_500);
      signal(pid, 'SIGKILL');
      await scene.noticed(hsm);
      await pause(500);
      disk.free(pid ?? 0);
      await callAdmin(daemon.home, 'HsmStart', { id: hsm.id });
      await daemon.hsm(hsm.id);
    });
    await scene.allIsWell();
  } finally {
    await scene.whileStopped(hsm, () => disk[Symbol.dispose]());
  }
  await daemon.hsm(hsm.id);
  await scene.allIsWell();
});
