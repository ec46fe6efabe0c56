import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { deadlineIn, pause } from '../../src/core/deadline.js';
import { newHsmKeyId } from '../../src/core/ids.js';
import { LIMITS } from '../../src/core/limits.js';
import { HsmHost, PASSWORDS, type FrameClient, type TestHsm } from '../support/hsm-host.js';

let host: HsmHost;
let hsm: TestHsm;
let client: FrameClient;
let alice: number;

beforeAll(async () => {
  host = await HsmHost.open();
  hsm = await host.newHsm().start();
  client = await hsm.connect();
  const session = await host.found(hsm, client);
  const fields = { username: 'alice', role: 'crypto-user', password: PASSWORDS.user };
  await client.ask('user-create', fields, { session });
  alice = await client.login('alice', PASSWORDS.user);
});
afterAll(() => host[Symbol.asyncDispose]());

async function newKey(): Promise<string> {
  const fields = { keyId: newHsmKeyId(), kind: 'aes-256', label: 'a key' };
  const { masked } = await client.ask<'generate'>('generate', fields, { session: alice });
  return (await client.ask<'insert'>('insert', { masked }, { session: alice })).keyId;
}

/** As `down` and `up`. @param afresh nothing is known but what the token itself holds */
async function startAgain({ afresh = false } = {}): Promise<void> {
  await hsm.process?.stop(deadlineIn(LIMITS.hsm_stop_timeout_ms));
  await hsm.exited();
  const manifest = join(hsm.launch.directory, 'manifest');
  expect(existsSync(manifest)).toBe(true);
  if (afresh) rmSync(manifest);
  await hsm.start();
  client = await hsm.connect();
  alice = await client.login('alice', PASSWORDS.user);
}

/** The ids that the HSM says it holds. */
async function held(recorded: boolean): Promise<string[]> {
  const session = await client.login('app_user', PASSWORDS.appUser);
  const fields = { after: '', limit: LIMITS.hsm_inventory_page_max, recorded };
  const { items, packed } = await client.ask<'inventory'>('inventory', fields, { session });
  const ids = packed ? (Buffer.from(packed.ids).toString('hex').match(/.{32}/g) ?? []) : [];
  expect(packed === undefined).toBe(!recorded);
  expect(Buffer.from(packed?.proofs ?? []).length).toBe(16 * ids.length);
  return [...ids, ...items.map(({ id }) => id)].sort();
}

test('what was there at an end in good order is there at the next start, and works', async () => {
  const keyIds = [await newKey(), await newKey(), await newKey()];
  const [keyId] = keyIds;
  const work = { keyId, aad: Buffer.alloc(0) };
  const data = Buffer.from('noted');
  const sealed = await client.ask<'encrypt'>('encrypt', { ...work, data }, { session: alice });
  const before = await client.ask<'info'>('info', {});
  await startAgain();
  const after = await client.ask<'info'>('info', {});
  expect(after).toMatchObject({ keys: before.keys, users: before.users, epoch: before.epoch });
  expect(await held(true)).toEqual(keyIds.sort());
  expect(await held(false)).toEqual(keyIds.sort());
  const opened = await client.ask<'decrypt'>('decrypt', { ...work, ...sealed }, { session: alice });
  expect(Buffer.from(opened.data).toString()).toBe('noted');
});

test('what changes after such a start holds at the next one', async () => {
  await startAgain();
  const [gone, ...kept] = await held(true);
  await client.ask('destroy', { keyId: gone }, { session: alice });
  const added = await newKey();
  await startAgain();
  expect(await held(true)).toEqual([...kept, added].sort());
});

test('a changed record holds at such a start: it is on the list, and it binds', async () => {
  const keyId = await newKey();
  const change = { label: 'new', usage: { encrypt: false, decrypt: true } };
  const fields = { keyId, change };
  const prepared = await client.ask<'record-prepare'>('record-prepare', fields, { session: alice });
  const appliance = await client.login('app_user', PASSWORDS.appUser);
  const { masked, digest } = prepared;
  await client.ask('record-apply', { masked }, { session: appliance });
  await startAgain();
  const session = await client.login('app_user', PASSWORDS.appUser);
  const all = { after: '', limit: LIMITS.hsm_inventory_page_max };
  for (const recorded of [true, false]) {
    const asked = { ...all, recorded };
    const { items } = await client.ask<'inventory'>('inventory', asked, { session });
    expect(items.find(({ id }) => id === keyId)).toMatchObject({ revision: 2, digest });
  }
  const work = { keyId, aad: Buffer.alloc(0), data: Buffer.from('x') };
  await expect(client.ask('encrypt', work, { session: alice })).rejects.toMatchObject({
    code: 'HsmUsageRefused',
  });
});

test('what was done for a peer that is gone is on the list of the next start, too', async () => {
  // the end comes within the making of a copy, just after it, and between the two
  for (let attempt = 0; attempt < 16; attempt += 1) {
    const fields = { keyId: newHsmKeyId(), kind: 'aes-256', label: 'a key' };
    const { masked } = await client.ask<'generate'>('generate', fields, { session: alice });
    client.ask('insert', { masked }, { session: alice }).catch(() => undefined);
    await client.ask('info', {});
    client.end();
    await client.closed;
    await pause(attempt / 8);
    await startAgain();
    const noted = await held(true);
    await startAgain({ afresh: true });
    expect(noted).toEqual(await held(false));
  }
});
