import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { joinParts } from '../../src/core/commit.js';
import { newClusterId, newHsmId } from '../../src/core/ids.js';
import { makeAuthority } from '../../src/cluster/certificates.js';
import { Secrets, newPassword } from '../../src/cluster/secrets.js';
import { KEYSPACE } from '../../src/store/keyspace.js';
import { MemoryStore } from '../../src/store/memory.js';
import { InstallationKey, Sealer } from '../../src/store/sealed.js';
import { expectCode } from '../support/store-calls.js';

const newSealer = (): Sealer => new Sealer(new InstallationKey(randomBytes(32)));

test('what the store gives back is in the store only sealed', async () => {
  await using store = new MemoryStore();
  const secrets = new Secrets(store, newSealer());
  const [cluster, hsm] = [newClusterId(), newHsmId()];
  const authority = await makeAuthority('somebody');
  await store.commit(
    joinParts(
      secrets.newPins(cluster, hsm),
      secrets.newPasswordOf(cluster, 'admin'),
      secrets.newAuthority('clients', authority),
    ),
  );
  const { soPin, userPin } = await secrets.pins(cluster, hsm);
  const password = await secrets.passwordOf(cluster, 'admin');
  const opened = await secrets.authority('clients');
  expect(opened.certificate).toBe(authority.certificate);
  expect(Buffer.from(opened.privateKey)).toEqual(Buffer.from(authority.privateKey));
  const { entries } = await store.range('');
  expect(entries).toHaveLength(3);
  const stored = Buffer.concat(entries.map(({ value }) => value));
  for (const secret of [soPin, userPin, Buffer.from(password), Buffer.from(opened.privateKey)]) {
    expect(secret.length).toBeGreaterThanOrEqual(24);
    expect(stored.includes(secret)).toBe(false);
    expect(stored.includes(Buffer.from(secret.toString('base64')))).toBe(false);
  }
});

test('a secret belongs to its place and to its installation', async () => {
  await using store = new MemoryStore();
  const secrets = new Secrets(store, newSealer());
  const cluster = newClusterId();
  await store.commit(secrets.newPasswordOf(cluster, 'admin'));
  const sealed = (await store.get(KEYSPACE.userSecret(cluster, 'admin')))?.value;
  const key = KEYSPACE.userSecret(cluster, 'crypto_user');
  const writes = [{ op: 'put', key, value: sealed ?? new Uint8Array() }] as const;
  await store.commit({ compares: [], writes });
  await expectCode(secrets.passwordOf(cluster, 'crypto_user'), 'StoreCorrupt');
  await expectCode(new Secrets(store, newSealer()).passwordOf(cluster, 'admin'), 'StoreCorrupt');
  await expectCode(secrets.passwordOf(cluster, 'nobody'), 'StoreCorrupt');
});

test('a secret is never written over another', async () => {
  await using store = new MemoryStore();
  const secrets = new Secrets(store, newSealer());
  const cluster = newClusterId();
  await store.commit(secrets.newPasswordOf(cluster, 'admin'));
  await expectCode(store.commit(secrets.newPasswordOf(cluster, 'admin')), 'StoreConflict');
});

test('passwords use the whole alphabet, and none twice', () => {
  const passwords = Array.from({ length: 500 }, () => newPassword());
  expect(new Set(passwords).size).toBe(500);
  expect(new Set(passwords.join('')).size).toBe(62);
});
