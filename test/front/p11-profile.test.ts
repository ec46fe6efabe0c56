import { writeFileSync, mkdirSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CKA, CKM, CKR } from '../../src/core/pkcs11.js';
import { DaemonFixture } from '../support/daemon-fixture.js';
import { P11Client } from '../support/p11-client.js';
import { aesKey, template } from '../support/p11-fixture.js';
import { callAdmin } from '../../src/cli/admin-client.js';

let daemon: DaemonFixture;
let client: P11Client;
let session = 0;
let slot = 0;
beforeAll(async () => {
  daemon = DaemonFixture.prepare();
  mkdirSync(daemon.home.root, { recursive: true });
  writeFileSync(daemon.home.config, 'pkcs11Profile: cloudhsm\npkcs11User: crypto_user\n');
  await daemon.up();
  client = await P11Client.connect(daemon.home.pkcs11Socket);
  [slot = 0] = await client.slots();
  session = await client.open(slot);
  const { cryptoUser } = await callAdmin(daemon.home, 'Credentials');
  await client.login(session, cryptoUser?.password ?? '');
});
afterAll(async () => {
  await client.close();
  await daemon[Symbol.asyncDispose]();
});

test('the profile cloudhsm has the calls and mechanisms of its client alone', async () => {
  const mechanisms = await client.mechanisms(slot);
  expect(mechanisms).toContain(CKM.AES_GCM);
  expect(mechanisms).not.toContain(CKM.SHA256_HMAC_GENERAL);
  const key = await client.create(session, aesKey(randomBytes(32)));
  expect(await client.code('C_CopyObject', [session, key, []])).toBe(CKR.FUNCTION_NOT_SUPPORTED);
  expect(await client.code('C_GetObjectSize', [session, key])).toBe(CKR.FUNCTION_NOT_SUPPORTED);
});

test('and its defaults, also those that bite', async () => {
  const mechanism = { type: CKM.AES_KEY_GEN };
  const key = await client.generateKey(session, mechanism, template({ [CKA.VALUE_LEN]: 32 }));
  const flags = [CKA.ENCRYPT, CKA.SIGN, CKA.EXTRACTABLE, CKA.SENSITIVE, CKA.PRIVATE];
  const values = await Promise.all(flags.map((type) => client.attribute(session, key, type)));
  expect(values).toEqual([false, true, true, true, true]);
  const open = template({ [CKA.VALUE_LEN]: 32, [CKA.SENSITIVE]: false });
  expect(await client.code('C_GenerateKey', [session, mechanism, open])).toBe(
    CKR.TEMPLATE_INCONSISTENT,
  );
  const asked = template({ [CKA.VALUE_LEN]: 32, [CKA.ENCRYPT]: true, [CKA.TOKEN]: true });
  const named = await client.generateKey(session, mechanism, asked);
  expect(await client.attribute(session, named, CKA.ENCRYPT)).toBe(true);
});
