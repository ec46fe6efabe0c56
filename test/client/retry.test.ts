import { expect, test } from 'vitest';
import { isPassing, needsToken } from '../../src/client/retry.js';

test.each(['CreateKey', 'CreateAlias', 'RotateKeyOnDemand', 'DisableKey', 'SomethingNew'])(
  '%s carries a token',
  (action) => expect(needsToken(action)).toBe(true),
);

test.each(['Encrypt', 'Decrypt', 'ReEncrypt', 'GenerateDataKey', 'ListKeys', 'Subscribe'])(
  '%s carries none',
  (action) => expect(needsToken(action)).toBe(false),
);

test('throttling passes, a wrong ciphertext does not', () => {
  expect(isPassing('ThrottlingException')).toBe(true);
  expect(isPassing('InvalidCiphertextException')).toBe(false);
});
