import { createPublicKey, verify, type KeyObject } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CKA } from '../../src/core/pkcs11.js';
import { findObjects, listKeys, readAttributes } from '../../src/token/objects.js';
import { findIdentity, makeIdentity, signAsIdentity } from '../../src/token/signature.js';
import { TokenFixture } from '../support/token-fixture.js';

let fixture: TokenFixture;
let publicKey: KeyObject;
beforeAll(() => {
  fixture = TokenFixture.ready();
});
afterAll(() => fixture[Symbol.dispose]());

test('a token without an identity has none to sign with', () => {
  expect(findIdentity(fixture.token)).toBeUndefined();
  expect(() => signAsIdentity(fixture.token, Buffer.from('x'))).toThrow(
    expect.objectContaining({ code: 'HsmPhase' }),
  );
});

test('an identity is made once and found again after a restart', () => {
  const made = makeIdentity(fixture.token);
  fixture.restart();
  const found = findIdentity(fixture.token);
  expect(Buffer.from(made.publicKey).equals(Buffer.from(found?.publicKey ?? []))).toBe(true);
  const key = Buffer.from(made.publicKey);
  publicKey = createPublicKey({ key, format: 'der', type: 'spki' });
  expect(publicKey.asymmetricKeyDetails?.namedCurve).toBe('prime256v1');
});

test('its signatures verify, whatever the lengths of their numbers', () => {
  for (let at = 0; at < 600; at += 1) {
    const message = Buffer.from(`message ${at}`);
    expect(verify('sha256', message, publicKey, signAsIdentity(fixture.token, message))).toBe(true);
  }
  const signature = signAsIdentity(fixture.token, Buffer.from('a'));
  expect(verify('sha256', Buffer.from('b'), publicKey, signature)).toBe(false);
});

test('it is one private object that is no user key and cannot leave', () => {
  expect(findObjects(fixture.token, [])).toHaveLength(1);
  expect(listKeys(fixture.token)).toEqual([]);
  const handle = findIdentity(fixture.token)?.handle;
  expect(handle).toBeDefined();
  if (!handle) return;
  const attributes = [CKA.PRIVATE, CKA.SENSITIVE, CKA.EXTRACTABLE, CKA.TOKEN];
  const read = readAttributes(fixture.token, handle, attributes).map((value) => value[0]);
  expect(read).toEqual([1, 1, 0, 1]);
  expect(() => readAttributes(fixture.token, handle, [CKA.VALUE])).toThrow();
});

test('two identities are a fault, not a choice', () => {
  makeIdentity(fixture.token);
  fixture.restart();
  expect(() => findIdentity(fixture.token)).toThrow(
    expect.objectContaining({ code: 'HsmDeviceError' }),
  );
});
