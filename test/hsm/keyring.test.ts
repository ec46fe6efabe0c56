import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { newHsmKeyId, type HsmKeyId } from '../../src/core/ids.js';
import { LIMITS } from '../../src/core/limits.js';
import { CKA } from '../../src/core/pkcs11.js';
import { Keyring, type KeyEntry } from '../../src/hsm/keyring.js';
import { encodeKeyRecord } from '../../src/hsm/records.js';
import { gcmDecrypt, gcmEncrypt } from '../../src/token/cipher.js';
import { proveKey } from '../../src/token/mac.js';
import { foundMaskingKeys, type MaskingKeys } from '../../src/token/masking-keys.js';
import { findObjects, listData, listKeys } from '../../src/token/objects.js';
import type { Handle } from '../../src/token/token.js';
import { generateSessionKey, unwrapToToken, wrapKey } from '../../src/token/wrapping.js';
import { newMaskingKeyId } from '../../src/core/ids.js';
import { newKeyRecord } from '../support/hsm-machine.js';
import { TokenFixture } from '../support/token-fixture.js';

const NO_AAD = Buffer.alloc(0);
const refused = (code: string): unknown => expect.objectContaining({ code });
/** a bound that can be reached, in this process alone */
const HOT = 4;

let fixture: TokenFixture;
let masking: MaskingKeys;
beforeAll(() => {
  Object.assign(LIMITS, { hsm_hot_keys_max: HOT });
  fixture = TokenFixture.ready();
  masking = foundMaskingKeys(fixture.token, fixture, newMaskingKeyId());
});
afterAll(() => fixture[Symbol.dispose]());
beforeEach(() => {
  for (const { handle } of listKeys(fixture.token)) fixture.token.destroy(handle);
});

interface Stored {
  readonly id: HsmKeyId;
  readonly handle: Handle;
}

/** Puts a key on the token with the proof that it has, or another. */
function store(changes: { id?: HsmKeyId; proof?: Uint8Array; revision?: number } = {}): Stored {
  const { token } = fixture;
  const { id = newHsmKeyId() } = changes;
  const key = generateSessionKey(token);
  const proof = changes.proof ?? proveKey(token, key, id);
  return { id, handle: put(key, { id, proof, revision: changes.revision ?? 1 }) };
}

function put(key: Handle, fields: { id: HsmKeyId; proof: Uint8Array; revision: number }): Handle {
  const { token } = fixture;
  const record = encodeKeyRecord(newKeyRecord(fields));
  const handle = unwrapToToken(token, masking.wrap, wrapKey(token, masking.wrap, key), {
    recordBytes: record,
    label: '',
  });
  token.destroy(key);
  return handle;
}

const sessionObjects = (): number =>
  findObjects(fixture.token, [{ type: CKA.TOKEN, value: false }]).length;

const entryOf = (keyring: Keyring, id: HsmKeyId | undefined): KeyEntry => {
  const entry = id && keyring.get(id);
  if (!entry) throw new Error(`${id} is not in the keyring`);
  return entry;
};

describe('a changed record', () => {
  const changed = (of: KeyEntry, changes: Partial<KeyEntry['record']>): KeyEntry['record'] => ({
    ...of.record,
    ...changes,
  });
  const records = (): number => listData(fixture.token, 'keyspan-record').length;

  test('counts from then on, also after a restart, and goes with its key', () => {
    const { id } = store();
    const keyring = Keyring.load(fixture.token);
    const entry = entryOf(keyring, id);
    keyring.amend(entry, changed(entry, { revision: 2, sharedWith: ['bob'] }));
    keyring.amend(entry, changed(entry, { revision: 3, sharedWith: [] }));
    expect(entry.record).toMatchObject({ revision: 3, sharedWith: [] });
    expect(records()).toBe(1);
    const again = Keyring.load(fixture.token);
    expect(entryOf(again, id).record).toEqual(entry.record);
    expect(again.prove(entryOf(again, id))).toBe(true);
    again.delete(id);
    expect(records()).toBe(0);
  });

  test('that was left behind by a crash goes when the key is asked to go again', () => {
    const { id, handle } = store();
    const keyring = Keyring.load(fixture.token);
    const entry = entryOf(keyring, id);
    keyring.amend(entry, changed(entry, { revision: 2 }));
    fixture.token.destroy(handle);
    const again = Keyring.load(fixture.token);
    expect(again.get(id)).toBeUndefined();
    again.delete(id);
    expect(records()).toBe(0);
  });

  test('does not count where the copy has a newer one, or is another key', () => {
    const { id, handle } = store();
    const keyring = Keyring.load(fixture.token);
    const entry = entryOf(keyring, id);
    keyring.amend(entry, changed(entry, { revision: 2, label: 'two' }));
    fixture.token.destroy(handle);
    store({ id, revision: 3, proof: entry.record.proof });
    const newer = Keyring.load(fixture.token);
    expect(entryOf(newer, id).record.revision).toBe(3);
    fixture.token.destroy(entryOf(newer, id).handle);
    store({ id });
    expect(entryOf(Keyring.load(fixture.token), id).record.revision).toBe(1);
  });
});

describe('a keyring', () => {
  test('finds what is on the token, and pages through it in order', () => {
    const ids = [store(), store(), store(), store(), store()].map(({ id }) => id).sort();
    const keyring = Keyring.load(fixture.token);
    expect(keyring.size).toBe(5);
    expect(keyring.page('', 2)).toEqual({ ids: ids.slice(0, 2), more: true });
    expect(keyring.page(ids[1] ?? '', 2)).toEqual({ ids: ids.slice(2, 4), more: true });
    expect(keyring.page(ids[3] ?? '', 2)).toEqual({ ids: ids.slice(4), more: false });
    expect(keyring.page(ids[4] ?? '', 2)).toEqual({ ids: [], more: false });
    expect(keyring.page('', 5)).toEqual({ ids, more: false });
    keyring.delete(entryOf(keyring, ids[2]).record.id);
    expect(keyring.page('', 9).ids).toEqual(ids.filter((id) => id !== ids[2]));
    expect(listKeys(fixture.token)).toHaveLength(4);
  });

  test('works with copies in memory that are as good as the key', () => {
    const { id, handle } = store();
    const keyring = Keyring.load(fixture.token);
    const hot = keyring.working(entryOf(keyring, id));
    expect(keyring.working(entryOf(keyring, id))).toEqual(hot);
    expect(hot).not.toEqual(handle);
    const iv = fixture.token.iv();
    const sealed = gcmEncrypt(fixture.token, hot, iv, NO_AAD, Buffer.from('x'));
    expect(gcmDecrypt(fixture.token, handle, iv, NO_AAD, sealed).toString()).toBe('x');
    keyring.delete(id);
    expect(sessionObjects()).toBe(0);
  });

  test('keeps as many copies as allowed, and those that are used', () => {
    const ids = Array.from({ length: HOT + 2 }, () => store().id);
    const keyring = Keyring.load(fixture.token, { random: () => 0 });
    const work = (at: number): Handle => keyring.working(entryOf(keyring, ids[at]));
    const isHot = (at: number): boolean => entryOf(keyring, ids[at]).hot !== undefined;
    for (let at = 0; at < HOT; at += 1) work(at);
    // all were used alike: one of them goes
    work(HOT);
    const kept = [1, 2, 3].filter(isHot);
    expect([kept.length, isHot(HOT)]).toEqual([3, true]);
    for (const at of kept.slice(1)) work(at);
    work(HOT + 1);
    expect([...kept, HOT + 1].map(isHot)).toEqual([false, true, true, true]);
    expect(keyring.hotSize).toBe(HOT);
    expect(sessionObjects()).toBe(HOT);
    for (const id of ids) keyring.delete(id);
    expect([keyring.hotSize, sessionObjects()]).toEqual([0, 0]);
  });

  test('serves most of what has no place by the token object itself', () => {
    const ids = Array.from({ length: HOT + 1 }, () => store().id);
    let draw = 0.5;
    const keyring = Keyring.load(fixture.token, { random: () => draw });
    for (const id of ids) keyring.working(entryOf(keyring, id));
    const last = entryOf(keyring, ids[HOT]);
    expect([last.hot, keyring.working(last)]).toEqual([undefined, last.handle]);
    expect([keyring.hotSize, sessionObjects()]).toEqual([HOT, HOT]);
    draw = 0.01;
    expect(keyring.working(last)).toEqual(last.hot);
    expect(entryOf(keyring, ids[0]).hot).toBeUndefined();
    expect([keyring.hotSize, sessionObjects()]).toEqual([HOT, HOT]);
    for (const id of ids) keyring.delete(id);
  });

  test('never serves a copy whose proof is wrong, and keeps it', () => {
    const { id } = store({ proof: Buffer.alloc(16) });
    const keyring = Keyring.load(fixture.token);
    const entry = entryOf(keyring, id);
    for (let time = 0; time < 2; time += 1) {
      expect(() => keyring.working(entry)).toThrow(refused('HsmKeyUnproven'));
    }
    expect(entry.proof).toBe('failed');
    expect(keyring.prove(entry)).toBe(false);
    expect([keyring.hotSize, sessionObjects()]).toEqual([0, 0]);
    expect(listKeys(fixture.token)).toHaveLength(1);
  });

  test('counts an object that cannot prove anything as one whose proof failed', () => {
    const { id, handle } = store();
    const keyring = Keyring.load(fixture.token);
    fixture.token.destroy(handle);
    expect(keyring.prove(entryOf(keyring, id))).toBe(false);
  });

  test('proves in idle moments what is due, a few at a time', () => {
    const good = [store().id, store().id, store().id];
    const bad = store({ proof: Buffer.alloc(16) }).id;
    const keyring = Keyring.load(fixture.token);
    expect(keyring.proveSome(2)).toBe(true);
    const due = (): number =>
      [...good, bad].filter((id) => entryOf(keyring, id).proof === 'due').length;
    expect(due()).toBe(2);
    expect(keyring.proveSome(9)).toBe(false);
    expect(due()).toBe(0);
    expect(entryOf(keyring, bad).proof).toBe('failed');
    expect(good.every((id) => entryOf(keyring, id).proof === 'good')).toBe(true);
  });

  test('tells of keys by a manifest, and looks at an object when it is needed', () => {
    const ids = [store().id, store().id, store().id].sort();
    const whole = Keyring.load(fixture.token);
    const notes = whole.notes();
    if (!notes) expect.unreachable('all is in order');
    const manifest = { ...notes, census: '', shelves: {} };
    const keyring = Keyring.load(fixture.token, { manifest });
    expect([keyring.size, keyring.newestStamp()]).toEqual([3, whole.newestStamp()]);
    expect(keyring.page('', 9)).toEqual({ ids, more: false });
    const [id] = ids as [HsmKeyId];
    expect(keyring.noted(id)).toEqual(notes.keys.get(id));
    expect(keyring.get(newHsmKeyId())).toBeUndefined();
    expect([keyring.listSome(0), keyring.notes()]).toEqual([true, undefined]);
    const added = store().id;
    for (const one of ids) expect(keyring.prove(entryOf(keyring, one))).toBe(true);
    expect(keyring.noted(id)).toBeUndefined();
    while (keyring.listSome(1));
    // what the manifest did not know is there too, once everything was looked at
    expect(keyring.page('', 9).ids).toEqual([...ids, added].sort());
    expect(keyring.notes()?.keys.size).toBe(4);
  });

  test('is not vouched for while a copy fails its proof or cannot be read', () => {
    const { id } = store({ proof: Buffer.alloc(16) });
    const keyring = Keyring.load(fixture.token);
    expect(keyring.notes()?.keys.size).toBe(1);
    keyring.prove(entryOf(keyring, id));
    expect(keyring.notes()).toBeUndefined();
  });

  test('does not take a key that was made after the start for another copy of it', () => {
    const manifest = { census: '', stamp: 0, keys: new Map(), shelves: {} };
    const keyring = Keyring.load(fixture.token, { manifest });
    const { id, handle } = store();
    keyring.add(newKeyRecord({ id }), handle, 'good');
    while (keyring.listSome(1));
    expect([keyring.size, entryOf(keyring, id).proof]).toEqual([1, 'good']);
    expect(listKeys(fixture.token)).toHaveLength(1);
  });

  test('passes over what it cannot read', () => {
    const { token } = fixture;
    const blob = wrapKey(token, masking.wrap, generateSessionKey(token));
    unwrapToToken(token, masking.wrap, blob, { recordBytes: Buffer.from('no record'), label: '' });
    const keyring = Keyring.load(token);
    expect([keyring.size, keyring.unreadable]).toEqual([0, 1]);
    expect(listKeys(token)).toHaveLength(1);
  });
});

describe('two copies of one key', () => {
  const newTwins = (first: 'good' | 'bad', second: 'good' | 'bad', other = false): HsmKeyId => {
    const { token } = fixture;
    const id = newHsmKeyId();
    const key = generateSessionKey(token);
    const proof = proveKey(token, key, id);
    const good = wrapKey(token, masking.wrap, key);
    const bad = wrapKey(token, masking.wrap, generateSessionKey(token));
    for (const [at, which] of [first, second].entries()) {
      const says = at === 1 && other ? Buffer.alloc(16, 7) : proof;
      const record = encodeKeyRecord(newKeyRecord({ id, proof: says }));
      unwrapToToken(token, masking.wrap, which === 'good' ? good : bad, {
        recordBytes: record,
        label: '',
      });
    }
    return id;
  };

  test.each([
    ['good', 'good'],
    ['good', 'bad'],
    ['bad', 'good'],
  ] as const)('%s and %s: the one that proves itself stays', (first, second) => {
    const id = newTwins(first, second);
    const keyring = Keyring.load(fixture.token);
    expect(keyring.size).toBe(1);
    expect(keyring.prove(entryOf(keyring, id))).toBe(true);
    keyring.working(entryOf(keyring, id));
    expect(listKeys(fixture.token)).toHaveLength(1);
  });

  test('neither of which proves itself both stay and are not served', () => {
    const id = newTwins('bad', 'bad');
    const keyring = Keyring.load(fixture.token);
    expect(() => keyring.working(entryOf(keyring, id))).toThrow(refused('HsmKeyUnproven'));
    expect(listKeys(fixture.token)).toHaveLength(2);
  });

  test('that claim to be different keys both stay', () => {
    newTwins('good', 'bad', true);
    Keyring.load(fixture.token);
    expect(listKeys(fixture.token)).toHaveLength(2);
  });
});
