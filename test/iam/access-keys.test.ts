import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { StoredAccessKeys } from '../../src/iam/access-keys.js';
import { KEYSPACE } from '../../src/store/keyspace.js';
import { MemoryStore } from '../../src/store/memory.js';
import { InstallationKey, Sealer } from '../../src/store/sealed.js';

const account = '123456789012';
const OTHER = { accessKeyId: 'AKIAIOSFODNN7EXAMPLE', secretAccessKey: 'wJalrXUtnFEMI' };

interface Scene {
  readonly store: MemoryStore;
  readonly sealer: Sealer;
}
const scene = (): Scene => ({
  store: new MemoryStore(),
  sealer: new Sealer(new InstallationKey(randomBytes(32))),
});

describe("the root's access key", () => {
  test('is made at the first start and stays', async () => {
    const parts = scene();
    for (const start of [1, 2]) {
      await using keys = await StoredAccessKeys.open({ ...parts, account });
      expect(keys.root(), String(start)).toEqual({
        accessKeyId: 'test',
        secretAccessKey: 'test',
      });
      expect(keys.find('test')?.principal.arn).toBe(`arn:aws:iam::${account}:root`);
      expect(keys.find('other')).toBeUndefined();
    }
  });

  test('is the one that the configuration names, from the next start on', async () => {
    const parts = scene();
    await (await StoredAccessKeys.open({ ...parts, account }))[Symbol.asyncDispose]();
    for (const configured of [OTHER, undefined]) {
      await using keys = await StoredAccessKeys.open({ ...parts, account, configured });
      expect(keys.root()).toEqual(OTHER);
      expect(keys.find('test')).toBeUndefined();
    }
    const configured = { ...OTHER, secretAccessKey: 'changed' };
    await using keys = await StoredAccessKeys.open({ ...parts, account, configured });
    expect(keys.root()).toEqual(configured);
  });

  test('stands sealed in the store', async () => {
    const parts = scene();
    await using keys = await StoredAccessKeys.open({ ...parts, account, configured: OTHER });
    const entry = await parts.store.get(KEYSPACE.accessKey(OTHER.accessKeyId));
    expect(Buffer.from(entry?.value ?? []).includes(OTHER.secretAccessKey)).toBe(false);
    expect(Buffer.from(entry?.value ?? []).includes(account)).toBe(false);
    expect(keys.root()).toEqual(OTHER);
    const sealer = new Sealer(new InstallationKey(randomBytes(32)));
    await expect(StoredAccessKeys.open({ ...parts, sealer, account })).rejects.toMatchObject({
      code: 'StoreCorrupt',
    });
  });

  test('lets nobody in when the store is gone', async () => {
    const parts = scene();
    await using keys = await StoredAccessKeys.open({ ...parts, account });
    await parts.store[Symbol.asyncDispose]();
    await expect.poll(() => readable(keys)).toBe(false);
  });
});

function readable(keys: StoredAccessKeys): boolean {
  try {
    keys.find('test');
    return true;
  } catch {
    return false;
  }
}
