import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { callAdmin } from '../../src/cli/admin-client.js';
import { deadlineIn } from '../../src/core/deadline.js';
import { newHsmKeyId, type HsmKeyId } from '../../src/core/ids.js';
import { LIMITS } from '../../src/core/limits.js';
import { CKO } from '../../src/core/pkcs11.js';
import type { ClusterSession } from '../../src/cluster/cluster-session.js';
import { USERS } from '../../src/cluster/lifecycle.js';
import type { Member } from '../../src/cluster/member.js';
import type { ClusterCheck } from '../../src/protocol/admin.js';
import type { RecordChange } from '../../src/protocol/hsm-key-frames.js';
import { ClusterFixture } from '../support/cluster-fixture.js';
import { eventually } from '../support/daemon-fixture.js';
import { FaultScene, PLAINTEXT } from '../support/fault-scene.js';
import { classOf, objectFiles } from '../support/object-files.js';
import { RecordDoor, SHAREE, WITH_RECORD_DOOR } from '../support/record-door.js';
import { expectCode } from '../support/store-calls.js';

/** A directory as it once was. */
class OldCopy implements Disposable {
  readonly #original: string;
  readonly #copy = mkdtempSync(join(tmpdir(), 'keyspan-copy-'));

  constructor(original: string) {
    this.#original = original;
    cpSync(original, this.#copy, { recursive: true, preserveTimestamps: true });
  }

  restore(): void {
    rmSync(this.#original, { recursive: true });
    cpSync(this.#copy, this.#original, { recursive: true, preserveTimestamps: true });
  }

  [Symbol.dispose](): void {
    rmSync(this.#copy, { recursive: true });
  }
}

describe('a store that is an older copy', () => {
  let scene: FaultScene;
  beforeEach(async () => {
    scene = await FaultScene.start(4, WITH_RECORD_DOOR);
  });
  afterEach(() => scene[Symbol.asyncDispose]());

  const check = (): Promise<ClusterCheck> =>
    callAdmin(scene.daemon.home, 'ClusterCheck', { repair: true }, LIMITS.join_timeout_ms);
  const isBehind = async (): Promise<boolean> =>
    (await scene.daemon.status()).cluster.storeBehind === true;
  const adopt = async (): Promise<void> => {
    await callAdmin(scene.daemon.home, 'StoreAdopt', {}, LIMITS.join_timeout_ms);
  };

  /** Brings the store back to what it was before `work` was done. */
  async function undo(work: () => Promise<void>): Promise<void> {
    const { daemon } = scene;
    await daemon.down();
    using copy = new OldCopy(daemon.home.store);
    await daemon.up(scene.options);
    await daemon.allActive();
    await work();
    await daemon.down();
    copy.restore();
    await daemon.up(scene.options);
    await daemon.allActive();
  }

  const makeKeys = (count: number) => async (): Promise<void> => {
    await using client = await scene.daemon.client();
    for (let made = 0; made < count; made += 1) await scene.keep(client);
  };

  test('decides nothing until it is adopted, says so, and serves what it knows', async () => {
    const known = [...scene.kept];
    await undo(makeKeys(3));
    expect(await isBehind()).toBe(true);
    expect(scene.daemon.log()).toContain('the store is behind this token');
    // copies made since are kept, whatever is asked for
    await expect(callAdmin(scene.daemon.home, 'ClusterDiscardUnknown', {})).rejects.toMatchObject({
      code: 'KeyspanRefused',
    });
    expect(await check()).toMatchObject({ clean: false, live: known.length + 1 });
    for (const hsm of (await check()).hsms) expect(hsm).toMatchObject({ unknown: 3, missing: 0 });
    await using client = await scene.daemon.client();
    const fresh = scene.kept.splice(0);
    scene.kept.push(...known);
    for (const { CiphertextBlob } of known) {
      expect(PLAINTEXT.equals((await client.kms.decrypt({ CiphertextBlob })).Plaintext)).toBe(true);
    }
    const { CiphertextBlob = new Uint8Array() } = fresh.at(-1) ?? {};
    await expect(client.kms.decrypt({ CiphertextBlob })).rejects.toBeDefined();
    // new keys are new facts, and safe
    await scene.keep(client);
  });

  test('repairs nothing before its adoption, and all after it, restarts included', async () => {
    const { daemon } = scene;
    const hsm = await scene.hsm(0);
    const directory = join(daemon.home.hsms, hsm.id);
    const before = new Set(objectFiles(directory));
    await makeKeys(1)();
    await daemon.allActive();
    await scene.allIsWell();
    const file = objectFiles(directory).find(
      (path) => !before.has(path) && classOf(path) === CKO.SECRET_KEY,
    );
    const known = [...scene.kept];
    await undo(makeKeys(2));
    scene.kept.splice(0, Infinity, ...known);
    await scene.whileStopped(hsm, () => rmSync(file ?? ''));
    await daemon.hsm(hsm.id);
    expect((await check()).hsms[0]).toMatchObject({ missing: 1, unknown: 2 });
    await adopt();
    expect(await isBehind()).toBe(false);
    for (const isRestarted of [false, true]) {
      if (isRestarted) {
        await daemon.down();
        await daemon.up(scene.options);
        await daemon.allActive();
      }
      expect(await isBehind()).toBe(false);
      const { live, hsms } = await check();
      expect(live).toBe(known.length + 1);
      for (const one of hsms) expect(one).toMatchObject({ missing: 0, unknown: 2, toDiscard: 0 });
    }
    await scene.opensEverywhere();
    await callAdmin(daemon.home, 'ClusterDiscardUnknown', {}, LIMITS.join_timeout_ms);
    expect(await check()).toMatchObject({ clean: true, live: known.length + 1 });
    await scene.opensEverywhere();
    const audit = readFileSync(join(daemon.home.audit, 'audit.jsonl'), 'utf8');
    expect(audit.match(/"step":"discarded"/g)).toHaveLength(6);
    expect(audit).toContain('"action":"cluster discard-unknown"');
  });

  test('is known by what it was without any new key, and more than once', async () => {
    const { daemon } = scene;
    const [key = expect.unreachable()] = scene.kept;
    const rename = async (): Promise<void> => {
      await using client = await daemon.client();
      await client.kms.createAlias({ name: 'alias/later', targetKeyId: key.KeyId });
    };
    await daemon.down();
    using copy = new OldCopy(daemon.home.store);
    for (let time = 0; time < 2; time += 1) {
      await daemon.up(scene.options);
      await daemon.allActive();
      if (await isBehind()) await adopt();
      await rename();
      await daemon.down();
      copy.restore();
    }
    await daemon.up(scene.options);
    await daemon.allActive();
    expect(await isBehind()).toBe(true);
    await adopt();
    await daemon.kill();
    await daemon.up(scene.options);
    await daemon.allActive();
    expect(await isBehind()).toBe(false);
    await scene.allIsWell();
  });

  test('gives back no right that was taken: before its adoption, after it, and later', async () => {
    const { daemon } = scene;
    const door = new RecordDoor(daemon);
    const key = await door.create();
    await door.change(key, { share: [SHAREE] });
    const nowhere = [false, false, false];
    await undo(() => door.change(key, { unshare: [SHAREE] }));
    expect(await isBehind()).toBe(true);
    expect(await door.allows(key)).toEqual(nowhere);
    for (const { ahead } of (await check()).hsms) expect(ahead).toBe(1);
    await expect(door.change(key, { share: [SHAREE] })).rejects.toMatchObject({
      code: 'KeyspanRefused',
    });
    await adopt();
    await scene.allIsWell();
    expect(await door.allows(key)).toEqual(nowhere);
    await daemon.down();
    await daemon.up(scene.options);
    await daemon.allActive();
    await scene.allIsWell();
    expect(await door.allows(key)).toEqual(nowhere);
    // and it can be given again
    await door.change(key, { share: [SHAREE] });
    await scene.allIsWell();
    expect(await door.allows(key)).toEqual([true, true, true]);
  });
});

describe('an HSM that is behind', () => {
  let fixture: ClusterFixture;
  beforeEach(async () => {
    fixture = await ClusterFixture.start(3);
  });
  afterEach(() => fixture[Symbol.asyncDispose]());

  const call = () => ({ requestId: 'old-copies', deadline: deadlineIn(LIMITS.request_timeout_ms) });
  const input = { plaintext: PLAINTEXT, aad: Buffer.alloc(0) };

  async function makeKey(): Promise<HsmKeyId> {
    const prepared = await fixture.cluster.vault.createKey('AES_256', call());
    await fixture.store.commit(prepared.part);
    prepared.committed();
    return prepared.id;
  }

  async function destroyKey(id: HsmKeyId): Promise<void> {
    await fixture.store.commit(await fixture.cluster.vault.destroyKey(id));
    await fixture.cluster.check(true);
  }

  const member = (): Member => fixture.cluster.members[1] ?? expect.unreachable();

  /** The HSM is stopped, something happens, and it is started again. */
  async function whileAway(work: () => Promise<void>): Promise<void> {
    const { cluster } = fixture;
    await cluster.want(member().id, 'stop');
    await eventually(
      async () => (member().supervisor.pid === undefined ? true : undefined),
      'it has ended',
    );
    await work();
    await cluster.want(member().id, 'run');
    await eventually(async () => member().channel, 'it serves');
  }

  async function holds(id: HsmKeyId): Promise<boolean> {
    const { held } = await examine(member());
    return held.has(id);
  }

  async function examine(one: Member): Promise<{ held: ReadonlySet<string> }> {
    const held = new Set<string>();
    const deadline = deadlineIn(LIMITS.request_timeout_ms);
    const page = await one.ask('inventory', { after: '', limit: 1_000 }, deadline);
    for (const { id, proof } of page.items) if (proof.length > 0) held.add(id);
    return { held };
  }

  /** The HSM has the live key, nothing of the dead one serves, and all three agree. */
  async function nothingLives(alive: readonly HsmKeyId[], dead: HsmKeyId): Promise<ClusterCheck> {
    const { cluster } = fixture;
    const state = await cluster.check(true);
    for (const id of alive) expect(await holds(id)).toBe(true);
    expect(state).toMatchObject({ live: alive.length, lost: 0, scarce: 0, buried: 0 });
    await expect(cluster.vault.encrypt(dead, input, call())).rejects.toMatchObject({
      code: expect.stringMatching(/^Vault/),
    });
    return state;
  }

  test('gets what it missed while it was away, and loses what was destroyed', async () => {
    const [kept, dead] = [await makeKey(), await makeKey()];
    let later = kept;
    await whileAway(async () => {
      await destroyKey(dead);
      later = await makeKey();
    });
    const state = await nothingLives([kept, later], dead);
    expect(state.clean).toBe(true);
    expect(await holds(dead)).toBe(false);
  });

  test('comes back from an older copy of its directory and resurrects nothing', async () => {
    const [kept, dead] = [await makeKey(), await makeKey()];
    await fixture.cluster.check(true);
    let copy: OldCopy | undefined;
    await whileAway(async () => {
      copy = new OldCopy(join(fixture.home.hsms, member().id));
    });
    // everybody confirms the end of this key, and its entry is forgotten
    await destroyKey(dead);
    const later = await makeKey();
    await whileAway(async () => copy?.restore());
    copy?.[Symbol.dispose]();
    const state = await nothingLives([kept, later], dead);
    // evidence that it was destroyed is gone: it is kept aside, reported, and given to nobody
    expect(state.hsms.map(({ unknown }) => unknown)).toEqual([0, 1, 0]);
    expect(state.hsms.map(({ missing }) => missing)).toEqual([0, 0, 0]);
  });

  test('comes back from an older copy of its directory and undoes no unshare', async () => {
    const { cluster, secrets } = fixture;
    const login = async (user: string): Promise<ClusterSession> =>
      await cluster.login(user, await secrets.passwordOf(cluster.id, user));
    const [owner, friend] = [await login(USERS.kms), await login(USERS.cryptoUser)];
    const change = (key: HsmKeyId, what: RecordChange): Promise<void> =>
      cluster.records.change(owner, key, what, call());
    const opens = async (key: HsmKeyId): Promise<boolean> => {
      const request = { ...call(), entry: member().id };
      const fields = { keyId: key, aad: Buffer.alloc(0), data: PLAINTEXT };
      const outcome = friend.run('encrypt', fields, request, key);
      return await outcome.then(
        () => true,
        () => false,
      );
    };
    const key = await makeKey();
    await change(key, { share: [USERS.cryptoUser] });
    await cluster.check(true);
    expect(await opens(key)).toBe(true);
    let copy: OldCopy | undefined;
    await whileAway(async () => {
      copy = new OldCopy(join(fixture.home.hsms, member().id));
    });
    await change(key, { unshare: [USERS.cryptoUser] });
    await whileAway(async () => copy?.restore());
    copy?.[Symbol.dispose]();
    // it serves, and did not before it had the record that counts
    expect(await opens(key)).toBe(false);
    expect(await cluster.check(false)).toMatchObject({ clean: true });
    const { revision } = await member().ask(
      'record-extract',
      { keyId: key },
      deadlineIn(LIMITS.request_timeout_ms),
    );
    expect(revision).toBe(3);
  });

  test('keeps what nothing explains until the operator says that it is to go', async () => {
    const { cluster } = fixture;
    const [kept, dead] = [await makeKey(), await makeKey()];
    await cluster.check(true);
    let copy: OldCopy | undefined;
    await whileAway(async () => {
      copy = new OldCopy(join(fixture.home.hsms, member().id));
    });
    await destroyKey(dead);
    await whileAway(async () => copy?.restore());
    copy?.[Symbol.dispose]();
    const before = await cluster.check(true);
    expect(before.hsms.map(({ unknownKeys }) => unknownKeys)).toEqual([[], [dead], []]);
    await expectCode(cluster.unknown.discard([kept]), 'KeyspanRefused');
    await expectCode(cluster.unknown.discard([dead, newHsmKeyId()]), 'KeyspanUsage');
    expect(await holds(dead)).toBe(true);
    const gone = { discarded: [{ hsm: member().id, key: dead }], unasked: [] };
    expect(await cluster.unknown.discard([dead])).toEqual(gone);
    expect(await cluster.check(false)).toMatchObject({ clean: true, live: 1 });
    expect([await holds(dead), await holds(kept)]).toEqual([false, true]);
    expect(await cluster.unknown.discard()).toEqual({ discarded: [], unasked: [] });
  });
});
