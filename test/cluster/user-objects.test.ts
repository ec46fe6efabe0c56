import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  randomBytes,
  sign,
  verify,
} from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ClusterSession } from '../../src/cluster/cluster-session.js';
import { USERS } from '../../src/cluster/lifecycle.js';
import type { RunningCluster } from '../../src/cluster/running-cluster.js';
import { createUser } from '../../src/cluster/user-changes.js';
import { mergePages } from '../../src/cluster/user-objects.js';
import { deadlineIn } from '../../src/core/deadline.js';
import { newHsmKeyId, type HsmKeyId } from '../../src/core/ids.js';
import { LIMITS } from '../../src/core/limits.js';
import type { KeyFacts } from '../../src/protocol/hsm-key-frames.js';
import { hasFlag } from '../../src/protocol/objects.js';
import { eventually } from '../support/daemon-fixture.js';
import { PartsFixture, newCall } from '../support/parts-fixture.js';

const REGION = 'us-east-1';
const PASSWORD = 'a-password-of-it';

let fixture: PartsFixture;
let alice: ClusterSession;
let bob: ClusterSession;
let admin: ClusterSession;
/** bytes of each object of Alice's that is on the tokens */
const contents = new Map<HsmKeyId, Buffer>();

beforeAll(async () => {
  fixture = await PartsFixture.start(['--hsms', '3', '--faults']);
  const { own } = fixture;
  admin = await own.login(USERS.admin, await fixture.secrets.passwordOf(own.id, USERS.admin));
  for (const username of ['alice', 'bob']) {
    await createUser(admin, { username, role: 'crypto-user', password: PASSWORD });
  }
  [alice, bob] = await Promise.all([own.login('alice', PASSWORD), own.login('bob', PASSWORD)]);
});
afterAll(async () => {
  await fixture?.[Symbol.asyncDispose]();
});

const KEPT = { private: true, modifiable: true, destroyable: true };
const named = (label: string, given: Record<string, boolean> = KEPT): object =>
  ({ label, given, pkcs11: true }) as const;
type Named = Parameters<RunningCluster['objects']['createObject']>[1];
type Content = Parameters<RunningCluster['objects']['createObject']>[2]['content'];

async function create(
  content: Content,
  options: { given?: Record<string, boolean>; isSession?: boolean; more?: object } = {},
): Promise<HsmKeyId> {
  const { given = KEPT, isSession = false, more = {} } = options;
  const key = { ...named('object', given), ...more } as Named;
  const { objects } = fixture.own;
  const id = await objects.createObject(alice, key, { content, isSession }, newCall());
  if (!isSession) contents.set(id, Buffer.from(content.value));
  return id;
}

async function find(
  session: ClusterSession,
  ids?: readonly HsmKeyId[],
  cluster = fixture.own,
): Promise<readonly KeyFacts[]> {
  const page = { ids, limit: LIMITS.p11_object_page_max };
  return (await cluster.objects.objects(session, page, newCall())).objects;
}
const idsOf = async (session: ClusterSession): Promise<readonly string[]> =>
  (await find(session)).map(({ id }) => id);

/** What each HSM tells of each object that was made here. */
async function allHave(cluster: RunningCluster, session: ClusterSession): Promise<void> {
  for (const [keyId, value] of contents) {
    const told = await session.onEach('object-reveal', { keyId });
    expect(told).toHaveLength(cluster.members.length);
    const values = told.map((one) => one.status === 'fulfilled' && one.value.value);
    // comparing thousands of bytes one by one takes longer than all else
    expect(values.map((one) => one && value.equals(one))).toEqual(told.map(() => true));
  }
}

describe('what is made', () => {
  test('is a certificate, and data, on all HSMs, and no key', async () => {
    const keysBefore = (await fixture.own.status()).map(({ keys }) => keys);
    const { live } = await fixture.own.check(false);
    const certificate = await create({ kind: 'certificate', value: randomBytes(1_500) });
    await create({ kind: 'data', value: randomBytes(LIMITS.p11_object_max_bytes) });
    await create({ kind: 'data', value: Buffer.alloc(0) });
    await allHave(fixture.own, alice);
    const [found] = await find(alice, [certificate]);
    expect(found).toMatchObject({ owner: 'alice', object: { class: 'certificate' } });
    const keys = { filter: { attributes: {} }, limit: 100 };
    expect((await fixture.own.keys.find(alice, keys, newCall())).total).toBe(0);
    expect((await fixture.own.keys.compare(alice, keys)).keys).toEqual([]);
    expect((await fixture.own.status()).map(({ keys: count }) => count)).toEqual(keysBefore);
    expect(await fixture.own.check(false)).toMatchObject({ clean: true, live, lost: 0 });
  });

  test('is a key that works as it does elsewhere', async () => {
    const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2_048 });
    const value = privateKey.export({ format: 'der', type: 'pkcs8' });
    const given = { ...KEPT, sign: true };
    const keyId = await create({ kind: 'private-key', value }, { given });
    contents.delete(keyId);
    const data = Buffer.from('data');
    const mechanism = { name: 'rsa-pkcs', hash: 'sha256' } as const;
    const asked = { keyId, mechanism, data, digested: false };
    const { signature } = await alice.run('key-sign', asked, newCall(), keyId);
    expect(verify('sha256', data, publicKey, signature)).toBe(true);
    expect(Buffer.from(signature)).toEqual(sign('sha256', data, privateKey));
    await expect(fixture.own.objects.reveal(alice, keyId, newCall())).rejects.toMatchObject({
      code: 'HsmUsageRefused',
    });
    await fixture.own.objects.delete(alice, keyId, newCall());
  });

  test('is one that HSMs make, by its id alone', async () => {
    const { objects } = fixture.own;
    const given = { ...KEPT, extractable: true, encrypt: true, wrap: true, unwrap: true };
    const key = named('aes', given) as Named;
    const spec = { type: 'aes', length: 32 } as const;
    const aes = await objects.generate(alice, key, { spec }, newCall());
    const halves = {
      publicKey: named('public', { verify: true, destroyable: true }) as Named,
      privateKey: named('private', { ...KEPT, sign: true, extractable: true }) as Named,
    };
    const ec = { spec: { type: 'ec', curve: 'secp256r1' } } as const;
    const pair = await objects.generatePair(alice, halves, ec, newCall());
    const found = await find(alice, [pair.privateKey, aes, newHsmKeyId(), pair.publicKey]);
    expect(found.map(({ label }) => label)).toEqual(['aes', 'public', 'private']);
    const [, open] = found;
    const revealed = await objects.reveal(alice, pair.privateKey, newCall());
    const secret = createPrivateKey({ key: Buffer.from(revealed), format: 'der', type: 'pkcs8' });
    const half = createPublicKey(secret).export({ format: 'der', type: 'spki' });
    expect(half).toEqual(Buffer.from(open?.object.public ?? []));
    const mechanism = { name: 'aes-zero-pad' } as const;
    const wrap = { payloadId: pair.privateKey, wrappingId: aes, mechanism };
    const { data } = await alice.run('key-wrap', wrap, newCall(), aes);
    const unwrap = { wrappingId: aes, mechanism, data, kind: 'ec-private' } as const;
    const again = await objects
      .unwrap(alice, named('again', given) as Named, unwrap, newCall())
      .catch((error: { code: string }) => error.code);
    // no private key encrypts
    expect(again).toBe('HsmAttributeRefused');
    const back = named('again', { ...KEPT, extractable: true }) as Named;
    const id = await objects.unwrap(alice, back, unwrap, newCall());
    const twin = await objects.reveal(alice, id, newCall());
    expect(Buffer.from(twin)).toEqual(Buffer.from(revealed));
    for (const one of [aes, pair.privateKey, pair.publicKey, id]) {
      await objects.delete(alice, one, newCall());
    }
    expect(await find(alice, [aes, id])).toEqual([]);
  });
});

describe('what a login finds', () => {
  test('is its own, what is shared with it, and what is not private', async () => {
    const open = await create(
      { kind: 'data', value: Buffer.from('open') },
      { given: { destroyable: true } },
    );
    const shared = await create({ kind: 'data', value: Buffer.from('shared') });
    const change = { share: ['bob'] };
    await fixture.own.objects.change(alice, shared, { change }, newCall());
    expect([...(await idsOf(bob))].sort()).toEqual([open, shared].sort());
    expect(await idsOf(admin)).toEqual([open]);
    expect(await idsOf(alice)).toHaveLength(contents.size);
    const { objects } = fixture.own;
    const text = async (who: ClusterSession): Promise<string> =>
      Buffer.from(await objects.reveal(who, open, newCall())).toString();
    expect(await Promise.all([text(bob), text(admin)])).toEqual(['open', 'open']);
    const hidden = { code: 'HsmKeyNotFound' };
    await expect(objects.reveal(admin, shared, newCall())).rejects.toMatchObject(hidden);
  });

  test('comes in pages, in the order of references', async () => {
    const { objects } = fixture.own;
    const all: KeyFacts[] = [];
    let after: string | undefined;
    for (;;) {
      const page = await objects.objects(alice, { after, limit: 2 }, newCall());
      all.push(...page.objects);
      after = page.objects.at(-1)?.object.reference;
      if (!page.more) break;
      expect(page.objects).toHaveLength(2);
    }
    expect(all).toEqual(await find(alice));
    const references = all.map(({ object }) => object.reference);
    expect(references).toEqual([...references].sort());
  });

  test('has session objects of this login, wherever they are', async () => {
    const value = Buffer.from('session');
    const made = await Promise.all(
      Array.from({ length: 6 }, () => create({ kind: 'data', value }, { isSession: true })),
    );
    expect(await idsOf(alice)).toEqual(expect.arrayContaining(made));
    expect((await find(alice, made)).map(({ id }) => id).sort()).toEqual([...made].sort());
    const other = await fixture.own.login('alice', PASSWORD);
    expect(await find(other, made)).toEqual([]);
    fixture.own.logout(other);
    for (const id of made) await fixture.own.objects.delete(alice, id, newCall());
    expect(await find(alice, made)).toEqual([]);
  });
});

describe('a copy', () => {
  test('goes from the token to the session and back', async () => {
    const { objects } = fixture.own;
    const [from] = [...contents.keys()] as [HsmKeyId];
    const value = contents.get(from) as Buffer;
    const nothing = named('twin', {}) as Named;
    const session = { fromId: from, isSession: true, isKey: false };
    const twin = await objects.copyObject(alice, nothing, session, newCall());
    const [found] = await find(alice, [twin]);
    expect(hasFlag(found?.object.flags ?? 0, 'token')).toBe(false);
    const token = { fromId: twin, isKey: false };
    const back = await objects.copyObject(alice, nothing, token, newCall());
    contents.set(back, value);
    expect(Buffer.from(await objects.reveal(alice, back, newCall()))).toEqual(value);
    await objects.delete(alice, twin, newCall());
    await allHave(fixture.own, alice);
  });
});

describe('who listens', () => {
  test('hears of what became live, has another record, or is gone, when it is so', async () => {
    const { objects } = fixture.own;
    const heard: { id: HsmKeyId; facts: Promise<readonly KeyFacts[]> }[] = [];
    const end = objects.onChange((id) => heard.push({ id, facts: find(alice, [id]) }));
    const id = await create({ kind: 'data', value: Buffer.from('x') });
    const labels = async (): Promise<unknown[]> =>
      await Promise.all(heard.map(async ({ facts }) => (await facts)[0]?.label));
    expect(new Set(heard.map((one) => one.id))).toEqual(new Set([id]));
    expect(new Set(await labels())).toEqual(new Set(['object']));
    heard.splice(0);
    await objects.change(
      alice,
      id,
      { change: { label: 'new', extra: { '16': Buffer.of(1) } } },
      newCall(),
    );
    expect(heard.map((one) => one.id)).toEqual([id]);
    expect(await labels()).toEqual(['new']);
    heard.splice(0);
    await objects.delete(alice, id, newCall());
    contents.delete(id);
    expect(new Set(heard.map((one) => one.id))).toEqual(new Set([id]));
    expect(new Set(await labels())).toEqual(new Set([undefined]));
    heard.splice(0);
    end();
    await create({ kind: 'data', value: Buffer.from('y') });
    expect(heard).toEqual([]);
  });
});

describe('an HSM', () => {
  test('that is killed while it takes a certificate has it when it is back', async () => {
    const { own } = fixture;
    const [first, second] = own.members;
    if (!first || !second || !own.faults) expect.unreachable();
    for (const [member, when] of [
      [first, 'before'],
      [second, 'after'],
    ] as const) {
      const rule = {
        operation: 'insert',
        when,
        nth: 1,
        times: 1,
        action: { do: 'crash' },
      } as const;
      await own.faults.add(member.id, rule);
      await create({ kind: 'certificate', value: randomBytes(900) });
      await fixture.serving(own, 3);
    }
    await eventually(async () => ((await own.check(false)).clean ? true : undefined), 'clean');
    await allHave(own, alice);
  });

  test('that is killed while it makes one is no hindrance', async () => {
    const { own } = fixture;
    if (!own.faults) expect.unreachable();
    for (const { id } of own.members) {
      const rule = {
        operation: 'object-create',
        when: 'before',
        nth: 1,
        times: 1,
        action: { do: 'crash' },
      } as const;
      await own.faults.add(id, rule);
      await create({ kind: 'certificate', value: randomBytes(900) });
      await own.faults.clear();
      await fixture.serving(own, 3);
    }
    await eventually(async () => ((await own.check(false)).clean ? true : undefined), 'clean');
    await allHave(own, alice);
  });

  test('that lost one gets it back', async () => {
    const { own } = fixture;
    const [member] = own.members;
    if (!member) expect.unreachable();
    const ids = [...contents.keys()];
    for (const keyId of ids) {
      await member.ask('discard', { keyId }, deadlineIn(5_000));
    }
    expect((await own.check(true)).lost).toBe(0);
    await eventually(async () => ((await own.check(false)).clean ? true : undefined), 'clean');
    await allHave(own, alice);
  });

  test('that joins has them', async () => {
    const { own } = fixture;
    await fixture.parts.control.createHsm(own, `${REGION}a`);
    await fixture.serving(own, 4);
    await eventually(async () => (alice.size === 4 ? true : undefined), 'a login there');
    await allHave(own, alice);
  });
});

test('all are there after a start, as they were', async () => {
  const before = await find(alice);
  await fixture.close();
  await fixture.open();
  const { own } = fixture;
  await fixture.serving(own, 4);
  [alice, bob] = await Promise.all([own.login('alice', PASSWORD), own.login('bob', PASSWORD)]);
  expect(await find(alice)).toEqual(before);
  await allHave(own, alice);
  const heard: HsmKeyId[] = [];
  own.objects.onChange((id) => heard.push(id));
  const [id] = [...contents.keys()] as [HsmKeyId];
  await own.objects.change(alice, id, { change: { share: ['bob'] } }, newCall());
  expect(heard).toEqual([id]);
  expect(await idsOf(bob)).toContain(id);
});

describe('a backup', () => {
  test('carries more than fits into a frame, to HSMs of a relative', async () => {
    const { control, backups, jobs } = fixture.parts;
    const { own } = fixture;
    const most = LIMITS.p11_object_max_bytes;
    for (let at = 0; at < 40; at += 1) await create({ kind: 'data', value: randomBytes(most) });
    const id = await jobs.takeWhole(own);
    const relative = await control.create({
      account: own.record.account,
      region: REGION,
      hsmType: 'hsm2m.medium',
      subnetIds: ['subnet-fd54af9b', 'subnet-49a1bc00'],
      mode: undefined,
      retentionDays: 90,
      networkType: 'IPV4',
      source: backups.find(id),
    });
    await Promise.all(['a', 'b'].map((zone) => control.createHsm(relative, `${REGION}${zone}`)));
    await fixture.serving(relative, 2);
    const session = await relative.login('alice', PASSWORD);
    await allHave(relative, session);
    const digests = (facts: readonly KeyFacts[]): string[] =>
      facts.map((one) => createHash('sha256').update(JSON.stringify(one)).digest('hex'));
    const [here, there] = [await find(alice), await find(session, undefined, relative)];
    expect(digests(there)).toEqual(digests(here));
  });
});

test('pages of several HSMs are one, as far as all of them tell', () => {
  const of = (...references: string[]): KeyFacts[] =>
    references.map(
      (reference) => ({ id: reference, object: { reference } }) as unknown as KeyFacts,
    );
  const shown = (pages: Parameters<typeof mergePages>[0], limit = 9): [string, boolean] => {
    const { objects, more } = mergePages(pages, limit);
    return [objects.map(({ object }) => object.reference).join(''), more];
  };
  const whole = { objects: of('b', 'd', 'f'), more: false };
  expect(shown([])).toEqual(['', false]);
  expect(shown([whole, { objects: of('a', 'e'), more: false }])).toEqual(['abdef', false]);
  expect(shown([whole, { objects: of('a', 'e'), more: true }])).toEqual(['abde', true]);
  expect(shown([whole, whole], 2)).toEqual(['bd', true]);
});
