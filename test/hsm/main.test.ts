import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { deadlineIn } from '../../src/core/deadline.js';
import { newHsmKeyId } from '../../src/core/ids.js';
import { LIMITS } from '../../src/core/limits.js';
import type { HsmResults } from '../../src/protocol/hsm-frames.js';
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

/** As `down` and `up`. */
async function startAgain(): Promise<void> {
  await hsm.process?.stop(deadlineIn(LIMITS.hsm_stop_timeout_ms));
  await hsm.exited();
  expect(existsSync(join(hsm.launch.directory, 'manifest'))).toBe(true);
  await hsm.start();
  client = await hsm.connect();
  alice = await client.login('alice', PASSWORDS.user);
}

async function inventory(recorded: boolean): Promise<HsmResults['inventory']> {
  const session = await client.login('app_user', PASSWORDS.appUser);
  const fields = { after: '', limit: LIMITS.hsm_inventory_page_max, recorded };
  return await client.ask<'inventory'>('inventory', fields, { session });
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
  const recorded = await inventory(true);
  expect(recorded.items.map(({ id }) => id)).toEqual(keyIds.sort());
  expect(await inventory(false)).toEqual(recorded);
  const opened = await client.ask<'decrypt'>('decrypt', { ...work, ...sealed }, { session: alice });
  expect(Buffer.from(opened.data).toString()).toBe('noted');
});

test('what changes after such a start holds at the next one', async () => {
  await startAgain();
  const { items } = await inventory(true);
  const [gone] = items;
  await client.ask('destroy', { keyId: gone?.id }, { session: alice });
  const added = await newKey();
  await startAgain();
  const ids = (await inventory(true)).items.map(({ id }) => String(id));
  const kept = items.slice(1).map(({ id }) => String(id));
  expect(ids).toEqual([...kept, added].sort());
});
