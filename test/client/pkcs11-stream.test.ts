import { afterAll, beforeAll, expect, test } from 'vitest';
import { callAdmin } from '../../src/cli/admin-client.js';
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
  const client = await P11Client.over(
    await openPkcs11Stream({ endpoints: endpoints.websocket, ...fixture.daemon.pems() }),
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
  const { ca } = fixture.daemon.pems();
  const other = await P11Fixture.start();
  try {
    const { certificate, privateKey } = other.daemon.pems();
    const opening = openPkcs11Stream({
      endpoints: endpoints.websocket,
      ca,
      certificate,
      privateKey,
    });
    const stream = await opening.catch((error: unknown) => error);
    expect(stream).toMatchObject({ code: 'KeyspanConnection' });
  } finally {
    await other[Symbol.asyncDispose]();
  }
});

test('what does not answer is passed over, and what is not TLS is not asked', async () => {
  const { endpoints } = await fixture.daemon.status();
  const pems = fixture.daemon.pems();
  const open = async (...given: string[]): Promise<number> => {
    const client = await P11Client.over(await openPkcs11Stream({ endpoints: given, ...pems }));
    const { length } = await client.slots();
    client.stream.end();
    return length;
  };
  const dead = 'wss://127.0.0.1:1/v1/us-east-1';
  expect(await open(dead, ...endpoints.websocket)).toBe(1);
  await expect(open(dead)).rejects.toMatchObject({ code: 'KeyspanConnection' });
  const [eni = ''] = endpoints.websocket;
  for (const wrong of [eni.replace('wss:', 'ws:'), eni.replace('wss:', 'http:'), 'eni', '']) {
    await expect(open(wrong)).rejects.toMatchObject({ code: 'KeyspanUsage' });
  }
  await expect(open()).rejects.toMatchObject({ code: 'KeyspanUsage' });
  const elsewhere = eni.replace(/v1.*$/, 'v1/nowhere');
  await expect(open(elsewhere)).rejects.toThrow(/404/);
});

test('it lasts as long as its ENI, and the next one comes in by another', async () => {
  const { endpoints, cluster } = await fixture.daemon.status();
  const given = { endpoints: endpoints.websocket, ...fixture.daemon.pems() };
  const client = await P11Client.over(await openPkcs11Stream(given));
  const [slot = 0] = await client.slots();
  const [first] = cluster.hsms;
  await callAdmin(fixture.daemon.home, 'HsmKill', { id: first?.id ?? '' });
  await expect
    .poll(() => client.slots().then(String, () => 'gone'), { timeout: 10_000 })
    .toBe('gone');
  const next = await P11Client.over(await openPkcs11Stream(given));
  const session = await next.open(slot);
  await next.login(session, fixture.pin);
  expect(await next.random(session, 16)).toHaveLength(16);
  next.stream.end();
});
