import { afterAll, beforeAll, expect, test } from 'vitest';
import { openPkcs11Stream } from '../../src/client/pkcs11-stream.js';
import { CKA, CKM } from '../../src/core/pkcs11.js';
import { P11Client } from '../support/p11-client.js';
import { P11Fixture, template } from '../support/p11-fixture.js';

let fixture: P11Fixture;
beforeAll(async () => {
  fixture = await P11Fixture.start();
});
afterAll(async () => {
  await fixture[Symbol.asyncDispose]();
});

test('an application on another machine comes in by an ENI, with a certificate', async () => {
  const { endpoints, cluster } = await fixture.daemon.status();
  const [endpoint = ''] = endpoints.websocket;
  const client = await P11Client.over(
    await openPkcs11Stream({ endpoint, ...fixture.daemon.pems() }),
  );
  const [slot = 0] = await client.slots();
  expect((await client.call('C_GetTokenInfo', [slot]))[0]).toBe(cluster.id);
  const session = await client.open(slot);
  await client.login(session, fixture.pin);
  const key = template({ [CKA.VALUE_LEN]: 16, [CKA.TOKEN]: true, [CKA.LABEL]: 'far' });
  await client.generateKey(session, { type: CKM.AES_KEY_GEN }, key);
  // more than one message in both directions
  expect(await client.random(session, 600_000)).toHaveLength(600_000);
  const data = Buffer.alloc(3_000_000, 7);
  expect(await client.digest(session, { type: CKM.SHA256 }, data)).toHaveLength(32);
  client.stream.end();
  const near = await fixture.open();
  const found = await near.client.find(near.session, template({ [CKA.LABEL]: 'far' }));
  expect(found).toHaveLength(1);
});

test('one whose certificate nobody signed stays outside', async () => {
  const { endpoints } = await fixture.daemon.status();
  const [endpoint = ''] = endpoints.websocket;
  const { ca } = fixture.daemon.pems();
  const other = await P11Fixture.start();
  try {
    const { certificate, privateKey } = other.daemon.pems();
    const opening = openPkcs11Stream({ endpoint, ca, certificate, privateKey });
    const stream = await opening.catch((error: unknown) => error);
    expect(stream).toMatchObject({ code: 'KeyspanConnection' });
  } finally {
    await other[Symbol.asyncDispose]();
  }
});
