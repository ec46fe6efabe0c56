import { generateKeyPairSync } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { newHsmKeyId, type HsmKeyId } from '../../src/core/ids.js';
import { LIMITS } from '../../src/core/limits.js';
import { heldKey } from '../../src/hsm/held-keys.js';
import { HotSecrets } from '../../src/hsm/hot-secrets.js';
import { needKeyApproval } from '../../src/hsm/key-approval.js';
import { isShelved, KeyShelf } from '../../src/hsm/key-shelf.js';
import { compileFilter } from '../../src/hsm/key-search.js';
import { checkOf } from '../../src/hsm/object-making.js';
import { readPublic } from '../../src/hsm/object-content.js';
import { kindOf, proofOfSecret } from '../../src/hsm/proofs.js';
import { SessionKeys } from '../../src/hsm/session-keys.js';
import { encodeFrame } from '../../src/protocol/frame-codec.js';
import type { HsmOperation, HsmResults } from '../../src/protocol/hsm-frames.js';
import type { MadeKey } from '../../src/protocol/hsm-key-frames.js';
import { HSM_ROLES } from '../../src/protocol/hsm-frames.js';
import { MachineFixture, PASSWORDS, newKeyRecord } from '../support/hsm-machine.js';

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

let count = 0;
const named = (given: Record<string, boolean> = {}, label = 'a key'): Record<string, unknown> => {
  count += 1;
  const reference = `0x${count.toString(16).padStart(16, '0')}`;
  return { keyId: newHsmKeyId(), reference, label, given };
};
const code = (name: string): unknown => expect.objectContaining({ code: name });
const DATA = Buffer.from('data');

/** A session key of Alice's: it is on this HSM at once. */
async function own(spec: object, given: Record<string, boolean> = {}): Promise<HsmKeyId> {
  const key = named(given);
  await as('alice', 'key-generate', { key, spec, isSession: true });
  return key['keyId'] as HsmKeyId;
}

async function pair(
  spec: object,
  options: object = {},
): Promise<Record<'secret' | 'open', HsmKeyId>> {
  const privateKey = named({ sign: true, unwrap: true });
  const publicKey = named({ verify: true, wrap: true });
  const fields = { privateKey, publicKey, spec, isSession: true, ...options };
  await as('alice', 'key-pair-generate', fields);
  return { secret: privateKey['keyId'] as HsmKeyId, open: publicKey['keyId'] as HsmKeyId };
}

describe('a key that is made', () => {
  test('is masked, and carries what was said of it', async () => {
    const key = named({ wrap: true }, 'masked');
    const made: MadeKey = await as('alice', 'key-generate', {
      key,
      spec: { type: 'generic-secret', length: 13 },
      share: ['BOB'],
      quorum: { manage: 2, use: 2 },
    });
    const { keyId } = await as('app_user', 'insert', { masked: made.masked });
    const found = await as('bob', 'key-find', {
      filter: { attributes: { label: 'masked', wrap: true } },
      limit: 10,
      verbose: true,
    });
    expect(found).toMatchObject({ total: 1, more: false });
    expect(found.keys[0]).toMatchObject({
      id: keyId,
      owner: 'alice',
      sharedWith: ['bob'],
      object: { type: 'generic-secret', length: 13, manage: 2, use: 2 },
    });
    await as('app_user', 'discard', { keyId });
  });

  test.each([
    ['an AES key of 20 bytes', { type: 'aes', length: 20 }],
    ['an AES key of 33 bytes', { type: 'aes', length: 33 }],
  ])('is not %s', async (_, spec) => {
    await expect(as('alice', 'key-generate', { key: named(), spec })).rejects.toEqual(
      code('HsmAttributeRefused'),
    );
  });

  test.each([
    ['an RSA key of 2,100 bits', { type: 'rsa', bits: 2_100 }],
    ['an RSA key with an even exponent', { type: 'rsa', exponent: 65_538 }],
    ['an EC key without a curve', { type: 'ec' }],
  ])('is not %s', async (_, spec) => {
    const fields = { privateKey: named(), publicKey: named(), spec };
    await expect(as('alice', 'key-pair-generate', fields)).rejects.toEqual(
      code('HsmAttributeRefused'),
    );
  });

  test('is not shared with whom there is not, nor asks for approvals that cannot be', async () => {
    const spec = { type: 'aes', length: 32 };
    const asked = { key: named(), spec };
    const share = { ...asked, share: ['nobody'] };
    await expect(as('alice', 'key-generate', share)).rejects.toEqual(code('HsmUserNotFound'));
    const quorum = { ...asked, quorum: { manage: 2, use: 2 } };
    await expect(as('alice', 'key-generate', quorum)).rejects.toEqual(code('HsmAttributeRefused'));
  });

  test('is not made for an attribute that its maker may not set', async () => {
    const fields = { key: named({ trusted: true }), spec: { type: 'aes', length: 32 } };
    await expect(as('alice', 'key-generate', fields)).rejects.toMatchObject({
      message: 'Attribute trusted cannot be set to the value true by the user for this operation',
    });
  });
});

describe('a session key', () => {
  test('is of its session alone, and ends with it', async () => {
    const keyId = await own({ type: 'aes', length: 32 });
    const filter = { filter: { attributes: {} }, limit: 100, verbose: false };
    const ids = async (who: string): Promise<string[]> =>
      (await as(who, 'key-find', filter)).keys.map(({ id }) => id);
    expect(await ids('alice')).toContain(keyId);
    const again = await fixture.login('alice', 'alice-password');
    const other = await fixture.ask('key-find', filter, { session: again });
    expect(other.keys.map(({ id }) => id)).not.toContain(keyId);
    expect(fixture.machine.sessionKeys.size).toBeGreaterThan(0);
    await expect(as('bob', 'key-drop', { keyId })).rejects.toEqual(code('HsmKeyNotFound'));
    await as('alice', 'key-drop', { keyId });
    expect(await ids('alice')).not.toContain(keyId);
    const lost = named();
    const spec = { type: 'aes', length: 32 };
    const fields = { key: lost, spec, isSession: true };
    await fixture.ask('key-generate', fields, { session: again });
    const before = fixture.machine.sessionKeys.size;
    await fixture.ask('logout', {}, { session: again });
    expect(fixture.machine.sessionKeys.size).toBe(before - 1);
  });

  test.each([
    ['AES', { type: 'aes', length: 16 }],
    ['a generic secret', { type: 'generic-secret', length: 5 }],
  ])('%s can become one of the cluster', async (_, spec) => {
    const fromId = await own(spec);
    const keyId = newHsmKeyId();
    const kept = await as('alice', 'key-keep', { fromId, keyId, stamp: 7 });
    expect(kept.masked).toBeDefined();
    await expect(as('bob', 'key-keep', { fromId, keyId })).rejects.toEqual(code('HsmKeyNotFound'));
    await as('alice', 'key-drop', { keyId: fromId });
  });

  test('its attributes are changed at once', async () => {
    const keyId = await own({ type: 'aes', length: 32 });
    const change = { set: { name: 'wrap', value: true } };
    await as('alice', 'record-prepare', { keyId, change });
    const [key] = (
      await as('alice', 'key-find', {
        filter: { attributes: { wrap: 'true', token: 'false' } },
        limit: 1,
        verbose: true,
      })
    ).keys;
    expect(key?.id).toBe(keyId);
    await as('alice', 'key-drop', { keyId });
  });
});

describe('a signature', () => {
  test.each([
    ['rsa', { type: 'rsa', bits: 2_048 }, { name: 'rsa-pkcs' }],
    ['rsa', { type: 'rsa', bits: 2_048 }, { name: 'rsa-pkcs-pss', hash: 'sha384' }],
    ['ec', { type: 'ec', curve: 'secp384r1' }, { name: 'ecdsa', hash: 'sha512' }],
    ['ed25519', { type: 'ec', curve: 'ed25519' }, { name: 'ed25519' }],
    ['ed25519', { type: 'ec', curve: 'ed25519' }, { name: 'ed25519ph' }],
  ])('of %s is verified by its other half', async (_, spec, mechanism) => {
    const { secret, open } = await pair(spec);
    const fields = { mechanism, data: DATA, digested: false };
    const { signature } = await as('alice', 'key-sign', { keyId: secret, ...fields });
    const check = { keyId: open, ...fields, signature };
    expect(await as('alice', 'key-verify', check)).toEqual({ valid: true });
    const other = { ...check, data: Buffer.from('other') };
    expect(await as('alice', 'key-verify', other)).toEqual({ valid: false });
    await expect(as('alice', 'key-sign', { keyId: open, ...fields })).rejects.toEqual(
      code('HsmUsageRefused'),
    );
    for (const keyId of [secret, open]) await as('alice', 'key-drop', { keyId });
  });

  test('is not made by a mechanism that is not for the key', async () => {
    const { secret, open } = await pair({ type: 'ec', curve: 'secp256r1' });
    const fields = { keyId: secret, mechanism: { name: 'rsa-pkcs' }, data: DATA, digested: false };
    await expect(as('alice', 'key-sign', fields)).rejects.toMatchObject({
      message: 'the key is not for the mechanism rsa-pkcs',
    });
    for (const keyId of [secret, open]) await as('alice', 'key-drop', { keyId });
  });
});

describe('wrapping', () => {
  test('under RSA needs the public half to wrap and the private one to unwrap', async () => {
    const { secret, open } = await pair({ type: 'rsa', bits: 2_048 });
    const payloadId = await own({ type: 'aes', length: 32 });
    const mechanism = { name: 'rsa-aes', hash: 'sha256' };
    const { data } = await as('alice', 'key-wrap', { payloadId, wrappingId: open, mechanism });
    const unwrap = { key: named(), mechanism, data, kind: 'aes', isSession: true };
    await as('alice', 'key-unwrap', { ...unwrap, wrappingId: secret });
    const keyId = (unwrap.key as { keyId: HsmKeyId }).keyId;
    const checks = [payloadId, keyId].map((id) => {
      const session = fixture.machine.session(sessions['alice'] ?? 0);
      return heldKey(fixture.machine, session, id).record.object?.check;
    });
    expect(checks[0]).toEqual(checks[1]);
    await expect(
      as('alice', 'key-unwrap', {
        ...unwrap,
        key: named(),
        kind: 'ec-private',
        wrappingId: secret,
      }),
    ).rejects.toEqual(code('HsmDataInvalid'));
    await expect(
      as('alice', 'key-wrap', { payloadId, wrappingId: open, mechanism: { name: 'aes-no-pad' } }),
    ).rejects.toMatchObject({ message: 'the wrapping key is not for the mechanism aes-no-pad' });
  });

  test('an Ed25519 key and a secret come back as they were', async () => {
    const wrappingId = await own({ type: 'aes', length: 32 }, { wrap: true, unwrap: true });
    const { secret: payloadId } = await pair({ type: 'ec', curve: 'ed25519' });
    const mechanism = { name: 'aes-zero-pad' };
    const { data } = await as('alice', 'key-wrap', { payloadId, wrappingId, mechanism });
    const key = named({ sign: true });
    const kind = 'ec-private';
    const unwrap = { key, wrappingId, mechanism, data, kind, isSession: true };
    await as('alice', 'key-unwrap', unwrap);
    const sign = { mechanism: { name: 'ed25519' }, data: DATA, digested: false };
    const [one, other] = await Promise.all(
      [payloadId, key['keyId']].map((keyId) => as('alice', 'key-sign', { keyId, ...sign })),
    );
    expect(one?.signature).toEqual(other?.signature);
  });
});

test('in FIPS mode some things are refused that other clusters do', async () => {
  const { machine } = fixture;
  const wrappingId = (await pair({ type: 'rsa', bits: 2_048 })).open;
  const payloadId = await own({ type: 'aes', length: 32 });
  const wrap = { payloadId, wrappingId, mechanism: { name: 'rsa-pkcs' } };
  expect((await as('alice', 'key-wrap', wrap)).data).toHaveLength(256);
  Object.assign(machine, { fips: true });
  try {
    await expect(as('alice', 'key-wrap', wrap)).rejects.toMatchObject({
      message: 'rsa-pkcs is not available in FIPS mode',
    });
    await expect(pair({ type: 'ec', curve: 'ed25519' })).rejects.toMatchObject({
      message: 'ed25519 is not available in FIPS mode',
    });
  } finally {
    Object.assign(machine, { fips: false });
  }
});

test('what an admin sees of keys is what they are called, and all of one', async () => {
  const keyId = await own({ type: 'aes', length: 32 });
  const made = await as('alice', 'key-generate', {
    key: named({}, 'of alice'),
    spec: { type: 'generic-secret', length: 9 },
  });
  const inserted = await as('app_user', 'insert', { masked: made.masked });
  const all = await as('admin', 'key-find', {
    filter: { attributes: {} },
    limit: 100,
    verbose: true,
  });
  expect(all.keys.map(({ id }) => id)).toContain(inserted.keyId);
  expect(all.keys.map(({ id }) => id)).not.toContain(keyId);
  for (const key of all.keys) expect(Object.keys(key).sort()).toEqual(['id', 'label', 'reference']);
  await as('app_user', 'discard', { keyId: inserted.keyId });
});

test('a public key is read, whatever its curve, if an HSM may hold it', () => {
  const der = (type: 'rsa' | 'ec' | 'ed25519' | 'x25519', options: object = {}): Buffer => {
    const { publicKey } = generateKeyPairSync(type as 'rsa', options as { modulusLength: number });
    return publicKey.export({ format: 'der', type: 'spki' });
  };
  expect(readPublic(der('rsa', { modulusLength: 3_072 }))).toMatchObject({ type: 'rsa' });
  expect(readPublic(der('ec', { namedCurve: 'P-256' }))).toMatchObject({ curve: 'secp256r1' });
  expect(readPublic(der('ed25519'))).toMatchObject({ type: 'ec', curve: 'ed25519' });
  for (const wrong of [der('rsa', { modulusLength: 1_024 }), der('x25519'), Buffer.from('none')]) {
    expect(() => readPublic(wrong)).toThrow(code('HsmDataInvalid'));
  }
});

describe('parts', () => {
  test('keys that the token cannot wrap are kept as data', () => {
    expect(isShelved(newKeyRecord({ kind: 'cluster-key' }))).toBe(true);
    expect(isShelved(newKeyRecord())).toBe(false);
    expect(kindOf(newKeyRecord({ kind: 'cluster-key' }))).toBeUndefined();
    expect(kindOf(newKeyRecord())).toMatchObject({ type: 'aes', lengthBytes: 32 });
  });

  test('a shelf of keys reads each once, and again when it changed', () => {
    const shelf = new KeyShelf(fixture.machine.member.facts);
    expect(shelf.get(newHsmKeyId())).toBeUndefined();
    expect(checkOf(Buffer.from('x'))).toHaveLength(3);
    expect(proofOfSecret(Buffer.from('x'), 'id')).toHaveLength(16);
  });

  test('thousands of what is kept as data are told in one frame', async () => {
    const shelved = Array.from({ length: 20_000 }, () => ({
      record: newKeyRecord({ id: newHsmKeyId() }),
      blob: Buffer.alloc(0),
    }));
    const { secrets } = fixture.machine.member;
    const keys = vi.spyOn(secrets, 'keys').mockReturnValue(shelved as never);
    const page = await as('app_user', 'inventory', { after: '', limit: 1 });
    keys.mockRestore();
    expect(page.packed?.ids).toHaveLength(16 * shelved.length);
    expect(encodeFrame(page).length).toBeLessThan(LIMITS.frame_size_max_bytes);
  });

  test('the objects of secrets are so many, and the oldest goes', () => {
    const gone: Buffer[] = [];
    const hot = new HotSecrets((handle) => void gone.push(handle));
    const ids = Array.from({ length: 257 }, () => newHsmKeyId());
    const [first = newHsmKeyId(), second = newHsmKeyId()] = ids;
    for (const [at, id] of ids.entries()) hot.put(id, Buffer.of(at & 255, at >> 8));
    expect(gone).toEqual([Buffer.of(0, 0)]);
    expect(hot.get(first)).toBeUndefined();
    hot.drop(second);
    expect(gone).toHaveLength(2);
  });

  test('session keys are so many', () => {
    const keys = new SessionKeys(fixture.machine.token);
    const record = newKeyRecord();
    for (let at = 0; at < 1_024; at += 1) {
      keys.add({ session: 1, record: { ...record, id: newHsmKeyId() } });
    }
    expect(() => keys.add({ session: 1, record })).toThrow(code('HsmBusy'));
    keys.end(1);
    expect(keys.size).toBe(0);
  });

  test('a filter asks for all that it names', () => {
    const record = newKeyRecord({ label: 'x' });
    const fits = compileFilter({ attributes: { label: 'x', nothing: 'y' } });
    const object = { flags: 0, id: Buffer.of(1), class: 'secret-key', type: 'aes' } as never;
    expect(fits({ record, object })).toBe(false);
    expect(compileFilter({ attributes: { id: '0x01' } })({ record, object })).toBe(true);
    for (const value of [{ toString: 'x' }, Object.create(null), [], null, undefined]) {
      expect(compileFilter({ attributes: { modulus: value } })({ record, object })).toBe(false);
    }
  });

  test('a key that asks for approvals is not worked with without them', () => {
    const session = { id: 1, username: 'alice', role: HSM_ROLES[2] };
    const plain = newKeyRecord();
    const asked = { service: 'key-usage', approval: undefined } as const;
    expect(() => needKeyApproval(fixture.machine, session, plain, asked)).not.toThrow();
    const object = { use: 2, manage: 2, reference: '0x0000000000000001' } as never;
    expect(() => needKeyApproval(fixture.machine, session, { ...plain, object }, asked)).toThrow();
  });
});
