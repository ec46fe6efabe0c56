import { afterAll, beforeAll, expect, test } from 'vitest';
import { newMaskingKeyId } from '../../src/core/ids.js';
import { LIMITS } from '../../src/core/limits.js';
import { CKA } from '../../src/core/pkcs11.js';
import { gcmDecrypt, gcmEncrypt } from '../../src/token/cipher.js';
import { proveKey } from '../../src/token/mac.js';
import { foundMaskingKeys } from '../../src/token/masking-keys.js';
import { AES_KEY_GEN } from '../../src/token/mechanism.js';
import { listKeys, readAttributes } from '../../src/token/objects.js';
import { ofAes256, storedAesKey } from '../../src/token/template.js';
import type { Handle } from '../../src/token/token.js';
import { generateSessionKey, unwrapToToken, wrapKey } from '../../src/token/wrapping.js';
import { TokenFixture } from '../support/token-fixture.js';

let fixture: TokenFixture;
let masking: Handle;
beforeAll(() => {
  fixture = new TokenFixture();
  fixture.token.initialize({ label: 'one', ...fixture.pins });
  masking = foundMaskingKeys(fixture.token, fixture, newMaskingKeyId()).wrap;
});
afterAll(() => fixture[Symbol.dispose]());

test('a session key, wrapped and unwrapped with the largest record, is the same key', () => {
  const key = generateSessionKey(fixture.token);
  const record = Buffer.alloc(LIMITS.hsm_record_max_bytes, 0x42);
  const blob = wrapKey(fixture.token, masking, key);
  const stored = unwrapToToken(fixture.token, masking, blob, {
    recordBytes: record,
    label: 'a label',
  });
  const proof = proveKey(fixture.token, key, 'id');
  expect(proveKey(fixture.token, stored, 'id').equals(proof)).toBe(true);
  const [listed] = listKeys(fixture.token);
  expect(listed?.label).toBe('a label');
  expect(listed?.recordBytes.equals(record)).toBe(true);
});

test('an unwrapped key can be wrapped again: a later joiner gets it from this HSM', () => {
  const key = generateSessionKey(fixture.token);
  const blob = wrapKey(fixture.token, masking, key);
  const stored = unwrapToToken(fixture.token, masking, blob, {
    recordBytes: Buffer.from([1]),
    label: 'again',
  });
  const second = wrapKey(fixture.token, masking, stored);
  const copy = unwrapToToken(fixture.token, masking, second, {
    recordBytes: Buffer.from([2]),
    label: 'copy',
  });
  const iv = fixture.token.iv();
  const aad = Buffer.from('aad');
  const sealed = gcmEncrypt(fixture.token, key, iv, aad, Buffer.from('text'));
  expect(gcmDecrypt(fixture.token, copy, iv, aad, sealed).toString()).toBe('text');
});

test('a stored key has what it was unwrapped with: it travels under trusted keys alone', () => {
  const { token } = fixture;
  const blob = wrapKey(token, masking, generateSessionKey(token));
  const stored = unwrapToToken(token, masking, blob, {
    recordBytes: Buffer.from([1]),
    label: 'attributes',
  });
  const on = [CKA.TOKEN, CKA.PRIVATE, CKA.SENSITIVE, CKA.EXTRACTABLE, CKA.WRAP_WITH_TRUSTED];
  const off = [CKA.WRAP, CKA.UNWRAP, CKA.DERIVE];
  expect(readAttributes(token, stored, on).map((value) => value[0])).toEqual(on.map(() => 1));
  expect(readAttributes(token, stored, off).map((value) => value[0])).toEqual(off.map(() => 0));
  const untrusted = token.cryptoki.C_GenerateKey(token.anchor, AES_KEY_GEN, [
    ...ofAes256(storedAesKey({ place: 'session' })).filter(({ type }) => type !== CKA.WRAP),
    { type: CKA.WRAP, value: true },
  ]);
  expect(() => wrapKey(token, untrusted, stored)).toThrow(
    expect.objectContaining({ code: 'HsmUsageRefused' }),
  );
});

test('a blob that was changed or cut is HsmDataInvalid, and leaves no object', () => {
  const blob = wrapKey(fixture.token, masking, generateSessionKey(fixture.token));
  const before = listKeys(fixture.token).length;
  const changed = Buffer.from(blob);
  changed[20] = (changed[20] ?? 0) ^ 1;
  for (const bad of [changed, blob.subarray(0, -8), blob.subarray(1), Buffer.alloc(40)]) {
    expect(() =>
      unwrapToToken(fixture.token, masking, bad, { recordBytes: Buffer.from([1]), label: 'bad' }),
    ).toThrow(expect.objectContaining({ code: 'HsmDataInvalid' }));
  }
  expect(listKeys(fixture.token)).toHaveLength(before);
});

test('a record out of bounds is refused', () => {
  const blob = wrapKey(fixture.token, masking, generateSessionKey(fixture.token));
  for (const length of [0, LIMITS.hsm_record_max_bytes + 1]) {
    const record = Buffer.alloc(length);
    expect(() =>
      unwrapToToken(fixture.token, masking, blob, { recordBytes: record, label: 'x' }),
    ).toThrow(expect.objectContaining({ code: 'HsmBadFrame' }));
  }
});
