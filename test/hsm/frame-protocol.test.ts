import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { newBootId, newClusterId, newHsmId, newHsmKeyId } from '../../src/core/ids.js';
import { LIMITS } from '../../src/core/limits.js';
import { encodeFrame } from '../../src/protocol/frame-codec.js';
import {
  HSM_OPERATIONS,
  SOON,
  type HsmOperation,
  type HsmResults,
} from '../../src/protocol/hsm-frames.js';
import { FrameClient, HsmHost, PASSWORDS, soon, type TestHsm } from '../support/hsm-host.js';

const refused = (code: string): unknown => expect.objectContaining({ code });
const NO_AAD = Buffer.alloc(0);

/** A real HSM process, spoken to without anything of the daemon between. */
let host: HsmHost;
let hsm: TestHsm;
let client: FrameClient;
const sessions = { admin: 0, appliance: 0, alice: 0, bob: 0 };

beforeAll(async () => {
  host = await HsmHost.open();
  hsm = await host.newHsm().start();
  client = await hsm.connect();
  sessions.admin = await host.found(hsm, client);
  for (const username of ['alice', 'bob']) await createUser(username);
  await loginAll();
});
afterAll(() => host[Symbol.asyncDispose]());

async function createUser(username: string): Promise<void> {
  const fields = { username, role: 'crypto-user', password: PASSWORDS.user };
  await client.ask('user-create', fields, { session: sessions.admin });
}

async function loginAll(): Promise<void> {
  sessions.admin = await client.login('admin', PASSWORDS.admin);
  sessions.appliance = await client.login('app_user', PASSWORDS.appUser);
  sessions.alice = await client.login('alice', PASSWORDS.user);
  sessions.bob = await client.login('bob', PASSWORDS.user);
}

/** A key of one user, on the token. */
async function newKey(session: number, epoch = 1): Promise<HsmResults['insert']> {
  const fields = { keyId: newHsmKeyId(), kind: 'aes-256', label: 'a key' };
  const { masked } = await client.ask<'generate'>('generate', fields, { session });
  return await client.ask<'insert'>('insert', { masked }, { session, epoch });
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

const info = (): Promise<HsmResults['info']> => client.ask<'info'>('info', {});

describe('who may ask', () => {
  /** operations of a member that need a login, and the roles of the sessions above that may not */
  const guarded = (Object.keys(HSM_OPERATIONS) as HsmOperation[]).filter(
    (name) => HSM_OPERATIONS[name].phase === 'member' && HSM_OPERATIONS[name].roles !== 'anyone',
  );

  test.each(guarded)('%s is refused without a login', async (operation) => {
    await expect(client.ask(operation, {})).rejects.toEqual(refused('HsmNotLoggedIn'));
    const invented = client.ask(operation, {}, { session: 4_000_000 });
    await expect(invented).rejects.toEqual(refused('HsmNotLoggedIn'));
  });

  test.each(guarded)('%s is refused in every other role', async (operation) => {
    const roles = HSM_OPERATIONS[operation].roles as readonly string[];
    const who = { admin: 'admin', appliance: 'appliance-user', alice: 'crypto-user' } as const;
    for (const [name, role] of Object.entries(who)) {
      if (roles.includes(role)) continue;
      const session = sessions[name as keyof typeof who];
      await expect(client.ask(operation, {}, { session })).rejects.toEqual(
        refused('HsmRoleRefused'),
      );
    }
  });

  test('a session belongs to the connection that logged in, and ends with it', async () => {
    const before = (await info()).sessions;
    const other = await hsm.connect();
    const stolen = other.ask('random', { length: 1 }, { session: sessions.alice });
    await expect(stolen).rejects.toEqual(refused('HsmNotLoggedIn'));
    const session = await other.login('alice', PASSWORDS.user);
    expect((await other.ask<'random'>('random', { length: 9 }, { session })).data).toHaveLength(9);
    await expect(client.ask('random', { length: 1 }, { session })).rejects.toEqual(
      refused('HsmNotLoggedIn'),
    );
    other.end();
    await expect.poll(async () => (await info()).sessions, { timeout: 20_000 }).toBe(before);
  });

  test('a session ends with its logout', async () => {
    const session = await client.login('alice', PASSWORDS.user);
    await client.ask('logout', {}, { session });
    await expect(client.ask('random', { length: 1 }, { session })).rejects.toEqual(
      refused('HsmNotLoggedIn'),
    );
  });

  test('an HSM that was started without faults takes none, from nobody', async () => {
    const action = { do: 'crash' };
    const rule = { operation: '*', when: 'before', nth: 1, times: 1, action };
    for (const session of [0, sessions.admin, sessions.appliance]) {
      for (const [operation, fields] of Object.entries({
        'fault-add': { rule },
        'fault-list': {},
        'fault-clear': {},
      })) {
        await expect(client.ask(operation, fields, { session })).rejects.toEqual(
          refused('HsmPhase'),
        );
      }
    }
    expect((await info()).phase).toBe('member');
  });

  test('a member is not founded or joined again', async () => {
    for (const operation of ['identity', 'found', 'join-offer', 'join']) {
      await expect(client.ask(operation, {})).rejects.toEqual(refused('HsmPhase'));
    }
  });
});

describe('whose key it is', () => {
  test('a key of another user reads as absent, whatever is asked', async () => {
    const { keyId } = await newKey(sessions.alice);
    const own = await newKey(sessions.bob);
    const sealed = await seal(sessions.alice, keyId, 'hers');
    const { iv, data } = sealed;
    const asks: [HsmOperation, object][] = [
      ['encrypt', { keyId, aad: NO_AAD, data }],
      ['decrypt', { keyId, iv, aad: NO_AAD, data }],
      ['data-key', { keyId, aad: NO_AAD, length: 32, withPlaintext: true }],
      ['reencrypt', { keyId, iv, aad: NO_AAD, data, toKeyId: own.keyId, toAad: NO_AAD }],
      ['extract', { keyId }],
      ['destroy', { keyId }],
    ];
    const absent = newHsmKeyId();
    for (const [operation, fields] of asks) {
      const as = { session: sessions.bob };
      const theirs = await client.ask(operation, fields, as).catch((error: unknown) => error);
      const nobodys = await client
        .ask(operation, { ...fields, keyId: absent }, as)
        .catch((error: unknown) => error);
      expect(theirs).toEqual(refused('HsmKeyNotFound'));
      // nor does the sentence tell
      expect(theirs).toEqual(nobodys);
    }
    expect(await open(sessions.alice, keyId, sealed)).toBe('hers');
  });

  test("what is sealed again goes under one's own keys alone", async () => {
    const [hers, his] = [await newKey(sessions.alice), await newKey(sessions.bob)];
    const { iv, data } = await seal(sessions.bob, his.keyId, 'his');
    const fields = { keyId: his.keyId, iv, aad: NO_AAD, data, toAad: NO_AAD };
    const over = client.ask(
      'reencrypt',
      { ...fields, toKeyId: hers.keyId },
      { session: sessions.bob },
    );
    await expect(over).rejects.toEqual(refused('HsmKeyNotFound'));
    const again = await newKey(sessions.bob);
    const moved = await client.ask<'reencrypt'>(
      'reencrypt',
      { ...fields, toKeyId: again.keyId },
      { session: sessions.bob },
    );
    expect(await open(sessions.bob, again.keyId, moved)).toBe('his');
  });

  test("another user's masked key is not inserted, and only one's own are found", async () => {
    const { keyId } = await newKey(sessions.alice);
    const as = { session: sessions.appliance };
    const { masked } = await client.ask<'extract'>('extract', { keyId }, as);
    const insert = client.ask('insert', { masked }, { session: sessions.bob });
    await expect(insert).rejects.toEqual(refused('HsmKeyNotFound'));
    const found = await client.ask<'find'>(
      'find',
      { after: '', limit: 2_000 },
      { session: sessions.bob },
    );
    expect(found.keys.map(({ id }) => id)).not.toContain(keyId);
    const hers = await client.ask<'find'>(
      'find',
      { after: '', limit: 2_000 },
      { session: sessions.alice },
    );
    expect(hers.keys).toContainEqual({ id: keyId, label: 'a key' });
  });

  test('the appliance user carries keys and cannot work with them', async () => {
    const { keyId } = await newKey(sessions.alice);
    const as = { session: sessions.appliance };
    const { masked } = await client.ask<'extract'>('extract', { keyId }, as);
    expect(masked.length).toBeGreaterThan(100);
    await expect(seal(sessions.appliance, keyId, 'x')).rejects.toEqual(refused('HsmRoleRefused'));
    await expect(client.ask('destroy', { keyId }, as)).rejects.toEqual(refused('HsmRoleRefused'));
  });

  test('a crypto-user cannot make a key of the cluster', async () => {
    const fields = { keyId: newHsmKeyId(), kind: 'cluster-key', label: '' };
    const made = client.ask('generate', fields, { session: sessions.alice });
    await expect(made).rejects.toEqual(refused('HsmRoleRefused'));
  });

  test('a destroyed key is gone, and its id is free for nobody else', async () => {
    const { keyId } = await newKey(sessions.alice);
    const sealed = await seal(sessions.alice, keyId, 'x');
    await client.ask('destroy', { keyId }, { session: sessions.alice });
    await expect(open(sessions.alice, keyId, sealed)).rejects.toEqual(refused('HsmKeyNotFound'));
    const again = client.ask('discard', { keyId }, { session: sessions.appliance });
    await expect(again).resolves.toEqual({});
  });
});

describe('masked keys', () => {
  test('a key inserted twice, also at once, is one key and answers the same', async () => {
    const as = { session: sessions.alice };
    const fields = { keyId: newHsmKeyId(), kind: 'aes-256', label: '' };
    const { masked, proof } = await client.ask<'generate'>('generate', fields, as);
    const before = (await info()).keys;
    const answers = await Promise.all([
      client.ask<'insert'>('insert', { masked }, as),
      client.ask<'insert'>('insert', { masked }, as),
      client.ask<'insert'>('insert', { masked }, as),
    ]);
    answers.push(await client.ask<'insert'>('insert', { masked }, as));
    expect((await info()).keys).toBe(before + 1);
    for (const answer of answers) {
      expect(answer).toEqual({ keyId: fields.keyId, revision: 1, proof });
    }
  });

  test('another key under the same id is refused', async () => {
    const as = { session: sessions.alice };
    const fields = { keyId: newHsmKeyId(), kind: 'aes-256', label: '' };
    const [one, two] = [
      await client.ask<'generate'>('generate', fields, as),
      await client.ask<'generate'>('generate', fields, as),
    ];
    const both = await Promise.allSettled([
      client.ask('insert', { masked: one.masked }, as),
      client.ask('insert', { masked: two.masked }, as),
    ]);
    expect(both[0]?.status).toBe('fulfilled');
    expect(both[1]).toMatchObject({ status: 'rejected', reason: refused('HsmAlreadyExists') });
    const third = client.ask('generate', fields, as);
    await expect(third).rejects.toEqual(refused('HsmAlreadyExists'));
  });

  test('one that is not authentic is refused, and nothing is put on the token', async () => {
    const as = { session: sessions.alice };
    const fields = { keyId: newHsmKeyId(), kind: 'aes-256', label: '' };
    const { masked } = await client.ask<'generate'>('generate', fields, as);
    const before = (await info()).keys;
    for (const at of [0, 20, Math.floor(masked.length / 2), masked.length - 1]) {
      const copy = Buffer.from(masked);
      copy[at] = (copy[at] ?? 0) ^ 1;
      await expect(client.ask('insert', { masked: copy }, as)).rejects.toEqual(
        refused('HsmBadRecord'),
      );
    }
    expect((await info()).keys).toBe(before);
  });

  test('one that is discarded while it is put on the token does not stay', async () => {
    const as = { session: sessions.alice };
    const fields = { keyId: newHsmKeyId(), kind: 'aes-256', label: '' };
    const { masked } = await client.ask<'generate'>('generate', fields, as);
    const insert = client.ask('insert', { masked }, as);
    const discard = client.ask('discard', { keyId: fields.keyId }, { session: sessions.appliance });
    await Promise.all([insert, discard]);
    await expect(seal(sessions.alice, fields.keyId, 'x')).rejects.toEqual(
      refused('HsmKeyNotFound'),
    );
  });

  test('data keys open to what was given with them', async () => {
    const { keyId } = await newKey(sessions.alice);
    const fields = { keyId, aad: Buffer.from('context'), length: 32, withPlaintext: true };
    const as = { session: sessions.alice };
    const made = await client.ask<'data-key'>('data-key', fields, as);
    const { iv, data } = made;
    const opened = await client.ask<'decrypt'>('decrypt', { keyId, iv, aad: fields.aad, data }, as);
    expect(opened.data).toEqual(made.plaintext);
    const other = client.ask('decrypt', { keyId, iv, aad: Buffer.from('contexu'), data }, as);
    await expect(other).rejects.toEqual(refused('HsmDataInvalid'));
    const without = await client.ask('data-key', { ...fields, withPlaintext: false }, as);
    expect(without).not.toHaveProperty('plaintext');
  });

  test('the largest data goes there and back', async () => {
    const { keyId } = await newKey(sessions.alice);
    const text = 'x'.repeat(LIMITS.hsm_data_max_bytes);
    expect(await open(sessions.alice, keyId, await seal(sessions.alice, keyId, text))).toBe(text);
  });
});

describe('frames', () => {
  const closes = async (act: (other: FrameClient) => unknown): Promise<void> => {
    const other = await FrameClient.connect(hsm.launch.socket);
    act(other);
    await soon(other.closed, 'the end of a connection');
  };

  test('before hello end the connection', async () => {
    await closes((other) => other.send([1, 1_000, 1, 'info', 0, {}]));
  });

  test.each<[string, Record<string, unknown>]>([
    ['another cluster', { cluster: newClusterId() }],
    ['another HSM', { hsm: newHsmId() }],
    ['another frame version', { hello: 1 }],
    ['another record version', { recordVersion: 2 }],
    ['a member too many', { more: 1 }],
  ])('hello of %s ends the connection', async (_, changes) => {
    await closes((other) => other.greet(changes));
  });

  test('hello tells who the HSM is', () => {
    expect(client.peer).toMatchObject({ hsm: hsm.id, cluster: host.cluster, phase: 'new' });
  });

  test('that tell of work to come are answered with nothing, and the work is done', async () => {
    client.send(SOON);
    client.send(SOON);
    expect(await info()).toHaveProperty('epoch');
  });

  test.each<[string, Uint8Array]>([
    ['that announce nothing', encodeFrame({ soon: 2 })],
    ['too long', Buffer.from('00100001', 'hex')],
    ['of length zero', Buffer.alloc(4)],
    ['of garbage', Buffer.from('00000002ffff', 'hex')],
    ['that are no request', encodeFrame('info')],
    ['that name no operation by text', encodeFrame([1, 1_000, 1, 7, 0, {}])],
    ['with a request id that is no number', encodeFrame(['1', 1_000, 1, 'info', 0, {}])],
    ['that are a hello again', encodeFrame({ hello: 2 })],
  ])('%s end the connection, and no other', async (_, bytes) => {
    await closes((other) => other.greet().write(bytes));
    expect((await info()).phase).toBe('member');
  });

  test('that are cut short by the end of the connection do nothing', async () => {
    const before = (await info()).sessions;
    const other = await hsm.connect();
    const fields = { username: 'cut', role: 'crypto-user', password: PASSWORDS.user };
    const session = await other.login('admin', PASSWORDS.admin);
    const frame = encodeFrame([99, 10_000, 1, 'user-create', session, fields]);
    other.write(frame.subarray(0, -1)).end();
    await expect.poll(async () => (await info()).sessions, { timeout: 20_000 }).toBe(before);
    const { users } = await client.ask<'user-list'>('user-list', {});
    expect(users.map(({ username }) => username)).not.toContain('cut');
  });

  test('of an unknown operation are refused, and the connection goes on', async () => {
    for (const operation of ['no-such', '', 'toString', '__proto__', 'constructor']) {
      await expect(client.ask(operation, {})).rejects.toEqual(refused('HsmBadFrame'));
    }
    expect((await info()).phase).toBe('member');
  });

  test('with fields of another form are refused, and nothing is done', async () => {
    const as = { session: sessions.alice };
    const { keyId } = await newKey(sessions.alice);
    const wrong: [HsmOperation, unknown][] = [
      ['encrypt', { keyId, aad: NO_AAD, data: 'text' }],
      ['encrypt', { keyId, aad: NO_AAD, data: Buffer.alloc(16_385) }],
      ['encrypt', { keyId, aad: NO_AAD, data: NO_AAD }],
      ['encrypt', { keyId: 'x', aad: NO_AAD, data: Buffer.alloc(1) }],
      ['encrypt', { keyId, aad: NO_AAD, data: Buffer.alloc(1), more: 1 }],
      ['decrypt', { keyId, iv: Buffer.alloc(11), aad: NO_AAD, data: Buffer.alloc(20) }],
      ['random', { length: 1_025 }],
      ['random', { length: 1.5 }],
      ['random', null],
      ['random', 'length'],
      ['insert', { masked: Buffer.alloc(63) }],
    ];
    for (const [operation, fields] of wrong) {
      await expect(client.ask(operation, fields, as)).rejects.toEqual(refused('HsmBadFrame'));
    }
  });

  test('whose deadline has passed are refused', async () => {
    for (const timeoutMs of [0, -1]) {
      await expect(client.ask('info', {}, { timeoutMs })).rejects.toEqual(
        refused('HsmDeadlineExceeded'),
      );
    }
  });

  test('of an older epoch change nothing', async () => {
    const as = { session: sessions.admin };
    const fields = { username: 'epochal', role: 'crypto-user' };
    await client.ask('user-create', { ...fields, password: PASSWORDS.user }, { ...as, epoch: 3 });
    await expect(client.ask('user-delete', fields, { ...as, epoch: 2 })).rejects.toEqual(
      refused('HsmEpochStale'),
    );
    const { masked } = await client.ask<'generate'>(
      'generate',
      { keyId: newHsmKeyId(), kind: 'aes-256', label: '' },
      { session: sessions.alice },
    );
    const insert = client.ask('insert', { masked }, { session: sessions.alice, epoch: 2 });
    await expect(insert).rejects.toEqual(refused('HsmEpochStale'));
    expect((await info()).epoch).toBe(3);
    await client.ask('user-delete', fields, { ...as, epoch: 3 });
  });

  test('are answered each, however many come at once', async () => {
    const other = await hsm.connect();
    const wrong = { username: 'nobody_at_all', password: 'wrong-password' };
    const asked = Array.from({ length: 40 }, (_, at) =>
      at % 2 === 0 ? other.ask('info', {}) : other.ask('login', wrong),
    );
    const answers = await Promise.allSettled(asked);
    expect(answers.filter(({ status }) => status === 'fulfilled')).toHaveLength(20);
    other.end();
  });
});

describe('over time', () => {
  test('sessions and handles go back after many operations', async () => {
    // the epoch has grown above
    const epoch = (await info()).epoch;
    const other = await hsm.connect();
    const session = await other.login('alice', PASSWORDS.user);
    const before = await other.ask<'info'>('info', {});
    for (let round = 0; round < 10; round += 1) {
      const keyId = newHsmKeyId();
      const as = { session, epoch };
      const made = await other.ask<'generate'>(
        'generate',
        { keyId, kind: 'aes-256', label: '' },
        as,
      );
      await other.ask('insert', { masked: made.masked }, as);
      const work = Array.from({ length: 50 }, () =>
        other.ask('encrypt', { keyId, aad: NO_AAD, data: Buffer.from('x') }, as),
      );
      const forged = { keyId, iv: Buffer.alloc(12), aad: NO_AAD, data: Buffer.alloc(20) };
      await expect(other.ask('decrypt', forged, as)).rejects.toEqual(refused('HsmDataInvalid'));
      await Promise.all(work);
      await other.ask('destroy', { keyId }, as);
      const again = await other.login('bob', PASSWORDS.user);
      await other.ask('logout', {}, { session: again });
    }
    const after = await other.ask<'info'>('info', {});
    const { keys, hotKeys, sessions: open, users } = before;
    expect(after).toMatchObject({ keys, hotKeys, sessions: open, users });
    other.end();
  });

  test('users and keys outlive kill -9, sessions do not, and lockout stays', async () => {
    const { epoch } = await info();
    const { keyId } = await newKey(sessions.alice, epoch);
    const sealed = await seal(sessions.alice, keyId, 'kept');
    for (let time = 0; time < LIMITS.hsm_login_failures_max; time += 1) {
      await expect(client.login('bob', 'not-the-password')).rejects.toEqual(
        refused('HsmCredentialsRefused'),
      );
    }
    const before = await info();
    const { boot } = client.peer;
    client = await hsm.restart();
    expect(client.peer).toMatchObject({ phase: 'member', epoch });
    expect(client.peer.boot).not.toBe(boot);
    expect(await info()).toMatchObject({ keys: before.keys, users: before.users, sessions: 0 });
    await expect(client.login('bob', PASSWORDS.user)).rejects.toEqual(refused('HsmUserLocked'));
    await expect(seal(sessions.alice, keyId, 'x')).rejects.toEqual(refused('HsmNotLoggedIn'));
    sessions.admin = await client.login('admin', PASSWORDS.admin);
    const fields = { username: 'bob', role: 'crypto-user', password: 'another-password' };
    await client.ask('user-change-password', fields, { session: sessions.admin, epoch });
    expect(await client.login('bob', 'another-password')).toBeGreaterThan(0);
    sessions.alice = await client.login('alice', PASSWORDS.user);
    expect(await open(sessions.alice, keyId, sealed)).toBe('kept');
  });

  test('a process that finds another token than is meant does not serve', async () => {
    await hsm.kill();
    const wrong = await hsm.launched({ serial: 'ffffffffffffffff', boot: newBootId() });
    expect(wrong).toMatchObject({ failed: 'HsmDeviceError' });
    await hsm.exited();
    await hsm.start();
    client = await hsm.connect();
    expect((await info()).phase).toBe('member');
  });
});
