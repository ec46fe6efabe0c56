import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { StepName } from '../../src/cluster/fault-desk.js';
import { pause } from '../../src/core/deadline.js';
import { keyspan } from '../support/command.js';
import { eventually } from '../support/daemon-fixture.js';
import { FaultScene, PLAINTEXT, type Kept } from '../support/fault-scene.js';
import { haveStruck, isWhole, killDaemonAt, operate } from '../support/stepped-fault.js';
import { listTokens } from '../support/token-listing.js';

let scene: FaultScene;
beforeAll(async () => {
  scene = await FaultScene.start(2, { faults: true });
});
afterAll(async () => {
  await scene?.[Symbol.asyncDispose]();
});

const UNKNOWN = {
  code: 'AccessDeniedException',
  message:
    'The ciphertext refers to a customer master key that does not exist, does not exist in ' +
    'this region, or you are not allowed to access.',
};

/** A key with more materials and aliases than one commit removes, and what its first one sealed. */
async function largeKey(): Promise<Kept & { readonly Arn: string }> {
  await using client = await scene.daemon.client();
  const { KeyId, Arn } = await client.kms.createKey();
  const { CiphertextBlob } = await client.kms.encrypt({ KeyId, Plaintext: PLAINTEXT });
  for (let n = 0; n < 25; n += 1) await client.call('RotateKeyOnDemand', { KeyId });
  for (let n = 0; n < 20; n += 1) {
    await client.kms.createAlias({ name: `alias/${KeyId}-${n}`, targetKeyId: KeyId });
  }
  return { KeyId, Arn, CiphertextBlob };
}

async function schedule(KeyId: string, PendingWindowInDays: number): Promise<void> {
  await using client = await scene.daemon.client();
  await client.call('ScheduleKeyDeletion', { KeyId, PendingWindowInDays });
}

async function advance(by: string): Promise<void> {
  const outcome = await keyspan(['clock', 'advance', by], { home: scene.daemon.home.root });
  expect(outcome).toMatchObject({ code: 0, stderr: '' });
}

/** The key is not there for anybody, nor is any alias of it; the others work. */
async function isDead({ KeyId, Arn, CiphertextBlob }: Kept & { Arn: string }): Promise<void> {
  await using client = await scene.daemon.client();
  const gone = { code: 'NotFoundException', message: `Key '${Arn}' does not exist` };
  await expect(client.kms.decrypt({ CiphertextBlob })).rejects.toMatchObject(UNKNOWN);
  await expect(client.call('Decrypt', { CiphertextBlob, KeyId })).rejects.toMatchObject(gone);
  await expect(client.call('CancelKeyDeletion', { KeyId })).rejects.toMatchObject(gone);
  await eventually(async () => {
    const { result } = await client.call('ListAliases', {});
    const aliases = result['Aliases'] as { TargetKeyId?: string }[];
    return aliases.some(({ TargetKeyId }) => TargetKeyId === KeyId) ? undefined : true;
  }, 'its aliases are gone');
}

describe("a key's day comes", () => {
  test('while an HSM is away, and its copies go from every token', async () => {
    const { daemon } = scene;
    const { cluster } = await daemon.status();
    const ids = cluster.hsms.map(({ id }) => id);
    const away = ids[1] ?? expect.unreachable();
    const listed = async (): Promise<string[][]> => {
      await daemon.down();
      return Object.values(await listTokens(daemon.home, cluster.id, ids));
    };
    const others = (await listed())[0] ?? expect.unreachable();
    expect(others).toHaveLength(scene.kept.length);
    await daemon.up(scene.options);
    await daemon.allActive();
    const key = await largeKey();
    await isWhole(scene);
    await schedule(key.KeyId, 30);
    await operate(scene, 'HsmKill', { id: away });
    await advance('31d');
    await isDead(key);
    await eventually(async () => {
      const held = (await daemon.hsms()).filter(({ id }) => id !== away);
      return held.every(({ keys }) => keys === others.length + 1) ? true : undefined;
    }, 'the HSMs that are there destroyed it');
    // what is away has all of it still
    const [first, second, third] = await listed();
    expect([first, third]).toEqual([others, others]);
    expect(second).toHaveLength(others.length + 26);
    await daemon.up(scene.options);
    await operate(scene, 'HsmStart', { id: away });
    await isWhole(scene);
    await isDead(key);
    expect(await listed()).toEqual([others, others, others]);
    await daemon.up(scene.options);
    await isWhole(scene);
  });
});

describe('a key is removed whole when the daemon is killed', () => {
  const steps: StepName[] = ['removal.begun', 'removal.portion', 'removal.done'];
  test.each(steps)('at %s', async (step) => {
    const key = await largeKey();
    await schedule(key.KeyId, 7);
    await killDaemonAt(scene, step, () => advance('8d'));
    await isDead(key);
    await isWhole(scene);
    await haveStruck(scene);
  });
});

test('a store that is an older copy removes no key before its adoption', async () => {
  const { daemon } = scene;
  const key = await largeKey();
  await schedule(key.KeyId, 7);
  const aliasesLeft = async (): Promise<number> => {
    await using client = await daemon.client();
    const { result } = await client.call('ListAliases', {});
    const aliases = result['Aliases'] as { TargetKeyId?: string }[];
    return aliases.filter(({ TargetKeyId }) => TargetKeyId === key.KeyId).length;
  };
  await daemon.down();
  const copy = mkdtempSync(join(tmpdir(), 'keyspan-copy-'));
  cpSync(daemon.home.store, copy, { recursive: true, preserveTimestamps: true });
  await daemon.up(scene.options);
  await daemon.allActive();
  // what the copy does not know: the deletion was cancelled
  await using client = await daemon.client();
  await client.call('CancelKeyDeletion', { KeyId: key.KeyId });
  await scene.keep(client);
  await client.close();
  await isWhole(scene);
  await daemon.down();
  rmSync(daemon.home.store, { recursive: true });
  cpSync(copy, daemon.home.store, { recursive: true, preserveTimestamps: true });
  rmSync(copy, { recursive: true });
  await daemon.up(scene.options);
  await daemon.allActive();
  expect((await daemon.status()).cluster.storeBehind).toBe(true);
  await advance('8d');
  await pause(1_500);
  expect(await aliasesLeft()).toBe(20);
  await operate(scene, 'StoreAdopt');
  await isDead(key);
});
