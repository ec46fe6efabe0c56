import {
  buildClient,
  CommitmentPolicy,
  getClient,
  KMS,
  KmsKeyringNode,
  type KmsNodeClientSupplier,
} from '@aws-crypto/client-node';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { DaemonFixture } from '../support/daemon-fixture.js';
import { awsEnvironment, sdkConfig } from '../support/kms-client.js';

/** The AWS Encryption SDK, whose keyrings hold keys of KMS. */
const ACCOUNT = '111122223333';
const arn = (id: string): string => `arn:aws:kms:us-west-2:${ACCOUNT}:key/${id}`;
const FIRST = arn('1234abcd-12ab-34cd-56ef-1234567890ab');
const SECOND = arn('0987dcba-09fe-87dc-65ba-ab0987654321');
const ALIAS = `arn:aws:kms:us-west-2:${ACCOUNT}:alias/letters`;
const SEED = {
  keys: [FIRST, SECOND].map((key, at) => ({
    id: key.slice(-36),
    account: ACCOUNT,
    ...(at === 0 && { aliases: ['alias/letters'] }),
  })),
};

let daemon: DaemonFixture;
let kms: KMS;
let clientProvider: KmsNodeClientSupplier;
beforeAll(async () => {
  daemon = DaemonFixture.prepare();
  mkdirSync(daemon.home.root, { recursive: true });
  const seed = join(daemon.home.root, 'seed.json');
  writeFileSync(seed, JSON.stringify(SEED));
  await daemon.up({ hsms: 1, port: 0, account: ACCOUNT, region: 'us-west-2', seed });
  const config = sdkConfig(await awsEnvironment(daemon));
  clientProvider = getClient(KMS, config);
  kms = new KMS(config);
});
afterAll(async () => {
  kms?.destroy();
  await daemon?.[Symbol.asyncDispose]();
});

const { encrypt, decrypt } = buildClient(CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT);
const encryptionContext = { to: 'bob', purpose: 'letter' };

async function sealed(
  text: string,
  generatorKeyId: string,
  keyIds: string[] = [],
): Promise<Buffer> {
  const keyring = new KmsKeyringNode({ clientProvider, generatorKeyId, keyIds });
  return (await encrypt(keyring, text, { encryptionContext })).result;
}

/** What a message says, and what its context is. */
async function opened(message: Buffer, keyring: KmsKeyringNode): Promise<[string, object]> {
  const { plaintext, messageHeader } = await decrypt(keyring, message);
  return [plaintext.toString(), messageHeader.encryptionContext];
}
const strict = (...keyIds: string[]): KmsKeyringNode =>
  new KmsKeyringNode({ clientProvider, keyIds });
const discovery = (accountID = ACCOUNT): KmsKeyringNode => {
  const discoveryFilter = { accountIDs: [accountID], partition: 'aws' };
  return new KmsKeyringNode({ clientProvider, discovery: true, discoveryFilter });
};

test('a keyring encrypts and decrypts, with a context', async () => {
  const message = await sealed('dear bob', ALIAS);
  expect(message.includes('dear bob')).toBe(false);
  const [text, context] = await opened(message, strict(FIRST));
  expect(text).toBe('dear bob');
  expect(context).toMatchObject(encryptionContext);
  await expect(opened(message, strict(SECOND))).rejects.toThrow(/unencryptedDataKey/i);
});

test('a message under two keys opens with either, when the other is disabled', async () => {
  const message = await sealed('dear bob', FIRST, [SECOND]);
  await kms.disableKey({ KeyId: FIRST });
  try {
    expect((await opened(message, strict(FIRST, SECOND)))[0]).toBe('dear bob');
    await expect(opened(message, strict(FIRST))).rejects.toThrow(/DisabledException|is disabled/);
    await expect(sealed('dear bob', FIRST, [SECOND])).rejects.toThrow(/is disabled/);
  } finally {
    await kms.enableKey({ KeyId: FIRST });
  }
  expect((await opened(message, strict(FIRST)))[0]).toBe('dear bob');
});

test('a discovery keyring finds the key, within its filter', async () => {
  const message = await sealed('dear bob', SECOND);
  expect((await opened(message, discovery()))[0]).toBe('dear bob');
  await expect(opened(message, discovery('123456789012'))).rejects.toThrow(/unencryptedDataKey/i);
});

test('a context that was changed is refused', async () => {
  const message = await sealed('dear bob', FIRST);
  const at = message.indexOf('bob');
  expect(at).toBeGreaterThan(0);
  message.write('eve', at);
  await expect(opened(message, strict(FIRST))).rejects.toThrow(/InvalidCiphertext/);
});
