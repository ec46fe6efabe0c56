import { describe, expect, test } from 'vitest';
import {
  KEY_STATES,
  requireState,
  requireUsage,
  STATE_GROUPS,
  type KeyState,
  type StateGroup,
} from '../../src/kms/key.js';

const arn = 'arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab';

/** What a state answers to a group: the exception and its sentence, or `ok`. */
function answer(state: KeyState, group: StateGroup): string {
  try {
    requireState({ arn, state }, group);
    return 'ok';
  } catch (error) {
    const { code, message } = error as { code: string; message: string };
    expect(message.startsWith(`${arn} `)).toBe(true);
    return `${code} ${message.slice(arn.length + 1)}`;
  }
}

const INVALID = 'KMSInvalidStateException';
const CREATING = `${INVALID} is creating.`;
const DISABLED = 'DisabledException is disabled.';
const DELETION = `${INVALID} is pending deletion.`;
const IMPORT = `${INVALID} is pending import.`;
const REPLICAS = `${INVALID} is pending replica deletion.`;
const UNAVAILABLE = `${INVALID} is unavailable.`;
const UPDATING = `${INVALID} is updating.`;
const NOT_DELETION = `${INVALID} is not pending deletion.`;

/**
 * Cell by cell, in the order of the states: Creating, Enabled, Disabled, PendingDeletion,
 * PendingImport, PendingReplicaDeletion, Unavailable, Updating.
 */
const USE = [CREATING, 'ok', DISABLED, DELETION, IMPORT, REPLICAS, UNAVAILABLE, 'ok'];
const SWITCH = [CREATING, 'ok', 'ok', DELETION, IMPORT, REPLICAS, 'ok', UPDATING];
const ATTACH = ['ok', 'ok', 'ok', DELETION, 'ok', REPLICAS, 'ok', 'ok'];
/** a key that waits for its material or its key store was refused for its origin before */
const ROTATION = [CREATING, 'ok', DISABLED, DELETION, 'ok', REPLICAS, 'ok', UPDATING];
const BRING_IN = [CREATING, 'ok', 'ok', DELETION, 'ok', REPLICAS, 'ok', 'ok'];
const REPLICATE = [CREATING, 'ok', 'ok', DELETION, 'ok', REPLICAS, 'ok', UPDATING];

const TABLE: readonly (readonly [keyof typeof STATE_GROUPS, readonly string[]])[] = [
  [
    'CancelKeyDeletion',
    [
      NOT_DELETION,
      NOT_DELETION,
      NOT_DELETION,
      'ok',
      NOT_DELETION,
      'ok',
      NOT_DELETION,
      NOT_DELETION,
    ],
  ],
  ['CreateAlias', ATTACH],
  ['CreateGrant', [CREATING, 'ok', DISABLED, DELETION, IMPORT, REPLICAS, 'ok', 'ok']],
  ['Decapsulate', USE],
  ['Decrypt', USE],
  ['DeriveSharedSecret', USE],
  ['DisableKey', SWITCH],
  ['DisableKeyRotation', ROTATION],
  ['EnableKey', SWITCH],
  ['EnableKeyRotation', ROTATION],
  ['Encapsulate', USE],
  ['Encrypt', USE],
  ['GenerateDataKey', USE],
  ['GenerateDataKeyPair', USE],
  ['GenerateDataKeyPairWithoutPlaintext', USE],
  ['GenerateDataKeyWithoutPlaintext', USE],
  ['GenerateMac', USE],
  ['GetParametersForImport', BRING_IN],
  ['GetPublicKey', [CREATING, 'ok', 'ok', DELETION, IMPORT, REPLICAS, 'ok', 'ok']],
  ['ImportKeyMaterial', BRING_IN],
  ['ReEncrypt', USE],
  ['ReplicateKey', REPLICATE],
  ['RotateKeyOnDemand', USE],
  ['ScheduleKeyDeletion', ATTACH],
  ['Sign', USE],
  ['TagResource', ATTACH],
  ['UntagResource', ATTACH],
  ['UpdateAlias', ATTACH],
  ['UpdateKeyDescription', ATTACH],
  ['UpdatePrimaryRegion', REPLICATE],
  ['Verify', USE],
  ['VerifyMac', USE],
];

describe("the states refuse what AWS's table says", () => {
  test.each(TABLE)('%s', (action, cells) => {
    const order = [
      'Creating',
      'Enabled',
      'Disabled',
      'PendingDeletion',
      'PendingImport',
      'PendingReplicaDeletion',
      'Unavailable',
      'Updating',
    ] as const;
    expect(order).toEqual(KEY_STATES);
    expect(order.map((state) => answer(state, STATE_GROUPS[action]))).toEqual(cells);
  });

  test('no action is left out', () => {
    expect(TABLE.map(([action]) => action)).toEqual(Object.keys(STATE_GROUPS));
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
