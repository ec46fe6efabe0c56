import { describe, expect, test } from 'vitest';
import { deadlineIn } from '../../src/core/deadline.js';
import { KMS_ACTIONS, type KmsAction } from '../../src/protocol/kms.js';
import { KEYSPACE } from '../../src/store/keyspace.js';
import type { Store, Watch } from '../../src/store/store.js';
import {
  ACCOUNT,
  ALICE,
  KmsFixture,
  newCall,
  OTHER_ROOT,
  REGION,
  ROOT,
} from '../support/kms-fixture.js';
import { leastParams } from '../support/least-params.js';

describe('every request', () => {
  test('writes one audit line, however it ends', async () => {
    await using at = await KmsFixture.open();
    const { KeyId, Arn } = await at.createKey();
    await at.call('Encrypt', { KeyId, Plaintext: Buffer.of(1) });
    await at.refused('Encrypt', { KeyId, Plaintext: Buffer.of(1) }, ALICE);
    await at.refused('Encrypt', { KeyId });
    await at.refused('Encrypt', { KeyId: 7 });
    await at.refused('Encrypt', { KeyId: 'alias/absent', Plaintext: Buffer.of(1) });
    await at.refused('NoSuchAction');
    at.vault.failWith('VaultBusy');
    await at.refused('Encrypt', { KeyId, Plaintext: Buffer.of(1) });
    const lines = await at.auditLines();
    const root = ROOT.principal.arn;
    const hsm = 'hsm-software2345';
    const rows = lines.map((line) => [
      line['eventName'],
      (line['userIdentity'] as { arn: string }).arn,
      line['errorCode'] ?? 'ok',
      (line['resources'] as { ARN: string }[])[0]?.ARN ?? '',
      (line['additionalEventData'] as { hsm?: string }).hsm ?? '',
    ]);
    expect(rows).toEqual([
      ['CreateKey', root, 'ok', Arn, hsm],
      ['Encrypt', root, 'ok', Arn, hsm],
      ['Encrypt', ALICE.principal.arn, 'AccessDeniedException', Arn, ''],
      ['Encrypt', root, 'ValidationException', '', ''],
      ['Encrypt', root, 'SerializationException', '', ''],
      ['Encrypt', root, 'NotFoundException', '', ''],
      ['Unknown', root, 'UnknownOperationException', '', ''],
      ['Encrypt', root, 'ThrottlingException', Arn, ''],
    ]);
    expect(lines[0]).toMatchObject({ additionalEventData: { door: 'test' } });
    expect(JSON.stringify(lines)).not.toMatch(/NoSuchAction/);
  });

  test('may come in JSON, with blobs in base64', async () => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    const perform = (action: string, params: object): Promise<Record<string, unknown>> =>
      at.kms.perform(action, params, 'json', ROOT, newCall(), 'test');
    const made = await perform('Encrypt', { KeyId, Plaintext: 'AAEC' });
    const CiphertextBlob = Buffer.from(made['CiphertextBlob'] as Uint8Array).toString('base64');
    const opened = await perform('Decrypt', { CiphertextBlob });
    expect(Buffer.from(opened['Plaintext'] as Uint8Array)).toEqual(Buffer.from([0, 1, 2]));
  });
});

/** What is not built yet: the list must shrink. */
const UNBUILT: readonly KmsAction[] = [
  'ConnectCustomKeyStore',
  'CreateCustomKeyStore',
  'Decapsulate',
  'DeleteCustomKeyStore',
  'DeleteImportedKeyMaterial',
  'DeriveSharedSecret',
  'DescribeCustomKeyStores',
  'DisconnectCustomKeyStore',
  'Encapsulate',
  'GenerateDataKeyPair',
  'GenerateDataKeyPairWithoutPlaintext',
  'GenerateMac',
  'GetKeyLastUsage',
  'GetParametersForImport',
  'GetPublicKey',
  'ImportKeyMaterial',
  'ListKeyPolicies',
  'ListResourceTags',
  'PutKeyPolicy',
  'ReplicateKey',
  'Sign',
  'TagResource',
  'UntagResource',
  'UpdateCustomKeyStore',
  'UpdateKeyDescription',
  'UpdatePrimaryRegion',
  'Verify',
  'VerifyMac',
];

describe('an action that is not built', () => {
  test.each(UNBUILT)('%s says so, after its form was checked', async (action) => {
    await using at = await KmsFixture.open();
    const wanted = Object.keys(leastParams(action));
    if (wanted.length > 0) expect(await at.refused(action)).toMatch(/^ValidationException/);
    const sentence = `Keyspan does not support the ${action} operation.`;
    const refusal = `UnsupportedOperationException: ${sentence}`;
    expect(await at.refused(action, leastParams(action))).toBe(refusal);
  });

  test('is on the list, and no other', async () => {
    await using at = await KmsFixture.open();
    const others = (Object.keys(KMS_ACTIONS) as KmsAction[]).filter((a) => !UNBUILT.includes(a));
    for (const action of others) {
      const ended = await at.call(action, leastParams(action)).then(
        () => 'done',
        (error: unknown) => (error as Error).message,
      );
      expect(ended).not.toMatch(/Keyspan does not support the/);
    }
  });
});

describe('what a vault answers', () => {
  test.each([
    ['VaultUnavailable', /^KeyUnavailableException/],
    ['VaultKeyMissing', /^KMSInvalidStateException: arn:aws:kms:.* is unavailable\.$/],
    ['VaultTimeout', /^DependencyTimeoutException/],
    ['VaultBusy', /^ThrottlingException: You have exceeded the rate/],
  ] as const)('%s reaches the caller as AWS’s error', async (code, refusal) => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    const { CiphertextBlob } = await at.call('Encrypt', { KeyId, Plaintext: Buffer.of(1) });
    at.vault.failWith(code);
    expect(await at.refused('Encrypt', { KeyId, Plaintext: Buffer.of(1) })).toMatch(refusal);
    expect(await at.refused('Decrypt', { CiphertextBlob })).toMatch(refusal);
    expect(await at.refused('GenerateDataKey', { KeyId, KeySpec: 'AES_256' })).toMatch(refusal);
    at.vault.failWith(undefined);
    await at.call('Decrypt', { CiphertextBlob });
  });

  test('a key that is not on enough HSMs is not made', async () => {
    await using at = await KmsFixture.open();
    at.vault.failWith('VaultNotDurable');
    expect(await at.refused('CreateKey')).toBe(
      'KMSInternalException: The key could not be put on enough HSMs. Try again later.',
    );
    expect((await at.call('ListKeys')).Keys).toEqual([]);
  });
});

describe('the store', () => {
  test('gives a second daemon the same keys', async () => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    await at.call('CreateAlias', { AliasName: 'alias/a', TargetKeyId: KeyId });
    const made = await at.call('Encrypt', { KeyId, Plaintext: Buffer.of(7) });
    await using another = await at.another();
    const request = { CiphertextBlob: made.CiphertextBlob, KeyId: 'alias/a' };
    const opened = await at.call('Decrypt', request, ROOT, another);
    expect(Buffer.from(opened.Plaintext)).toEqual(Buffer.of(7));
    // the index that was read at the start knows whose key it is
    const foreign = at.call(
      'Decrypt',
      { CiphertextBlob: made.CiphertextBlob },
      OTHER_ROOT,
      another,
    );
    await expect(foreign).rejects.toMatchObject({ code: 'AccessDeniedException' });
  });

  test('with one fact that cannot be read still serves the others', async () => {
    await using at = await KmsFixture.open();
    const good = await at.createKey();
    const bad = await at.createKey();
    const key = KEYSPACE.kmsKey(
      ACCOUNT,
      REGION,
      bad.KeyId as Parameters<typeof KEYSPACE.kmsKey>[2],
    );
    await at.store.commit({ compares: [], writes: [{ op: 'put', key, value: Buffer.of(0xff) }] });
    await using another = await at.another();
    await at.call('DescribeKey', { KeyId: good.KeyId }, ROOT, another);
    const broken = at.call('DescribeKey', { KeyId: bad.KeyId }, ROOT, another);
    await expect(broken).rejects.toMatchObject({ code: 'KMSInternalException' });
  });

  test('that is closed lets nothing be allowed any more', async () => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    await at.store[Symbol.asyncDispose]();
    await at.kms[Symbol.asyncDispose]();
    const refusal = await at.refused('Encrypt', { KeyId, Plaintext: Buffer.of(1) });
    expect(refusal).toMatch(/^KMSInternalException/);
  });
});

/** A store whose watches can be held back, as a slow network would. */
class SlowStore implements Store {
  readonly #store: Store;
  #held: Promise<void> | undefined;
  #release = (): void => undefined;

  constructor(store: Store) {
    this.#store = store;
  }

  get id(): string {
    return this.#store.id;
  }

  hold(): void {
    this.#held = new Promise((resolve) => {
      this.#release = resolve;
    });
  }

  release(): void {
    this.#held = undefined;
    this.#release();
  }

  async watch(prefix: string, afterRevision: number): Promise<Watch> {
    const watch = await this.#store.watch(prefix, afterRevision);
    const held = (): Promise<void> | undefined => this.#held;
    return {
      async *[Symbol.asyncIterator]() {
        for await (const batch of watch) {
          await held();
          yield batch;
        }
      },
      [Symbol.asyncDispose]: () => watch[Symbol.asyncDispose](),
    };
  }

  get: Store['get'] = (key) => this.#store.get(key);
  range: Store['range'] = (prefix, options) => this.#store.range(prefix, options);
  commit: Store['commit'] = (part) => this.#store.commit(part);
  session: Store['session'] = (ttlMs) => this.#store.session(ttlMs);
  compact: Store['compact'] = (revision) => this.#store.compact(revision);
  [Symbol.asyncDispose] = (): Promise<void> => Promise.resolve(this.#store[Symbol.asyncDispose]());
}

describe('a change is answered when the next request sees it', () => {
  test('not earlier', async () => {
    let slow: SlowStore | undefined;
    await using at = await KmsFixture.open(undefined, (store) => (slow = new SlowStore(store)));
    const { KeyId } = await at.createKey();
    slow?.hold();
    let answered = false;
    const change = at.call('DisableKey', { KeyId }).then(() => (answered = true));
    const stored = async (): Promise<boolean> => {
      const { entries } = await at.store.range(KEYSPACE.kmsKeys(ACCOUNT, REGION));
      return Buffer.from(entries[0]?.value ?? []).includes('Disabled');
    };
    await expect.poll(stored).toBe(true);
    expect(answered).toBe(false);
    slow?.release();
    await change;
    const { KeyMetadata } = await at.call('DescribeKey', { KeyId });
    expect(KeyMetadata.KeyState).toBe('Disabled');
  });

  test('and the deadline ends the wait', async () => {
    let slow: SlowStore | undefined;
    await using at = await KmsFixture.open(undefined, (store) => (slow = new SlowStore(store)));
    const { KeyId } = await at.createKey();
    slow?.hold();
    const late = { ...newCall(), deadline: deadlineIn(20) };
    const change = at.kms.perform('DisableKey', { KeyId }, 'cbor', ROOT, late, 'test');
    await expect(change).rejects.toMatchObject({ code: 'DependencyTimeoutException' });
    slow?.release();
  });
});
