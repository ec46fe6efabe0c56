import { expect, test } from 'vitest';
import { isPassing, needsToken } from '../../src/client/retry.js';

const CHANGING = `CreateKey CreateAlias RotateKeyOnDemand DisableKey SomethingNew
  UserLogin UserCreate KeyGenerate KeyUnwrap QuorumGenerate`;
test.each(CHANGING.split(/\s+/))('%s carries a token', (action) =>
  expect(needsToken(action)).toBe(true),
);

const READING = `Encrypt Decrypt ReEncrypt GenerateDataKey ListKeys Subscribe
  UserList KeyFind KeySign KeyWrap QuorumListValues`;
test.each(READING.split(/\s+/))('%s carries none', (action) =>
  expect(needsToken(action)).toBe(false),
);

test('throttling passes, a wrong ciphertext does not', () => {
  expect(isPassing('ThrottlingException')).toBe(true);
  expect(isPassing('VaultUnavailable')).toBe(true);
  expect(isPassing('HsmCredentialsRefused')).toBe(false);
  expect(isPassing('InvalidCiphertextException')).toBe(false);
});
