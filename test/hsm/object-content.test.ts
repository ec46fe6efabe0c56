import {
  createECDH,
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  randomBytes,
  verify,
  type KeyObject,
} from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { newHsmKeyId, type HsmKeyId } from '../../src/core/ids.js';
import { LIMITS } from '../../src/core/limits.js';
import type { HsmOperation, HsmResults } from '../../src/protocol/hsm-frames.js';
import type { KeyFacts } from '../../src/protocol/hsm-key-frames.js';
import { hasFlag, type FlagName } from '../../src/protocol/objects.js';
import { MachineFixture, PASSWORDS } from '../support/hsm-machine.js';

let fixture: MachineFixture;
const sessions: Record<string, number> = {};
beforeAll(async () => {
  fixture = await MachineFixture.founded();
  const before = await fixture.login('admin', PASSWORDS.admin);
  await fixture.ask('activate', { password: 'admin-password' }, { session: before });
  sessions['admin'] = await fixture.login('admin', 'admin-password');
  for (const username of ['alice', 'bob']) {
    const user = { username, role: 'crypto-user', password: `${username}-password` };
    await fixture.ask('user-create', user, { session: sessions['admin'] });
    sessions[username] = await fixture.login(username, `${username}-password`);
  }
  sessions['app_user'] = await fixture.login('app_user', PASSWORDS.app_user);
});
afterAll(() => fixture[Symbol.dispose]());

const as = <Op extends HsmOperation>(
  who: string,
  operation: Op,
  fields: unknown,
): Promise<HsmResults[Op]> => fixture.ask(operation, fields, { session: sessions[who] });

const code = (name: string): unknown => expect.objectContaining({ code: name });
const refusal = async (work: Promise<unknown>): Promise<string> =>
  await work.then(
    () => 'done',
    (error: { code: string }) => error.code,
  );

interface Making {
  readonly keyId: HsmKeyId;
  readonly [member: string]: unknown;
}
let count = 0;
const making = (given: Record<string, boolean> = {}, more: object = {}): Making => {
  count += 1;
  const reference = `0x${count.toString(16).padStart(16, '0')}`;
  return { keyId: newHsmKeyId(), reference, label: 'object', given, pkcs11: true, ...more };
};
const KEPT = { modifiable: true, destroyable: true };
const OPEN = { ...KEPT, extractable: true };

/** A session object of Alice's of these bytes. */
async function create(
  content: object,
  given: Record<string, boolean> = OPEN,
  more: object = {},
): Promise<HsmKeyId> {
  const key = making(given, more);
  await as('alice', 'object-create', { key, content, isSession: true });
  return key.keyId;
}

async function facts(id: HsmKeyId, who = 'alice'): Promise<KeyFacts | undefined> {
  return (await as(who, 'object-find', { ids: [id], limit: 1 })).objects[0];
}
async function flagsOf(id: HsmKeyId): Promise<string[]> {
  const { object } = (await facts(id)) as KeyFacts;
  const names: FlagName[] = ['sensitive', 'always-sensitive', 'extractable', 'never-extractable'];
  return [...names, 'local' as const, 'token' as const, 'modifiable' as const].filter((name) =>
    hasFlag(object.flags, name),
  );
}
const reveal = async (keyId: HsmKeyId, who = 'alice'): Promise<Buffer> =>
  Buffer.from((await as(who, 'object-reveal', { keyId })).value);

const pkcs8 = (key: KeyObject): Buffer => key.export({ format: 'der', type: 'pkcs8' });
const spki = (key: KeyObject): Buffer => key.export({ format: 'der', type: 'spki' });
const DATA = Buffer.from('data');

describe('what somebody brings', () => {
  test.each([16, 24, 32])('an AES key of %i bytes comes back as it was', async (length) => {
    const value = randomBytes(length);
    const id = await create({ kind: 'secret-key', type: 'aes', value });
    expect(await reveal(id)).toEqual(value);
    expect((await facts(id))?.object).toMatchObject({ class: 'secret-key', type: 'aes', length });
  });

  test.each([1, 20, 800])('a secret of %i bytes comes back, and makes HMACs', async (length) => {
    const value = randomBytes(length);
    const content = { kind: 'secret-key', type: 'generic-secret', value };
    const id = await create(content, { ...OPEN, sign: true });
    expect(await reveal(id)).toEqual(value);
    expect(createHmac('sha256', await reveal(id)).digest()).toHaveLength(32);
  });

  test.each([
    ['RSA-2048', () => generateKeyPairSync('rsa', { modulusLength: 2_048 })],
    ['P-256', () => generateKeyPairSync('ec', { namedCurve: 'P-256' })],
    ['P-521', () => generateKeyPairSync('ec', { namedCurve: 'P-521' })],
    ['secp256k1', () => generateKeyPairSync('ec', { namedCurve: 'secp256k1' })],
    ['Ed25519', () => generateKeyPairSync('ed25519')],
  ])('a private key (%s) signs, and comes back as PKCS #8', async (name, generate) => {
    const pair = generate();
    const content = { kind: 'private-key', value: pkcs8(pair.privateKey) };
    const id = await create(content, { ...OPEN, sign: true });
    const back = createPrivateKey({ key: await reveal(id), format: 'der', type: 'pkcs8' });
    expect(spki(createPublicKey(back))).toEqual(spki(pair.publicKey));
    const ways: Record<string, string> = { 'RSA-2048': 'rsa-pkcs', Ed25519: 'ed25519' };
    const mechanism = { name: ways[name] ?? 'ecdsa' };
    const asked = { keyId: id, mechanism, data: DATA, digested: false };
    const { signature } = await as('alice', 'key-sign', asked);
    const hash = name === 'Ed25519' ? null : 'sha256';
    const key = { key: pair.publicKey, dsaEncoding: 'ieee-p1363' } as const;
    expect(verify(hash, DATA, key, signature)).toBe(true);
  });

  test('a public key comes back as its SubjectPublicKeyInfo, private or not', async () => {
    const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-384' });
    const id = await create({ kind: 'public-key', value: spki(publicKey) }, { verify: true });
    expect(await reveal(id)).toEqual(spki(publicKey));
    expect((await facts(id))?.object).toMatchObject({ class: 'public-key', curve: 'secp384r1' });
  });

  test('a certificate and data are kept as they are', async () => {
    const value = randomBytes(LIMITS.p11_object_max_bytes);
    const certificate = await create({ kind: 'certificate', value }, {});
    const sha1 = createHash('sha1').update(value).digest();
    expect((await facts(certificate))?.object).toMatchObject({
      class: 'certificate',
      type: 'none',
      length: value.length,
      check: sha1.subarray(0, 3),
    });
    expect(await reveal(certificate)).toEqual(value);
    for (const length of [0, 1, 9_000]) {
      const bytes = randomBytes(length);
      const id = await create({ kind: 'data', value: bytes }, {});
      expect(await reveal(id)).toEqual(bytes);
    }
  });

  test.each([
    ['an AES key of 20 bytes', { kind: 'secret-key', type: 'aes', value: randomBytes(20) }],
    [
      'a secret of 801 bytes',
      { kind: 'secret-key', type: 'generic-secret', value: randomBytes(801) },
    ],
    ['a secret of none', { kind: 'secret-key', type: 'generic-secret', value: Buffer.alloc(0) }],
    ['a private key that is none', { kind: 'private-key', value: randomBytes(100) }],
    ['a public key that is none', { kind: 'public-key', value: randomBytes(100) }],
    ['an empty certificate', { kind: 'certificate', value: Buffer.alloc(0) }],
    [
      'an RSA key of 1,024 bits',
      {
        kind: 'private-key',
        value: pkcs8(generateKeyPairSync('rsa', { modulusLength: 1_024 }).privateKey),
      },
    ],
  ])('is refused where it is %s', async (_, content) => {
    await expect(create(content, {})).rejects.toEqual(code('HsmDataInvalid'));
  });

  test('a secret key must say its type, and nothing is longer than an object may be', async () => {
    const value = randomBytes(16);
    await expect(create({ kind: 'secret-key', value })).rejects.toEqual(
      code('HsmAttributeRefused'),
    );
    const long = { kind: 'data', value: randomBytes(LIMITS.p11_object_max_bytes + 1) };
    await expect(create(long)).rejects.toEqual(code('HsmBadFrame'));
  });
});

describe("by PKCS #11's rules", () => {
  const value = randomBytes(32);
  const aes = { kind: 'secret-key', type: 'aes', value };

  test('what is not named is false, and what the HSM computes is so', async () => {
    expect(await flagsOf(await create(aes, {}))).toEqual([]);
    const sensitive = await create(aes, { sensitive: true, extractable: true, modifiable: true });
    expect(await flagsOf(sensitive)).toEqual(['sensitive', 'extractable', 'modifiable']);
    const key = making({ sensitive: true });
    const spec = { type: 'aes', length: 32 };
    await as('alice', 'key-generate', { key, spec, isSession: true });
    expect(await flagsOf(key.keyId)).toEqual([
      'sensitive',
      'always-sensitive',
      'never-extractable',
      'local',
    ]);
  });

  test.each([
    ['trusted', true],
    ['private', false],
    ['local', true],
    ['token', true],
  ])('%s may not be given as %s', async (name, is) => {
    await expect(create(aes, { [name]: is })).rejects.toEqual(code('HsmAttributeRefused'));
  });

  test('a certificate has no attributes of keys', async () => {
    const content = { kind: 'certificate', value };
    await expect(create(content, { sign: true })).rejects.toEqual(code('HsmAttributeRefused'));
    await expect(create(content, { private: true, destroyable: true })).resolves.toBeDefined();
  });

  test('sensitive becomes true and extractable false, and never back', async () => {
    const id = await create(aes);
    const set = (name: string, to: boolean): Promise<string> =>
      refusal(as('alice', 'record-prepare', { keyId: id, change: { set: { name, value: to } } }));
    expect(await reveal(id)).toEqual(value);
    expect(await set('sensitive', true)).toBe('done');
    expect(await refusal(reveal(id))).toBe('HsmUsageRefused');
    expect(await set('sensitive', false)).toBe('HsmAttributeRefused');
    expect(await set('extractable', false)).toBe('done');
    expect(await set('extractable', true)).toBe('HsmAttributeRefused');
    expect(await set('wrap-with-trusted', true)).toBe('done');
    expect(await set('wrap-with-trusted', false)).toBe('HsmAttributeRefused');
    expect(await set('encrypt', true)).toBe('done');
    expect(await set('modifiable', false)).toBe('done');
    expect(await set('modifiable', true)).toBe('HsmAttributeRefused');
    expect(await set('decrypt', true)).toBe('HsmAttributeRefused');
  });

  test("a key of CloudHSM's rules stays as those have it", async () => {
    const key = making({}, { pkcs11: false });
    const spec = { type: 'aes', length: 32 };
    await as('alice', 'key-generate', { key, spec, isSession: true });
    const change = { set: { name: 'sensitive', value: true } };
    const asked = as('alice', 'record-prepare', { keyId: key.keyId, change });
    expect(await refusal(asked)).toBe('HsmAttributeRefused');
  });
});

describe('further attributes', () => {
  const data = { kind: 'data', value: DATA };
  const extra = { '16': Buffer.from('application'), '258': Buffer.alloc(0) };

  test('are kept as they were given, and each is changed by its number', async () => {
    const id = await create(data, KEPT, { extra });
    expect((await facts(id))?.object.extra).toEqual(extra);
    const change = { extra: { '16': Buffer.from('other'), '3': Buffer.from('x') } };
    await as('alice', 'record-prepare', { keyId: id, change });
    expect((await facts(id))?.object.extra).toEqual({ ...extra, ...change.extra });
  });

  test('are so many bytes in all, of attributes that have numbers', async () => {
    const most = { '16': Buffer.alloc(2_000), '17': Buffer.alloc(48) };
    const id = await create(data, KEPT, { extra: most });
    const change = { extra: { '18': Buffer.alloc(1) } };
    const more = as('alice', 'record-prepare', { keyId: id, change });
    expect(await refusal(more)).toBe('HsmAttributeRefused');
    for (const wrong of [{ ...most, '18': Buffer.alloc(1) }, { label: Buffer.alloc(1) }]) {
      await expect(create(data, KEPT, { extra: wrong })).rejects.toEqual(
        code('HsmAttributeRefused'),
      );
    }
    const many = Object.fromEntries(
      Array.from({ length: 1_200 }, (_, at) => [String(at), Buffer.alloc(0)]),
    );
    await expect(create(data, KEPT, { extra: many })).rejects.toEqual(code('HsmAttributeRefused'));
  });

  test('stay where the object is not modifiable', async () => {
    const id = await create(data, {}, { extra });
    const asked = as('alice', 'record-prepare', { keyId: id, change: { extra } });
    expect(await refusal(asked)).toBe('HsmAttributeRefused');
  });
});

describe('a copy', () => {
  const copy = async (
    fromId: HsmKeyId,
    given: Record<string, boolean> = {},
    more: object = {},
  ): Promise<HsmKeyId> => {
    const key = making(given, more);
    await as('alice', 'object-copy', { fromId, key, isSession: true });
    return key.keyId;
  };
  const value = randomBytes(16);
  const CONTENTS: [string, object][] = [
    ['an AES key', { kind: 'secret-key', type: 'aes', value }],
    ['a secret', { kind: 'secret-key', type: 'generic-secret', value: randomBytes(9) }],
    ['data', { kind: 'data', value }],
    ['nothing', { kind: 'data', value: Buffer.alloc(0) }],
    ['a certificate', { kind: 'certificate', value }],
    ['a public key', { kind: 'public-key', value: spki(generateKeyPairSync('ed25519').publicKey) }],
  ];

  test.each(CONTENTS)('of %s has the same bytes under a name of its own', async (_, content) => {
    const id = await create(content, { modifiable: true, extractable: 'type' in content });
    const more = { label: 'twin', id: Buffer.from('id') };
    const twin = await copy(id, {}, more);
    expect(await reveal(twin)).toEqual(await reveal(id));
    const [one, other] = [await facts(id), await facts(twin)] as [KeyFacts, KeyFacts];
    expect(other).toMatchObject({ label: 'twin', revision: 1, sharedWith: [] });
    const { reference, id: own, ...rest } = other.object;
    expect(reference).not.toBe(one.object.reference);
    expect(own).toEqual(more.id);
    expect({ ...rest, id: one.object.id, reference: one.object.reference }).toEqual(one.object);
  });

  test('of an EC key agrees upon what the key does', async () => {
    const ecdh = createECDH('prime256v1');
    ecdh.generateKeys();
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const id = await create({ kind: 'private-key', value: pkcs8(privateKey) });
    const twin = createPrivateKey({
      key: await reveal(await copy(id)),
      format: 'der',
      type: 'pkcs8',
    });
    expect(twin.export({ format: 'jwk' })).toEqual(privateKey.export({ format: 'jwk' }));
  });

  test('is as guarded as the object or more, and remembers how that came', async () => {
    const key = making({ extractable: true, modifiable: true });
    const spec = { type: 'aes', length: 32 };
    await as('alice', 'key-generate', { key, spec, isSession: true });
    const guarded = await copy(key.keyId, { sensitive: true, extractable: false });
    expect(await flagsOf(guarded)).toEqual(['sensitive', 'local', 'modifiable']);
    await expect(copy(guarded, { sensitive: false })).rejects.toEqual(code('HsmAttributeRefused'));
    await expect(copy(guarded, { extractable: true })).rejects.toEqual(code('HsmAttributeRefused'));
    await expect(copy(guarded, { trusted: true })).rejects.toEqual(code('HsmAttributeRefused'));
    const from = making({ sensitive: true });
    await as('alice', 'key-generate', { key: from, spec, isSession: true });
    const as1 = await flagsOf(await copy(from.keyId));
    expect(as1).toEqual(['sensitive', 'always-sensitive', 'never-extractable', 'local']);
    await expect(copy(from.keyId, { encrypt: true })).rejects.toEqual(code('HsmAttributeRefused'));
  });

  test('goes from a session to the token, with what is added to it', async () => {
    const id = await create({ kind: 'data', value }, KEPT, { extra: { '16': Buffer.from('a') } });
    const key = making({}, { extra: { '17': Buffer.from('b') } });
    const { masked } = await as('alice', 'object-copy', { fromId: id, key, stamp: 3 });
    await as('app_user', 'insert', { masked });
    expect(await flagsOf(key.keyId)).toContain('token');
    const found = await facts(key.keyId);
    expect(found?.object.extra).toEqual({ '16': Buffer.from('a'), '17': Buffer.from('b') });
    expect(await reveal(key.keyId)).toEqual(value);
    await as('app_user', 'discard', { keyId: key.keyId });
  });

  test("is not made of another's object, nor of one whose management others approve", async () => {
    const id = await create({ kind: 'data', value }, KEPT);
    const asked = as('bob', 'object-copy', { fromId: id, key: making() });
    expect(await refusal(asked)).toBe('HsmKeyNotFound');
    const key = making({ extractable: true });
    const spec = { type: 'generic-secret', length: 8 };
    const quorum = { manage: 2, use: 2 };
    const fields = { key, spec, share: ['bob'], quorum };
    const { masked } = await as('alice', 'key-generate', fields);
    await as('app_user', 'insert', { masked });
    const shared = as('bob', 'object-copy', { fromId: key.keyId, key: making() });
    expect(await refusal(shared)).toBe('HsmRoleRefused');
    for (const work of [copy, reveal]) {
      expect(await refusal(work(key.keyId))).toBe('HsmQuorumRefused');
    }
    await as('app_user', 'discard', { keyId: key.keyId });
  });
});
