import { describe, expect, test } from 'vitest';
import { AssertionError } from '../../src/core/assert.js';
import { ERRORS, KeyspanError, type ErrorCode } from '../../src/core/errors.js';
import { toKmsError } from '../../src/kms/vault-errors.js';

const place = { action: 'Encrypt', resource: 'arn:aws:kms:eu-central-1:111122223333:key/k' };

describe('toKmsError', () => {
  test.each<[ErrorCode, string, string]>([
    ['VaultUnavailable', 'KeyUnavailableException', 'No HSM is active. Try again later.'],
    ['VaultKeyMissing', 'KMSInvalidStateException', `${place.resource} is unavailable.`],
    ['VaultTimeout', 'DependencyTimeoutException', 'no HSM answered within the deadline'],
    ['KeyspanDeadlineExceeded', 'DependencyTimeoutException', ERRORS.DependencyTimeoutException],
    [
      'VaultBusy',
      'ThrottlingException',
      'You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls.',
    ],
    [
      'VaultNotDurable',
      'KMSInternalException',
      'The key could not be put on enough HSMs. Try again later.',
    ],
  ])('%s becomes %s', (code, answered, sentence) => {
    const error = toKmsError(new KeyspanError(code, 'private: 10.0.0.7'), place);
    expect(error).toMatchObject({ code: answered, message: sentence });
    expect(error.cause).toMatchObject({ code });
  });

  test('data that does not open is a bad ciphertext where something is opened', () => {
    const cause = new KeyspanError('VaultDataInvalid');
    for (const action of ['Decrypt', 'ReEncrypt']) {
      const error = toKmsError(cause, { ...place, action });
      expect(error).toMatchObject({ code: 'InvalidCiphertextException', message: '' });
    }
    expect(toKmsError(cause, place)).toMatchObject({ code: 'KMSInternalException' });
  });

  test('no code of ours that is not AWS’s own gets out, nor any cause', () => {
    for (const code of Object.keys(ERRORS) as ErrorCode[]) {
      const error = toKmsError(new KeyspanError(code, 'private'), place);
      expect(error).toHaveProperty('code');
      expect((error as KeyspanError).code).not.toMatch(/^(Vault|Hsm|Store|Keyspan)/);
      if (/^(Vault|Hsm|Store|Keyspan)/.test(code)) expect(error.message).not.toMatch(/private/);
      else expect(error.message).toBe('private');
    }
    expect(toKmsError(new TypeError('private'), place)).toMatchObject({
      code: 'KMSInternalException',
      message: expect.not.stringMatching(/private/),
    });
  });

  test('a broken invariant stays one', () => {
    const error = new AssertionError('x');
    expect(toKmsError(error, place)).toBe(error);
  });
});
