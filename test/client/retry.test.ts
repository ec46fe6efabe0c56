import { expect, test } from 'vitest';
import { isPassing, needsToken } from '../../src/client/retry.js';

test.each([
  'CreateKey',
  'CreateAlias',
  'RotateKeyOnDemand',
  'DisableKey',
  'SomethingNew',
  'UserLogin',
  'UserCreate',
  'KeyGenerate',
  'KeyUnwrap',
  'QuorumGenerate',
])('%s carries a token', (action) => expect(needsToken(action)).toBe(true));

test.each([
  'Encrypt',
  'Decrypt',
  'ReEncrypt',
  'GenerateDataKey',
  'ListKeys',
  'Subscribe',
  'UserList',
  'KeyFind',
  'KeySign',
  'KeyWrap',
  'QuorumListValues',
])('%s carries none', (action) => expect(needsToken(action)).toBe(false));

test('throttling passes, a wrong ciphertext does not', () => {
  expect(isPassing('ThrottlingException')).toBe(true);
  expect(isPassing('VaultUnavailable')).toBe(true);
  expect(isPassing('HsmCredentialsRefused')).toBe(false);
  expect(isPassing('InvalidCiphertextException')).toBe(false);
});
