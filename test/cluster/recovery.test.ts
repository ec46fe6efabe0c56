import {
  X509Certificate,
  constants,
  generateKeyPairSync,
  privateDecrypt,
  randomBytes,
} from 'node:crypto';
import { expect, test } from 'vitest';
import { Recovery } from '../../src/cluster/recovery.js';
import { newShelf } from '../support/backup-shelf.js';

const secret = { wrap: randomBytes(32), seal: randomBytes(32), auth: randomBytes(32) };
const copied = (keys: typeof secret): typeof secret => ({
  wrap: Buffer.from(keys.wrap),
  seal: Buffer.from(keys.seal),
  auth: Buffer.from(keys.auth),
});

test('the hardware certifies the recovery key, and it is made once', async () => {
  const { store, secrets } = await newShelf();
  const [one, two] = [new Recovery(store, secrets), new Recovery(store, secrets)];
  const chains = await Promise.all([one, one, two].map((recovery) => recovery.certificates()));
  expect(new Set(chains.map(([leaf]) => leaf)).size).toBe(1);
  const [leaf = '', hardware = ''] = chains[0] ?? [];
  const certificate = new X509Certificate(leaf);
  expect(certificate.verify(new X509Certificate(hardware).publicKey)).toBe(true);
  expect(certificate.ca).toBe(false);
  expect(certificate.subject).toContain('CN=Keyspan backup recovery');
  expect(certificate.publicKey.asymmetricKeyDetails?.modulusLength).toBe(2048);
  expect(await new Recovery(store, secrets).certificates()).toEqual(chains[0]);
});

test('what was wrapped for it is wrapped anew for another key', async () => {
  const { store, secrets } = await newShelf();
  const recovery = new Recovery(store, secrets);
  const wrapped = await recovery.wrap(secret);
  const joiner = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const spki = joiner.publicKey.export({ format: 'der', type: 'spki' });
  const again = await recovery.rewrap(wrapped, spki);
  for (const role of ['wrap', 'seal', 'auth'] as const) {
    const opened = privateDecrypt(
      {
        key: joiner.privateKey,
        padding: constants.RSA_PKCS1_OAEP_PADDING,
        oaepHash: 'sha1',
      },
      again[role],
    );
    expect(opened).toEqual(secret[role]);
  }
});

test('what it opens is wiped after the work', async () => {
  const { store, secrets } = await newShelf();
  const recovery = new Recovery(store, secrets);
  const held: Uint8Array[] = [];
  const seen = await recovery.open(await recovery.wrap(secret), (keys) => {
    held.push(keys.wrap, keys.seal, keys.auth);
    return copied(keys as typeof secret);
  });
  expect(seen).toEqual(secret);
  for (const key of held) expect(key.every((byte) => byte === 0)).toBe(true);
});

test('what was wrapped for another installation is refused', async () => {
  const [here, there] = [await newShelf(), await newShelf()];
  const wrapped = await new Recovery(there.store, there.secrets).wrap(secret);
  const recovery = new Recovery(here.store, here.secrets);
  await expect(recovery.open(wrapped, () => undefined)).rejects.toMatchObject({
    code: 'KeyspanBackupRefused',
  });
});
