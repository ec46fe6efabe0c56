import { createDecipheriv, randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Call } from '../../src/core/call.js';
import { deadlineIn } from '../../src/core/deadline.js';
import { newHsmKeyId, type HsmKeyId } from '../../src/core/ids.js';
import { canImport, type Sealed, type Vault } from '../../src/core/vault.js';
import { MemoryStore } from '../../src/store/memory.js';
import type { Store } from '../../src/store/store.js';
import { ClusterFixture } from '../support/cluster-fixture.js';
import { eventually } from '../support/daemon-fixture.js';
import { SoftwareVault } from '../support/software-vault.js';
import { expectCode } from '../support/store-calls.js';

interface Subject extends AsyncDisposable {
  readonly vault: Vault;
  readonly store: Store;
}

async function cluster(): Promise<Subject> {
  const fixture = await ClusterFixture.start(3);
  const { vault } = fixture.cluster;
  return {
    vault,
    store: fixture.store,
    [Symbol.asyncDispose]: () => fixture[Symbol.asyncDispose](),
  };
}

/** The stand-in that KMS's tests use must behave as the real thing does. */
async function software(): Promise<Subject> {
  const store = new MemoryStore();
  return {
    vault: new SoftwareVault(),
    store,
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  };
}

const call = (timeoutMs = 20_000): Call => ({
  requestId: 'a-test',
  deadline: deadlineIn(timeoutMs),
});
const AAD = Buffer.from('context');
const PLAINTEXT = Buffer.from('plaintext');

describe.each([
  ['a cluster', cluster],
  ['the stand-in of tests', software],
] as const)('%s is a vault:', (_name, start) => {
  let subject: Subject;
  let vault: Vault;
  let key: HsmKeyId;
  let sealed: Sealed;

  beforeAll(async () => {
    subject = await start();
    ({ vault } = subject);
    key = await newKey();
    sealed = await vault.encrypt(key, { plaintext: PLAINTEXT, aad: AAD }, call());
  });
  afterAll(async () => {
    await subject?.[Symbol.asyncDispose]();
  });

  async function newKey(): Promise<HsmKeyId> {
    const prepared = await vault.createKey('AES_256', call());
    await subject.store.commit(prepared.part);
    prepared.committed();
    return prepared.id;
  }

  const open = (
    change: Partial<Sealed> = {},
    aad: Uint8Array = AAD,
    id = key,
  ): Promise<Uint8Array> => vault.decrypt(id, { ...sealed, ...change, aad }, call());
  const flip = (bytes: Uint8Array, at = 0): Uint8Array => {
    const flipped = Buffer.from(bytes);
    flipped[at] = (flipped[at] ?? 0) ^ 1;
    return flipped;
  };

  async function isGone(id: HsmKeyId): Promise<void> {
    const input = { plaintext: PLAINTEXT, aad: AAD };
    await eventually(async () => {
      const outcome = await vault.encrypt(id, input, call()).catch((error: unknown) => error);
      return (outcome as { code?: string }).code === 'VaultKeyMissing' ? true : undefined;
    }, 'its copies are gone');
  }

  test('what it seals it opens, and it says who did it', async () => {
    const asked = call();
    const input = { ...sealed, aad: AAD };
    expect(Buffer.from(await vault.decrypt(key, input, asked))).toEqual(PLAINTEXT);
    expect(asked.servedBy).toMatch(/^hsm-/);
    expect(sealed.iv).toHaveLength(12);
    expect(sealed.tag).toHaveLength(16);
    expect(sealed.ciphertext).toHaveLength(PLAINTEXT.length);
  });

  test.each([1, 15, 16, 17, 4096])('%i bytes', async (length) => {
    const plaintext = Buffer.alloc(length, length);
    const made = await vault.encrypt(key, { plaintext, aad: AAD }, call());
    expect(Buffer.from(await vault.decrypt(key, { ...made, aad: AAD }, call()))).toEqual(plaintext);
  });

  test('without additional data', async () => {
    const aad = new Uint8Array();
    const made = await vault.encrypt(key, { plaintext: PLAINTEXT, aad }, call());
    const opened = await vault.decrypt(key, { ...made, aad }, call());
    expect(Buffer.from(opened)).toEqual(PLAINTEXT);
    await expectCode(vault.decrypt(key, { ...made, aad: AAD }, call()), 'VaultDataInvalid');
  });

  test('never the same IV', async () => {
    const all = await Promise.all(
      Array.from({ length: 200 }, () =>
        vault.encrypt(key, { plaintext: PLAINTEXT, aad: AAD }, call()),
      ),
    );
    const ivs = new Set(all.map(({ iv }) => Buffer.from(iv).toString('hex')));
    expect(ivs.size).toBe(200);
  });

  test('what was changed does not open', async () => {
    await expectCode(open({ iv: flip(sealed.iv) }), 'VaultDataInvalid');
    await expectCode(open({ tag: flip(sealed.tag, 15) }), 'VaultDataInvalid');
    await expectCode(open({ ciphertext: flip(sealed.ciphertext) }), 'VaultDataInvalid');
    await expectCode(open({ ciphertext: sealed.ciphertext.subarray(1) }), 'VaultDataInvalid');
    await expectCode(open({}, Buffer.from('Context')), 'VaultDataInvalid');
    await expectCode(open({}, new Uint8Array()), 'VaultDataInvalid');
    expect(Buffer.from(await open())).toEqual(PLAINTEXT);
  });

  test('another key does not open it', async () => {
    await expectCode(open({}, AAD, await newKey()), 'VaultDataInvalid');
  });

  test('a key that is not there', async () => {
    const absent = newHsmKeyId();
    await expectCode(open({}, AAD, absent), 'VaultKeyMissing');
    const input = { plaintext: PLAINTEXT, aad: AAD };
    await expectCode(vault.encrypt(absent, input, call()), 'VaultKeyMissing');
    const wanted = { length: 32, aad: AAD, withPlaintext: true };
    await expectCode(vault.dataKey(absent, wanted, call()), 'VaultKeyMissing');
    const from = { key, input: { ...sealed, aad: AAD } };
    await expectCode(vault.reencrypt(from, { key: absent, aad: AAD }, call()), 'VaultKeyMissing');
    await expectCode(
      vault.reencrypt({ ...from, key: absent }, { key, aad: AAD }, call()),
      'VaultKeyMissing',
    );
  });

  test('reencrypt moves data from one key and context to another', async () => {
    const to = await newKey();
    const aad = Buffer.from('other');
    const from = { key, input: { ...sealed, aad: AAD } };
    const moved = await vault.reencrypt(from, { key: to, aad }, call());
    expect(Buffer.from(await vault.decrypt(to, { ...moved, aad }, call()))).toEqual(PLAINTEXT);
    await expectCode(vault.decrypt(key, { ...moved, aad }, call()), 'VaultDataInvalid');
    const wrong = { key, input: { ...sealed, aad } };
    await expectCode(vault.reencrypt(wrong, { key: to, aad }, call()), 'VaultDataInvalid');
  });

  test.each([1, 32, 1024])('a data key of %i bytes', async (length) => {
    const made = await vault.dataKey(key, { length, aad: AAD, withPlaintext: true }, call());
    expect(made.plaintext).toHaveLength(length);
    const opened = await vault.decrypt(key, { ...made, aad: AAD }, call());
    expect(Buffer.from(opened)).toEqual(Buffer.from(made.plaintext ?? []));
  });

  test('a data key whose plaintext nobody sees', async () => {
    const made = await vault.dataKey(key, { length: 32, aad: AAD, withPlaintext: false }, call());
    expect(made.plaintext).toBeUndefined();
    expect(await vault.decrypt(key, { ...made, aad: AAD }, call())).toHaveLength(32);
  });

  test.each([1, 1024])('%i random bytes', async (length) => {
    expect(await vault.random(length, call())).toHaveLength(length);
  });

  test('random bytes do not repeat', async () => {
    const all = await Promise.all(Array.from({ length: 50 }, () => vault.random(16, call())));
    expect(new Set(all.map((bytes) => Buffer.from(bytes).toString('hex'))).size).toBe(50);
  });

  test('a key that was given up cannot be used, nor become live', async () => {
    const prepared = await vault.createKey('AES_256', call());
    prepared.abandon();
    await isGone(prepared.id);
  });

  describe('key material from elsewhere', () => {
    const material = randomBytes(32);
    const imported = async (): Promise<HsmKeyId> => {
      if (!canImport(vault)) return expect.unreachable();
      const prepared = await vault.importKey('AES_256', material, call());
      await subject.store.commit(prepared.part);
      prepared.committed();
      return prepared.id;
    };

    test('works as AES-256-GCM with these bytes does', async () => {
      const id = await imported();
      const made = await vault.encrypt(id, { plaintext: PLAINTEXT, aad: AAD }, call());
      const decipher = createDecipheriv('aes-256-gcm', material, made.iv).setAAD(AAD);
      decipher.setAuthTag(made.tag);
      const opened = Buffer.concat([decipher.update(made.ciphertext), decipher.final()]);
      expect(opened).toEqual(PLAINTEXT);
    });

    test('opens under each key of it what another sealed, and stays as it was', async () => {
      const before = Buffer.from(material);
      const [one, two] = [await imported(), await imported()];
      expect(one).not.toBe(two);
      const made = await vault.encrypt(one, { plaintext: PLAINTEXT, aad: AAD }, call());
      const opened = await vault.decrypt(two, { ...made, aad: AAD }, call());
      expect(Buffer.from(opened)).toEqual(PLAINTEXT);
      expect(material.equals(before)).toBe(true);
    });

    test('that was given up cannot be used', async () => {
      if (!canImport(vault)) return expect.unreachable();
      const prepared = await vault.importKey('AES_256', material, call());
      prepared.abandon();
      await isGone(prepared.id);
    });
  });

  test('keys are other keys', async () => {
    const ids = await Promise.all([newKey(), newKey(), newKey()]);
    expect(new Set([...ids, key]).size).toBe(4);
  });
});

describe('a cluster besides', () => {
  let fixture: ClusterFixture;
  let vault: Vault;
  beforeAll(async () => {
    fixture = await ClusterFixture.start(2);
    ({ vault } = fixture.cluster);
  });
  afterAll(async () => {
    await fixture?.[Symbol.asyncDispose]();
  });

  const create = async (): Promise<HsmKeyId> => {
    const prepared = await vault.createKey('AES_256', call());
    await fixture.store.commit(prepared.part);
    prepared.committed();
    return prepared.id;
  };
  const keysOn = async (): Promise<(number | null)[]> =>
    (await fixture.cluster.status()).map(({ keys }) => keys);
  const settledOn = (count: number): Promise<true> =>
    eventually(
      async () => ((await keysOn()).every((keys) => keys === count) ? true : undefined),
      `${count} keys on each HSM`,
    );

  test('destroying a key is a part of a commit, once', async () => {
    const key = await create();
    await settledOn(1);
    await fixture.store.commit(await vault.destroyKey(key));
    await expectCode(vault.destroyKey(key), 'VaultKeyMissing');
  });

  test('an attempt that was given up leaves no copy and no entry', async () => {
    const [before] = await keysOn();
    const prepared = await vault.createKey('AES_256', call());
    prepared.abandon();
    await settledOn(before ?? 0);
    await eventually(
      async () => ((await fixture.store.get(ledgerKey(prepared.id))) ? undefined : true),
      'the entry is forgotten',
    );
    await expectCode(fixture.store.commit(prepared.part), 'StoreConflict');
  });

  test('many creates at once', async () => {
    const [before] = await keysOn();
    const ids = await Promise.all(Array.from({ length: 40 }, create));
    expect(new Set(ids).size).toBe(40);
    await settledOn((before ?? 0) + 40);
  });

  test('a deadline that has passed', async () => {
    await expectCode(vault.random(8, call(-1)), 'VaultTimeout');
  });

  const ledgerKey = (id: HsmKeyId): string => `ledger/${fixture.cluster.id}/${id}`;
});
