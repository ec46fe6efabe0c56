import { createPrivateKey } from 'node:crypto';
import { expect, test } from 'vitest';
import { newHsmKeyId } from '../../src/core/ids.js';
import { newClusterKey } from '../../src/hsm/cluster-key.js';
import { HsmHost, PASSWORDS } from '../support/hsm-host.js';

test('a key is RSA of 2048 bits, and never the same', async () => {
  const [one, two] = await Promise.all([newClusterKey(), newClusterKey()]);
  const read = createPrivateKey({ key: one, format: 'der', type: 'pkcs8' });
  expect(read.asymmetricKeyDetails).toMatchObject({ modulusLength: 2048 });
  expect(one).not.toEqual(two);
});

test('what a founder made ahead is one key of its cluster, and no other', async () => {
  await using host = await HsmHost.open();
  const hsm = host.newHsm();
  Object.assign(hsm.launch, { founds: true });
  await hsm.start();
  const client = await hsm.connect();
  await host.found(hsm, client);
  const as = { session: await client.login('app_user', PASSWORDS.appUser), epoch: 1 };
  const keys: string[] = [];
  for (const keyId of [newHsmKeyId(), newHsmKeyId()]) {
    const fields = { keyId, kind: 'cluster-key', label: 'cluster' };
    const { masked } = await client.ask<'generate'>('generate', fields, as);
    await client.ask('insert', { masked }, as);
    const { privateKey } = await client.ask<'cluster-key'>('cluster-key', { keyId }, as);
    keys.push(Buffer.from(privateKey).toString('hex'));
  }
  expect(new Set(keys).size).toBe(2);
});
