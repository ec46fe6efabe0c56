import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { newHsmKeyId, type HsmKeyId } from '../../src/core/ids.js';
import { LIMITS } from '../../src/core/limits.js';
import type { HsmResults } from '../../src/protocol/hsm-frames.js';
import { HsmHost, PASSWORDS, type FrameClient } from '../support/hsm-host.js';

/** By frames alone: an HSM decides itself who finds what. */
let host: HsmHost;
let client: FrameClient;
const sessions: Record<string, number> = {};
const ids: Record<string, HsmKeyId> = {};

type Found = HsmResults['object-find'];
const as = (who: string): { session: number } => ({ session: sessions[who] ?? 0 });
const find = (who: string, page: object = {}): Promise<Found> =>
  client.ask<'object-find'>('object-find', { limit: 100, ...page }, as(who));
const codeOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'done',
    (error: { code: string }) => error.code,
  );

let count = 0;
const named = (given: object, more: object = {}): { keyId: HsmKeyId } => {
  count += 1;
  const reference = `0x${count.toString(16).padStart(16, '0')}`;
  const rest = { reference, label: `object ${count}`, given, pkcs11: true, ...more };
  return { keyId: newHsmKeyId(), ...rest };
};

/** An object of Alice's on the token. */
async function create(kind: string, isPrivate: boolean, content: object = {}): Promise<HsmKeyId> {
  const key = named({
    private: isPrivate,
    modifiable: true,
    destroyable: true,
    extractable: false,
  });
  const fields = { key, content: { kind, value: Buffer.from(kind), ...content } };
  const { masked } = await client.ask<'object-create'>('object-create', fields, as('alice'));
  await client.ask('insert', { masked }, as('app_user'));
  return key.keyId;
}

beforeAll(async () => {
  host = await HsmHost.open();
  const hsm = await host.newHsm().start();
  client = await hsm.connect();
  sessions['admin'] = await host.found(hsm, client);
  for (const username of ['alice', 'bob', 'carol']) {
    const user = { username, role: 'crypto-user', password: PASSWORDS.user };
    await client.ask('user-create', user, as('admin'));
    sessions[username] = await client.login(username, PASSWORDS.user);
  }
  sessions['app_user'] = await client.login('app_user', PASSWORDS.appUser);
  const aes = { type: 'aes', value: Buffer.alloc(16, 1) };
  ids['secret'] = await create('secret-key', true, aes);
  ids['certificate'] = await create('certificate', true);
  ids['open'] = await create('certificate', false);
  ids['data'] = await create('data', false);
  ids['shared'] = await create('data', true);
  const fields = { keyId: ids['shared'], change: { share: ['bob'] } };
  const { masked } = await client.ask<'record-prepare'>('record-prepare', fields, as('alice'));
  await client.ask('record-apply', { masked }, as('app_user'));
});
afterAll(() => host[Symbol.asyncDispose]());

const namesOf = ({ objects }: Found): (string | undefined)[] =>
  objects.map(({ id }) => Object.entries(ids).find(([, one]) => one === id)?.[0]);

describe('a login finds', () => {
  test.each([
    ['alice', ['secret', 'certificate', 'open', 'data', 'shared']],
    ['bob', ['open', 'data', 'shared']],
    ['carol', ['open', 'data']],
    ['admin', ['open', 'data']],
    ['app_user', ['open', 'data']],
  ])('as %s: %j', async (who, names) => {
    expect(namesOf(await find(who))).toEqual(names);
    expect(namesOf(await find(who, { ids: Object.values(ids) }))).toEqual(names);
    for (const [name, keyId] of Object.entries(ids)) {
      const told = await codeOf(client.ask('object-reveal', { keyId }, as(who)));
      const own = name === 'secret' && who === 'alice' ? 'HsmUsageRefused' : 'done';
      expect([name, told]).toEqual([name, names.includes(name) ? own : 'HsmKeyNotFound']);
    }
  });

  test('nothing without a login', async () => {
    for (const operation of ['object-find', 'object-reveal', 'object-create', 'object-copy']) {
      expect(await codeOf(client.ask(operation as 'object-find', { limit: 1 }))).toBe(
        'HsmNotLoggedIn',
      );
    }
  });

  test("and changes, copies and deletes nothing of another's", async () => {
    for (const [who, keyId, code] of [
      ['bob', ids['shared'], 'HsmRoleRefused'],
      ['carol', ids['open'], 'HsmRoleRefused'],
      ['carol', ids['certificate'], 'HsmKeyNotFound'],
    ] as const) {
      const change = { keyId, change: { label: 'x' } };
      expect(await codeOf(client.ask('record-prepare', change, as(who)))).toBe(code);
      expect(await codeOf(client.ask('key-destroyable', { keyId }, as(who)))).toBe(code);
      const copy = { fromId: keyId, key: named({}) };
      expect(await codeOf(client.ask('object-copy', copy, as(who)))).toBe(code);
    }
  });

  test('no certificate and no data among keys, and works with none as with a key', async () => {
    const filter = { attributes: {} };
    const keys = await client.ask<'key-find'>(
      'key-find',
      { filter, limit: 100, verbose: false },
      as('alice'),
    );
    expect(keys.keys.map(({ id }) => id)).toEqual([ids['secret']]);
    const keyId = ids['certificate'];
    const sign = { keyId, mechanism: { name: 'ecdsa' }, data: Buffer.of(1), digested: false };
    expect(await codeOf(client.ask('key-sign', sign, as('alice')))).toBe('HsmUsageRefused');
    const mechanism = { name: 'aes-zero-pad' };
    const wrap = { payloadId: keyId, wrappingId: ids['secret'], mechanism };
    expect(await codeOf(client.ask('key-wrap', wrap, as('alice')))).toBe('HsmUsageRefused');
  });
});

describe('pages', () => {
  test('are as long as they are asked for, one behind the other', async () => {
    const first = await find('alice', { limit: 2 });
    expect(first.more).toBe(true);
    const after = first.objects.at(-1)?.object.reference;
    const rest = await find('alice', { after });
    expect([...namesOf(first), ...namesOf(rest)]).toEqual(Object.keys(ids));
    expect(rest.more).toBe(false);
    const some = { ids: [ids['data'], newHsmKeyId(), ids['secret'], ids['data']], limit: 1 };
    expect(namesOf(await find('alice', some))).toEqual(['secret']);
    expect((await find('alice', some)).more).toBe(true);
  });

  test('end before a frame is full', async () => {
    const session = await client.login('carol', PASSWORDS.user);
    const extra = { '16': Buffer.alloc(LIMITS.p11_extra_max_bytes) };
    const content = { kind: 'data', value: Buffer.alloc(1) };
    const made = 450;
    for (let at = 0; at < made; at += 1) {
      const fields = { key: named({ private: true }, { extra }), content, isSession: true };
      await client.ask('object-create', fields, { session });
    }
    const seen = new Set<string>();
    let pages = 0;
    let after: string | undefined;
    for (let more = true; more; pages += 1) {
      const page = { limit: LIMITS.p11_object_page_max, after };
      const found = await client.ask<'object-find'>('object-find', page, { session });
      for (const { id } of found.objects) seen.add(id);
      after = found.objects.at(-1)?.object.reference;
      ({ more } = found);
    }
    expect(pages).toBeGreaterThan(1);
    // with what everybody finds
    expect(seen.size).toBe(made + 2);
  });
});
