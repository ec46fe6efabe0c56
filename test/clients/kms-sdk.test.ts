import * as sdk from '@aws-sdk/client-kms';
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { callAdmin } from '../../src/cli/admin-client.js';
import { DaemonFixture } from '../support/daemon-fixture.js';
import { kmsClient } from '../support/kms-client.js';

const ACCOUNT = '111122223333';
const ROOT = `arn:aws:iam::${ACCOUNT}:root`;
const KEY = '1234abcd-12ab-34cd-56ef-1234567890ab';
const OTHER = '0987dcba-09fe-87dc-65ba-ab0987654321';
const ARN = `arn:aws:kms:us-west-2:${ACCOUNT}:key/${KEY}`;
const SEED = {
  keys: [
    { id: KEY, account: ACCOUNT, aliases: ['alias/ExampleAlias'], tags: { Dept: 'IT' } },
    { id: OTHER, account: ACCOUNT },
  ],
};

let daemon: DaemonFixture;
let client: sdk.KMSClient;
beforeAll(async () => {
  daemon = DaemonFixture.prepare();
  mkdirSync(daemon.home.root, { recursive: true });
  const seed = join(daemon.home.root, 'seed.json');
  writeFileSync(seed, JSON.stringify(SEED));
  await daemon.up({ hsms: 2, port: 0, account: ACCOUNT, region: 'us-west-2', seed });
  client = await kmsClient(daemon, { maxAttempts: 1 });
});
afterAll(async () => {
  client?.destroy();
  await daemon?.[Symbol.asyncDispose]();
});

const REQUEST_ID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** Expects a refusal of that class, as the SDK throws it. */
async function refused(
  work: Promise<unknown>,
  kind: new (...args: never[]) => sdk.KMSServiceException,
): Promise<sdk.KMSServiceException> {
  const error = await work.then(
    () => new Error('it was not refused'),
    (cause: unknown) => cause,
  );
  expect(error).toBeInstanceOf(kind);
  const { $metadata, $fault } = error as sdk.KMSServiceException;
  expect($fault).toBe('client');
  expect($metadata.httpStatusCode).toBe(400);
  expect($metadata.requestId).toMatch(REQUEST_ID);
  return error as sdk.KMSServiceException;
}

/** The members that an answer has, but what the SDK adds. */
const members = (answer: object): string[] =>
  Object.keys(answer)
    .filter((name) => name !== '$metadata')
    .sort();

describe('a walk through the actions', () => {
  test('cryptography', async () => {
    const Plaintext = Buffer.from('dear bob');
    const EncryptionContext = { to: 'bob' };
    const under = { KeyId: 'alias/ExampleAlias', EncryptionContext };
    const made = await client.send(new sdk.EncryptCommand({ ...under, Plaintext }));
    expect(members(made)).toEqual(['CiphertextBlob', 'EncryptionAlgorithm', 'KeyId']);
    expect([made.KeyId, made.EncryptionAlgorithm]).toEqual([ARN, 'SYMMETRIC_DEFAULT']);
    expect(made.$metadata).toMatchObject({ httpStatusCode: 200, attempts: 1 });
    expect(made.$metadata.requestId).toMatch(REQUEST_ID);
    const { CiphertextBlob } = made;
    const opened = await client.send(new sdk.DecryptCommand({ CiphertextBlob, EncryptionContext }));
    expect(members(opened)).toEqual(['EncryptionAlgorithm', 'KeyId', 'KeyMaterialId', 'Plaintext']);
    expect(Buffer.from(opened.Plaintext ?? '').toString()).toBe('dear bob');
    const moved = await client.send(
      new sdk.ReEncryptCommand({
        CiphertextBlob,
        SourceEncryptionContext: EncryptionContext,
        DestinationKeyId: OTHER,
      }),
    );
    expect(members(moved)).toEqual([
      'CiphertextBlob',
      'DestinationEncryptionAlgorithm',
      'DestinationKeyMaterialId',
      'KeyId',
      'SourceEncryptionAlgorithm',
      'SourceKeyId',
      'SourceKeyMaterialId',
    ]);
    expect([moved.SourceKeyId, moved.KeyId?.endsWith(OTHER)]).toEqual([ARN, true]);
    const data = await client.send(
      new sdk.GenerateDataKeyCommand({ ...under, KeySpec: 'AES_256' }),
    );
    expect(members(data)).toEqual(['CiphertextBlob', 'KeyId', 'KeyMaterialId', 'Plaintext']);
    expect(data.Plaintext).toHaveLength(32);
    const bare = await client.send(
      new sdk.GenerateDataKeyWithoutPlaintextCommand({ ...under, NumberOfBytes: 24 }),
    );
    expect(members(bare)).toEqual(['CiphertextBlob', 'KeyId', 'KeyMaterialId']);
    const random = await client.send(new sdk.GenerateRandomCommand({ NumberOfBytes: 7 }));
    expect([members(random), random.Plaintext?.length]).toEqual([['Plaintext'], 7]);
  });

  test('keys, their aliases, policies and tags', async () => {
    const { KeyMetadata } = await client.send(
      new sdk.CreateKeyCommand({ Description: 'one', Tags: [{ TagKey: 'a', TagValue: '1' }] }),
    );
    expect(members(KeyMetadata ?? {})).toEqual([
      'AWSAccountId',
      'Arn',
      'CreationDate',
      'CurrentKeyMaterialId',
      'CustomerMasterKeySpec',
      'Description',
      'Enabled',
      'EncryptionAlgorithms',
      'KeyId',
      'KeyManager',
      'KeySpec',
      'KeyState',
      'KeyUsage',
      'MultiRegion',
      'Origin',
    ]);
    const { KeyId = '' } = KeyMetadata ?? {};
    await client.send(new sdk.UpdateKeyDescriptionCommand({ KeyId, Description: 'two' }));
    await client.send(new sdk.DisableKeyCommand({ KeyId }));
    const described = await client.send(new sdk.DescribeKeyCommand({ KeyId }));
    expect(described.KeyMetadata).toMatchObject({ Description: 'two', KeyState: 'Disabled' });
    await refused(
      client.send(new sdk.EncryptCommand({ KeyId, Plaintext: Buffer.of(1) })),
      sdk.DisabledException,
    );
    await client.send(new sdk.EnableKeyCommand({ KeyId }));
    const AliasName = 'alias/one';
    await client.send(new sdk.CreateAliasCommand({ AliasName, TargetKeyId: KeyId }));
    await refused(
      client.send(new sdk.CreateAliasCommand({ AliasName, TargetKeyId: KeyId })),
      sdk.AlreadyExistsException,
    );
    await client.send(new sdk.UpdateAliasCommand({ AliasName, TargetKeyId: OTHER }));
    await client.send(new sdk.DeleteAliasCommand({ AliasName }));
    await refused(client.send(new sdk.DeleteAliasCommand({ AliasName })), sdk.NotFoundException);
    const got = await client.send(new sdk.GetKeyPolicyCommand({ KeyId }));
    expect([members(got), got.PolicyName]).toEqual([['Policy', 'PolicyName'], 'default']);
    await client.send(new sdk.PutKeyPolicyCommand({ KeyId, Policy: got.Policy }));
    await refused(
      client.send(new sdk.PutKeyPolicyCommand({ KeyId, Policy: '{' })),
      sdk.MalformedPolicyDocumentException,
    );
    const policies = await client.send(new sdk.ListKeyPoliciesCommand({ KeyId }));
    expect(policies).toMatchObject({ PolicyNames: ['default'], Truncated: false });
    await client.send(new sdk.TagResourceCommand({ KeyId, Tags: [{ TagKey: 'b', TagValue: '' }] }));
    await client.send(new sdk.UntagResourceCommand({ KeyId, TagKeys: ['a'] }));
    const { Tags } = await client.send(new sdk.ListResourceTagsCommand({ KeyId }));
    expect(Tags).toEqual([{ TagKey: 'b', TagValue: '' }]);
  });

  test('rotation and deletion', async () => {
    const { KeyMetadata } = await client.send(new sdk.CreateKeyCommand({}));
    const { KeyId = '', Arn = '' } = KeyMetadata ?? {};
    await client.send(new sdk.EnableKeyRotationCommand({ KeyId, RotationPeriodInDays: 100 }));
    const rotated = await client.send(new sdk.RotateKeyOnDemandCommand({ KeyId }));
    expect(rotated.KeyId).toMatch(KeyId);
    const status = await client.send(new sdk.GetKeyRotationStatusCommand({ KeyId }));
    expect(status).toMatchObject({ KeyRotationEnabled: true, RotationPeriodInDays: 100 });
    expect(status.NextRotationDate).toBeInstanceOf(Date);
    await client.send(new sdk.DisableKeyRotationCommand({ KeyId }));
    const rotations = await client.send(new sdk.ListKeyRotationsCommand({ KeyId }));
    expect(rotations.Truncated).toBe(false);
    const ending = await client.send(
      new sdk.ScheduleKeyDeletionCommand({ KeyId, PendingWindowInDays: 7 }),
    );
    expect(ending).toMatchObject({ KeyId: Arn, KeyState: 'PendingDeletion' });
    expect(ending.DeletionDate).toBeInstanceOf(Date);
    await refused(client.send(new sdk.EnableKeyCommand({ KeyId })), sdk.KMSInvalidStateException);
    const kept = await client.send(new sdk.CancelKeyDeletionCommand({ KeyId }));
    expect(kept.KeyId).toBe(Arn);
  });

  test('grants', async () => {
    const grant = { KeyId: KEY, GranteePrincipal: ROOT, RetiringPrincipal: ROOT };
    const first = await client.send(
      new sdk.CreateGrantCommand({ ...grant, Operations: ['Decrypt'], Name: 'first' }),
    );
    expect(members(first)).toEqual(['GrantId', 'GrantToken']);
    const second = await client.send(
      new sdk.CreateGrantCommand({ ...grant, Operations: ['Encrypt'] }),
    );
    const { Grants = [] } = await client.send(new sdk.ListGrantsCommand({ KeyId: KEY }));
    const mine = Grants.find(({ GrantId }) => GrantId === first.GrantId);
    expect(mine).toMatchObject({ KeyId: ARN, Name: 'first', Operations: ['Decrypt'] });
    const retirable = await client.send(
      new sdk.ListRetirableGrantsCommand({ RetiringPrincipal: ROOT }),
    );
    expect(retirable.Grants).toHaveLength(2);
    await client.send(new sdk.RetireGrantCommand({ GrantToken: first.GrantToken }));
    await client.send(new sdk.RevokeGrantCommand({ KeyId: KEY, GrantId: second.GrantId }));
    await refused(
      client.send(new sdk.RevokeGrantCommand({ KeyId: KEY, GrantId: second.GrantId })),
      sdk.NotFoundException,
    );
    await refused(
      client.send(new sdk.RetireGrantCommand({ GrantToken: 'bm8gdG9rZW4=' })),
      sdk.InvalidGrantTokenException,
    );
  });

  test('refusals have classes of their own', async () => {
    const made = await client.send(
      new sdk.EncryptCommand({ KeyId: KEY, Plaintext: Buffer.from('x') }),
    );
    const { CiphertextBlob = new Uint8Array() } = made;
    await refused(
      client.send(new sdk.DecryptCommand({ CiphertextBlob, KeyId: OTHER })),
      sdk.IncorrectKeyException,
    );
    const wrong = { CiphertextBlob, EncryptionContext: { to: 'eve' } };
    await refused(client.send(new sdk.DecryptCommand(wrong)), sdk.InvalidCiphertextException);
    const absent = { KeyId: 'alias/absent', Plaintext: Buffer.of(1) };
    const missing = await refused(
      client.send(new sdk.EncryptCommand(absent)),
      sdk.NotFoundException,
    );
    expect(missing.message).toMatch(/alias\/absent is not found\.$/);
    const lengthless = client.send(new sdk.GenerateRandomCommand({ NumberOfBytes: 1025 }));
    const { name } = await refused(lengthless, sdk.KMSServiceException);
    expect(name).toBe('ValidationException');
    await refused(
      client.send(new sdk.EncryptCommand({ KeyId: KEY, Plaintext: Buffer.of(1), DryRun: true })),
      sdk.DryRunOperationException,
    );
    await refused(
      client.send(new sdk.CreateKeyCommand({ KeySpec: 'RSA_2048', KeyUsage: 'SIGN_VERIFY' })),
      sdk.UnsupportedOperationException,
    );
    await refused(
      client.send(new sdk.ListKeysCommand({ Marker: 'no marker' })),
      sdk.InvalidMarkerException,
    );
  });

  test('pages end', async () => {
    const config = { client, pageSize: 1 };
    const keys: unknown[] = [];
    for await (const { Keys = [] } of sdk.paginateListKeys(config, {})) keys.push(...Keys);
    expect(keys).toContainEqual({ KeyId: KEY, KeyArn: ARN });
    expect(new Set(keys.map((key) => JSON.stringify(key))).size).toBe(keys.length);
    const aliases: unknown[] = [];
    for await (const page of sdk.paginateListAliases(config, { KeyId: KEY })) {
      aliases.push(...(page.Aliases ?? []).map(({ AliasName }) => AliasName));
    }
    expect(aliases).toEqual(['alias/ExampleAlias']);
  });
});

/** An object as the S3 encryption client stores it: the way to its key is in its metadata. */
interface Stored {
  readonly body: Buffer;
  readonly metadata: {
    readonly 'x-amz-key-v2': string;
    readonly 'x-amz-iv': string;
    readonly 'x-amz-matdesc': string;
    readonly 'x-amz-wrap-alg': 'kms+context';
    readonly 'x-amz-cek-alg': 'AES/GCM/NoPadding';
  };
}

async function putObject(body: Buffer, context: Record<string, string>): Promise<Stored> {
  const EncryptionContext = { ...context, 'aws:x-amz-cek-alg': 'AES/GCM/NoPadding' };
  const { Plaintext = new Uint8Array(), CiphertextBlob = new Uint8Array() } = await client.send(
    new sdk.GenerateDataKeyCommand({ KeyId: KEY, KeySpec: 'AES_256', EncryptionContext }),
  );
  const iv = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', Plaintext, iv);
  const sealed = Buffer.concat([cipher.update(body), cipher.final(), cipher.getAuthTag()]);
  return {
    body: sealed,
    metadata: {
      'x-amz-key-v2': Buffer.from(CiphertextBlob).toString('base64'),
      'x-amz-iv': iv.toString('base64'),
      'x-amz-matdesc': JSON.stringify(EncryptionContext),
      'x-amz-wrap-alg': 'kms+context',
      'x-amz-cek-alg': 'AES/GCM/NoPadding',
    },
  };
}

async function getObject({ body, metadata }: Stored): Promise<Buffer> {
  const { Plaintext = new Uint8Array() } = await client.send(
    new sdk.DecryptCommand({
      KeyId: KEY,
      CiphertextBlob: Buffer.from(metadata['x-amz-key-v2'], 'base64'),
      EncryptionContext: JSON.parse(metadata['x-amz-matdesc']) as Record<string, string>,
    }),
  );
  const iv = Buffer.from(metadata['x-amz-iv'], 'base64');
  const decipher = createDecipheriv('aes-256-gcm', Plaintext, iv, { authTagLength: 16 });
  decipher.setAuthTag(body.subarray(-16));
  return Buffer.concat([decipher.update(body.subarray(0, -16)), decipher.final()]);
}

describe('an envelope, as the S3 encryption client makes it', () => {
  const body = randomBytes(100_000);
  const context = { bucket: 'letters' };

  test('opens, and only with the metadata that it was made with', async () => {
    const stored = await putObject(body, context);
    expect(stored.body.includes(body.subarray(0, 32))).toBe(false);
    expect((await getObject(stored)).equals(body)).toBe(true);
    const changed = (metadata: Partial<Stored['metadata']>): Promise<Buffer> =>
      getObject({ ...stored, metadata: { ...stored.metadata, ...metadata } });
    const other = JSON.stringify({ ...context, 'aws:x-amz-cek-alg': 'AES/CBC/PKCS5Padding' });
    await refused(changed({ 'x-amz-matdesc': other }), sdk.InvalidCiphertextException);
    const key = Buffer.from(stored.metadata['x-amz-key-v2'], 'base64');
    key[key.length - 1] = (key.at(-1) ?? 0) ^ 1;
    const flipped = changed({ 'x-amz-key-v2': key.toString('base64') });
    await refused(flipped, sdk.InvalidCiphertextException);
    await expect(changed({ 'x-amz-iv': randomBytes(12).toString('base64') })).rejects.toThrow(
      /unable to authenticate data/,
    );
  });
});

test('an HSM that is killed while the SDK works fails no call', async () => {
  const [first] = await daemon.allActive();
  const id = first?.id ?? '';
  let done = 0;
  const wanted = new AbortController();
  const worker = async (): Promise<void> => {
    while (!wanted.signal.aborted) {
      const Plaintext = randomBytes(32);
      const made = await client.send(new sdk.EncryptCommand({ KeyId: KEY, Plaintext }));
      const opened = await client.send(
        new sdk.DecryptCommand({ CiphertextBlob: made.CiphertextBlob }),
      );
      expect(Plaintext.equals(opened.Plaintext ?? Buffer.alloc(0))).toBe(true);
      done += 1;
    }
  };
  const until = async (count: number): Promise<void> => {
    await expect.poll(() => done, { timeout: 30_000 }).toBeGreaterThanOrEqual(count);
  };
  const workers = Promise.all(Array.from({ length: 8 }, worker));
  const killing = (async (): Promise<void> => {
    await until(50);
    await callAdmin(daemon.home, 'HsmKill', { id });
    await until(done + 100);
    await callAdmin(daemon.home, 'HsmStart', { id });
    await daemon.hsm(id);
    await until(done + 50);
  })();
  await Promise.race([killing, workers]);
  wanted.abort();
  await workers;
  await killing;
  expect(done).toBeGreaterThanOrEqual(200);
});
