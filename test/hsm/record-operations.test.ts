import { afterAll, beforeAll, expect, test } from 'vitest';
import { newHsmKeyId } from '../../src/core/ids.js';
import type { HsmResults } from '../../src/protocol/hsm-frames.js';
import { HsmHost, PASSWORDS, type FrameClient, type TestHsm } from '../support/hsm-host.js';

const refused = (code: string): unknown => expect.objectContaining({ code });
const NO_AAD = Buffer.alloc(0);

/** A real HSM process, spoken to without anything of the daemon between. */
let host: HsmHost;
let hsm: TestHsm;
let client: FrameClient;
const sessions = { appliance: 0, alice: 0, bob: 0 };

beforeAll(async () => {
  host = await HsmHost.open();
  hsm = await host.newHsm().start();
  client = await hsm.connect();
  const admin = await host.found(hsm, client);
  for (const username of ['alice', 'bob']) {
    const fields = { username, role: 'crypto-user', password: PASSWORDS.user };
    await client.ask('user-create', fields, { session: admin });
  }
  await loginAll();
});
afterAll(() => host[Symbol.asyncDispose]());

async function loginAll(): Promise<void> {
  sessions.appliance = await client.login('app_user', PASSWORDS.appUser);
  sessions.alice = await client.login('alice', PASSWORDS.user);
  sessions.bob = await client.login('bob', PASSWORDS.user);
}

/** A key of one user, on the token. */
async function newKey(session: number): Promise<HsmResults['insert']> {
  const fields = { keyId: newHsmKeyId(), kind: 'aes-256', label: 'a key' };
  const { masked } = await client.ask<'generate'>('generate', fields, { session });
  return await client.ask<'insert'>('insert', { masked }, { session });
}

const seal = (session: number, keyId: string, text: string): Promise<HsmResults['encrypt']> =>
  client.ask<'encrypt'>('encrypt', { keyId, aad: NO_AAD, data: Buffer.from(text) }, { session });

async function open(
  session: number,
  keyId: string,
  { iv, data }: HsmResults['encrypt'],
): Promise<string> {
  const fields = { keyId, iv, aad: NO_AAD, data };
  const opened = await client.ask<'decrypt'>('decrypt', fields, { session });
  return Buffer.from(opened.data).toString();
}

type Carried = HsmResults['record-prepare'];
const prepare = (session: number, keyId: string, change: object): Promise<Carried> =>
  client.ask<'record-prepare'>('record-prepare', { keyId, change }, { session });
const apply = ({ masked }: Pick<Carried, 'masked'>): Promise<HsmResults['record-apply']> =>
  client.ask<'record-apply'>('record-apply', { masked }, { session: sessions.appliance });

async function changeKey(keyId: string, change: object): Promise<Carried> {
  const prepared = await prepare(sessions.alice, keyId, change);
  await apply(prepared);
  return prepared;
}
const labelOf = async (keyId: string, session: number): Promise<string | undefined> => {
  const { keys } = await client.ask<'find'>('find', { after: '', limit: 2_000 }, { session });
  return keys.find(({ id }) => id === keyId)?.label;
};

test('a change is decided at once, binds when it is applied, and so does its undoing', async () => {
  const { keyId } = await newKey(sessions.alice);
  const sealed = await seal(sessions.alice, keyId, 'hers');
  const shared = await prepare(sessions.alice, keyId, { share: ['bob'], label: 'ours' });
  expect(shared.revision).toBe(2);
  await expect(open(sessions.bob, keyId, sealed)).rejects.toEqual(refused('HsmKeyNotFound'));
  expect(await apply(shared)).toEqual({ revision: 2, digest: shared.digest });
  expect(await open(sessions.bob, keyId, sealed)).toBe('hers');
  expect(await labelOf(keyId, sessions.bob)).toBe('ours');
  // the request that follows the answer is decided by the new record
  await changeKey(keyId, { unshare: ['BOB'] });
  await expect(open(sessions.bob, keyId, sealed)).rejects.toEqual(refused('HsmKeyNotFound'));
  expect(await labelOf(keyId, sessions.bob)).toBeUndefined();
  expect(await open(sessions.alice, keyId, sealed)).toBe('hers');
});

test('a change of what a key may be used for', async () => {
  const { keyId } = await newKey(sessions.alice);
  const sealed = await seal(sessions.alice, keyId, 'hers');
  await changeKey(keyId, { usage: { encrypt: false } });
  await expect(seal(sessions.alice, keyId, 'x')).rejects.toEqual(refused('HsmUsageRefused'));
  expect(await open(sessions.alice, keyId, sealed)).toBe('hers');
  await changeKey(keyId, { usage: { encrypt: true } });
  await seal(sessions.alice, keyId, 'x');
});

test("a change is the owner's alone: a sharee is refused, a stranger sees nothing", async () => {
  const { keyId } = await newKey(sessions.alice);
  const absent = newHsmKeyId();
  const asStranger = prepare(sessions.bob, keyId, { share: ['bob'] }).catch((e: unknown) => e);
  const ofNobodys = prepare(sessions.bob, absent, { share: ['bob'] }).catch((e: unknown) => e);
  expect(await asStranger).toEqual(refused('HsmKeyNotFound'));
  expect(await asStranger).toEqual(await ofNobodys);
  await changeKey(keyId, { share: ['bob'] });
  for (const change of [{ unshare: ['bob'] }, { label: 'his' }, { usage: { decrypt: false } }]) {
    await expect(prepare(sessions.bob, keyId, change)).rejects.toEqual(refused('HsmRoleRefused'));
  }
  await expect(prepare(sessions.alice, keyId, { share: ['nobody'] })).rejects.toEqual(
    refused('HsmUserNotFound'),
  );
});

test('a record that is forged or of another key is refused', async () => {
  const [one, two] = [await newKey(sessions.alice), await newKey(sessions.alice)];
  const { masked } = await prepare(sessions.alice, one.keyId, { share: ['bob'] });
  for (const at of [0, 20, Math.floor(masked.length / 2), masked.length - 1]) {
    const copy = Buffer.from(masked);
    copy[at] = (copy[at] ?? 0) ^ 1;
    await expect(apply({ masked: copy })).rejects.toEqual(refused('HsmBadRecord'));
  }
  const whole = await client.ask<'extract'>(
    'extract',
    { keyId: two.keyId },
    { session: sessions.appliance },
  );
  await expect(apply(whole)).rejects.toEqual(refused('HsmBadRecord'));
  const insert = client.ask('insert', { masked }, { session: sessions.appliance });
  await expect(insert).rejects.toEqual(refused('HsmBadRecord'));
  await client.ask('destroy', { keyId: one.keyId }, { session: sessions.alice });
  await expect(apply({ masked })).rejects.toEqual(refused('HsmKeyNotFound'));
});

test('a record that is stale undoes nothing, and the same again is the same', async () => {
  const { keyId } = await newKey(sessions.alice);
  const sealed = await seal(sessions.alice, keyId, 'hers');
  const shared = await changeKey(keyId, { share: ['bob'] });
  const [lost, won] = [
    await prepare(sessions.alice, keyId, { label: 'lost' }),
    await prepare(sessions.alice, keyId, { unshare: ['bob'] }),
  ];
  await apply(won);
  for (const stale of [shared, lost]) {
    await expect(apply(stale)).rejects.toEqual(refused('HsmRecordStale'));
  }
  expect(await apply(won)).toEqual({ revision: 3, digest: won.digest });
  await expect(open(sessions.bob, keyId, sealed)).rejects.toEqual(refused('HsmKeyNotFound'));
});

test('a changed record travels with the key, and is told by the inventory', async () => {
  const { keyId } = await newKey(sessions.alice);
  const { digest } = await changeKey(keyId, { share: ['bob'], label: 'two' });
  const as = { session: sessions.appliance };
  const page = { after: '', limit: 2_000 };
  const { items } = await client.ask<'inventory'>('inventory', page, as);
  const item = items.find(({ id }) => id === keyId);
  expect(item).toMatchObject({ revision: 2, digest });
  expect(await client.ask('record-extract', { keyId }, as)).toMatchObject({ digest });
  const { masked } = await client.ask<'extract'>('extract', { keyId }, as);
  await client.ask('discard', { keyId }, as);
  const back = await client.ask<'insert'>('insert', { masked }, as);
  expect(back).toMatchObject({ keyId, revision: 2 });
  await seal(sessions.bob, keyId, 'x');
});

test('a record that was applied outlives kill -9', async () => {
  const { keyId } = await newKey(sessions.alice);
  await changeKey(keyId, { label: 'changed', usage: { encrypt: false }, share: ['bob'] });
  client = await hsm.restart();
  await loginAll();
  await expect(seal(sessions.bob, keyId, 'x')).rejects.toEqual(refused('HsmUsageRefused'));
  expect(await labelOf(keyId, sessions.bob)).toBe('changed');
});
