import { afterAll, beforeAll, expect, test } from 'vitest';
import { newMaskingKeyId } from '../../src/core/ids.js';
import { CKA } from '../../src/core/pkcs11.js';
import { findMaskingKeys, foundMaskingKeys } from '../../src/token/masking-keys.js';
import { proveKey } from '../../src/token/mac.js';
import { AES_KEY_GEN, EC_KEY_PAIR_GEN } from '../../src/token/mechanism.js';
import {
  copyToSession,
  createData,
  destroyObject,
  findObjects,
  listData,
  listKeys,
  readAttributes,
} from '../../src/token/objects.js';
import { findIdentity, makeIdentity } from '../../src/token/signature.js';
import { ofAes256, storedAesKey } from '../../src/token/template.js';
import type { Handle } from '../../src/token/token.js';
import { objectFiles, spoilPadding } from '../support/object-files.js';
import { TokenFixture } from '../support/token-fixture.js';

let fixture: TokenFixture;
beforeAll(() => {
  fixture = TokenFixture.ready();
});
afterAll(() => fixture[Symbol.dispose]());

const makeKey = (recordBytes: Buffer, label: string, token = fixture.token): Handle =>
  token.cryptoki.C_GenerateKey(
    token.anchor,
    AES_KEY_GEN,
    ofAes256(storedAesKey({ place: 'token', recordBytes, label })),
  );

test('keys are listed with their records and labels, after a restart too', () => {
  const large = Buffer.alloc(4096, 0xa5);
  makeKey(Buffer.from([1, 2, 3]), 'Schlüssel');
  makeKey(large, '');
  makeIdentity(fixture.token);
  fixture.restart();
  const listed = listKeys(fixture.token);
  expect(listed.map((key) => key.label).sort()).toEqual(['', 'Schlüssel']);
  const byLabel = new Map(listed.map((key) => [key.label, key.recordBytes]));
  expect(byLabel.get('')?.equals(large)).toBe(true);
  expect(byLabel.get('Schlüssel')).toEqual(Buffer.from([1, 2, 3]));
});

test('private keys are listed beside secret ones, public keys and data are not', () => {
  const before = listKeys(fixture.token).length;
  const { cryptoki, anchor } = fixture.token;
  const pair = cryptoki.C_GenerateKeyPair(
    anchor,
    EC_KEY_PAIR_GEN,
    [
      { type: CKA.TOKEN, value: true },
      { type: CKA.PRIVATE, value: true },
      { type: CKA.EC_PARAMS, value: Buffer.from('06082a8648ce3d030107', 'hex') },
    ],
    [
      { type: CKA.TOKEN, value: true },
      { type: CKA.PRIVATE, value: true },
      { type: CKA.SENSITIVE, value: true },
      { type: CKA.ID, value: Buffer.from('ec record') },
      { type: CKA.LABEL, value: 'ec' },
    ],
  );
  createData(fixture.token, { application: 'x', label: 'y', value: Buffer.from([1]) });
  const listed = listKeys(fixture.token);
  expect(listed).toHaveLength(before + 1);
  expect(listed.find((key) => key.label === 'ec')?.handle.equals(pair.privateKey)).toBe(true);
});

test('a copy in memory is the same key, is not listed, and is gone when it is destroyed', () => {
  const handle = makeKey(Buffer.from([9]), 'hot');
  const before = listKeys(fixture.token).length;
  const hot = copyToSession(fixture.token, handle);
  expect(listKeys(fixture.token)).toHaveLength(before);
  const attributes = [CKA.TOKEN, CKA.PRIVATE, CKA.WRAP_WITH_TRUSTED, CKA.SENSITIVE];
  const read = readAttributes(fixture.token, hot, attributes).map((value) => value[0]);
  expect(read).toEqual([0, 1, 1, 1]);
  const proof = proveKey(fixture.token, hot, 'id');
  expect(proof.equals(proveKey(fixture.token, handle, 'id'))).toBe(true);
  destroyObject(fixture.token, hot);
  expect(() => proveKey(fixture.token, hot, 'id')).toThrow(
    expect.objectContaining({ code: 'HsmKeyNotFound' }),
  );
  expect(proveKey(fixture.token, handle, 'id').equals(proof)).toBe(true);
});

test('data objects are listed by application, after a restart too', () => {
  const value = Buffer.alloc(9000, 3);
  createData(fixture.token, { application: 'keyspan-test', label: 'one', value });
  createData(fixture.token, { application: 'other', label: 'two', value: Buffer.from([1]) });
  fixture.restart();
  const listed = listData(fixture.token, 'keyspan-test');
  expect(listed.map((data) => data.label)).toEqual(['one']);
  expect(listed[0]?.value.equals(value)).toBe(true);
  expect(listData(fixture.token, 'nobody')).toEqual([]);
  for (const data of listed) destroyObject(fixture.token, data.handle);
  expect(listData(fixture.token, 'keyspan-test')).toEqual([]);
});

test('data without bytes is refused: its file would look torn', () => {
  const data = { application: 'a', label: 'b', value: Buffer.alloc(0) };
  expect(() => createData(fixture.token, data)).toThrow(
    expect.objectContaining({ code: 'HsmBadFrame' }),
  );
});

test('what is on the token can be seen by the logged-in user alone', () => {
  const count = findObjects(fixture.token, []).length;
  expect(count).toBeGreaterThan(0);
  fixture.token.logout();
  expect(findObjects(fixture.token, [])).toEqual([]);
  fixture.token.loginUser(fixture.userPin);
  expect(findObjects(fixture.token, [])).toHaveLength(count);
});

test('more objects than one batch are all found', () => {
  const template = [...storedAesKey({ place: 'session' })];
  for (let made = 0; made < 4100; made += 1) {
    fixture.token.cryptoki.C_GenerateKey(fixture.token.anchor, AES_KEY_GEN, ofAes256(template));
  }
  expect(findObjects(fixture.token, [{ type: CKA.TOKEN, value: false }])).toHaveLength(4100);
});

test('one damaged file keeps no other object from being read', () => {
  const { token, directory, pins } = fixture;
  const made = (make: () => void): string => {
    const before = new Set(objectFiles(directory));
    make();
    return objectFiles(directory).find((path) => !before.has(path)) ?? '';
  };
  const application = 'keyspan-damage';
  foundMaskingKeys(token, pins, newMaskingKeyId());
  const identity = findIdentity(token)?.publicKey;
  const before = listKeys(token).length;
  const key = made(() => makeKey(Buffer.from([1]), 'damaged'));
  makeKey(Buffer.from([2]), 'whole');
  const data = made(() => createData(token, { application, label: 'd', value: Buffer.from('d') }));
  createData(token, { application, label: 'whole', value: Buffer.from('w') });
  token[Symbol.dispose]();
  for (const path of [key, data]) spoilPadding(path);
  expect(fixture.reopen()).toEqual([]);
  const keys = listKeys(fixture.token);
  expect(keys).toHaveLength(before + 2);
  expect(keys.filter(({ recordBytes }) => recordBytes.length === 0)).toHaveLength(1);
  expect(keys.find(({ label }) => label === 'whole')?.recordBytes).toEqual(Buffer.from([2]));
  expect(listData(fixture.token, application).map(({ label }) => label)).toEqual(['whole']);
  expect(findMaskingKeys(fixture.token)).toBeDefined();
  expect(findIdentity(fixture.token)?.publicKey).toEqual(identity);
});
