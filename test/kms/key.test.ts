import { describe, expect, test } from 'vitest';
import { KEY_STATES, requireState, requireUsage, type StateGroup } from '../../src/kms/key.js';

const arn = 'arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab';

/** What each state answers to a group: the exception and its sentence, or `ok`. */
function answer(state: (typeof KEY_STATES)[number], group: StateGroup): string {
  try {
    requireState({ arn, state }, group);
    return 'ok';
  } catch (error) {
    const { code, message } = error as { code: string; message: string };
    expect(message.startsWith(`${arn} `)).toBe(true);
    return `${code} ${message.slice(arn.length + 1)}`;
  }
}

test("the states refuse what AWS's table says", () => {
  const table = Object.fromEntries(
    KEY_STATES.map((state) => [
      state,
      [answer(state, 'use'), answer(state, 'switch'), answer(state, 'attach')],
    ]),
  );
  const invalid = (sentence: string): string => `KMSInvalidStateException ${sentence}`;
  expect(table).toEqual({
    Creating: [invalid('is creating.'), invalid('is creating.'), 'ok'],
    Enabled: ['ok', 'ok', 'ok'],
    Disabled: ['DisabledException is disabled.', 'ok', 'ok'],
    PendingDeletion: [
      invalid('is pending deletion.'),
      invalid('is pending deletion.'),
      invalid('is pending deletion.'),
    ],
    PendingImport: [invalid('is pending import.'), invalid('is pending import.'), 'ok'],
    PendingReplicaDeletion: [
      invalid('is pending replica deletion.'),
      invalid('is pending replica deletion.'),
      invalid('is pending replica deletion.'),
    ],
    Unavailable: [invalid('is unavailable.'), 'ok', 'ok'],
    Updating: ['ok', invalid('is updating.'), 'ok'],
  });
});

describe('requireUsage', () => {
  test('lets the right one pass', () => {
    requireUsage({ arn, usage: 'ENCRYPT_DECRYPT' }, 'ENCRYPT_DECRYPT', 'Encrypt');
  });

  test("refuses another in AWS's words", () => {
    expect(() => requireUsage({ arn, usage: 'SIGN_VERIFY' }, 'ENCRYPT_DECRYPT', 'Encrypt')).toThrow(
      expect.objectContaining({
        code: 'InvalidKeyUsageException',
        message: `${arn} key usage is SIGN_VERIFY which is not valid for Encrypt.`,
      }),
    );
  });
});
