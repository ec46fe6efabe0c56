import { KeyspanError } from '../core/errors.js';
import type { KmsAction } from '../protocol/kms.js';
import type { KeyUsage } from '../protocol/kms-members.js';

/** KMS API, KeyState. Not all can be reached yet. */
export const KEY_STATES = [
  'Creating',
  'Enabled',
  'Disabled',
  'PendingDeletion',
  'PendingImport',
  'PendingReplicaDeletion',
  'Unavailable',
  'Updating',
] as const;
export type KeyState = (typeof KEY_STATES)[number];

/** Actions that the same key states refuse. */
export type StateGroup =
  /** cryptography and rotation on demand */
  | 'use'
  /** EnableKey, DisableKey */
  | 'switch'
  /** what adds to a key or describes it anew, and what schedules its end */
  | 'attach'
  | 'grant'
  /** of automatic rotation; keys that cannot be rotated were refused before */
  | 'rotation'
  /** a public key can be had of a disabled key: so AWS answers, though its table says otherwise */
  | 'public-key'
  | 'import'
  | 'replicate'
  | 'cancel';

const CREATING = { Creating: 'is creating.' } as const;
const UPDATING = { Updating: 'is updating.' } as const;
const DISABLED = { Disabled: 'is disabled.' } as const;
const IMPORT = { PendingImport: 'is pending import.' } as const;
const GOING = {
  PendingDeletion: 'is pending deletion.',
  PendingReplicaDeletion: 'is pending replica deletion.',
} as const;
const NOT_GOING = 'is not pending deletion.';

/** AWS's table of key states: in which words a state refuses a group (absent: it does not). */
const REFUSALS: Readonly<Record<StateGroup, Partial<Record<KeyState, string>>>> = {
  use: { ...CREATING, ...DISABLED, ...GOING, ...IMPORT, Unavailable: 'is unavailable.' },
  switch: { ...CREATING, ...GOING, ...IMPORT, ...UPDATING },
  attach: GOING,
  grant: { ...CREATING, ...DISABLED, ...GOING, ...IMPORT },
  rotation: { ...CREATING, ...DISABLED, ...GOING, ...UPDATING },
  'public-key': { ...CREATING, ...GOING, ...IMPORT },
  import: { ...CREATING, ...GOING },
  replicate: { ...CREATING, ...GOING, ...UPDATING },
  cancel: {
    Creating: NOT_GOING,
    Enabled: NOT_GOING,
    Disabled: NOT_GOING,
    PendingImport: NOT_GOING,
    Unavailable: NOT_GOING,
    Updating: NOT_GOING,
  },
};

/** The group of each action that works with a key and does not work in every state. */
export const STATE_GROUPS = {
  CancelKeyDeletion: 'cancel',
  CreateAlias: 'attach',
  CreateGrant: 'grant',
  Decapsulate: 'use',
  Decrypt: 'use',
  DeriveSharedSecret: 'use',
  DisableKey: 'switch',
  DisableKeyRotation: 'rotation',
  EnableKey: 'switch',
  EnableKeyRotation: 'rotation',
  Encapsulate: 'use',
  Encrypt: 'use',
  GenerateDataKey: 'use',
  GenerateDataKeyPair: 'use',
  GenerateDataKeyPairWithoutPlaintext: 'use',
  GenerateDataKeyWithoutPlaintext: 'use',
  GenerateMac: 'use',
  GetParametersForImport: 'import',
  GetPublicKey: 'public-key',
  ImportKeyMaterial: 'import',
  ReEncrypt: 'use',
  ReplicateKey: 'replicate',
  RotateKeyOnDemand: 'use',
  ScheduleKeyDeletion: 'attach',
  Sign: 'use',
  TagResource: 'attach',
  UntagResource: 'attach',
  /** of the key that the alias shall name; the state of the one that it named does not matter */
  UpdateAlias: 'attach',
  UpdateKeyDescription: 'attach',
  UpdatePrimaryRegion: 'replicate',
  Verify: 'use',
  VerifyMac: 'use',
} as const satisfies Partial<Record<KmsAction, StateGroup>>;

interface KeyInState {
  readonly arn: string;
  readonly state: KeyState;
}

/** @throws DisabledException, KMSInvalidStateException */
export function requireState(key: KeyInState, group: StateGroup): void {
  const refusal = REFUSALS[group][key.state];
  if (refusal === undefined) return;
  const isDisabled = refusal === DISABLED.Disabled;
  const code = isDisabled ? 'DisabledException' : 'KMSInvalidStateException';
  throw new KeyspanError(code, `${key.arn} ${refusal}`);
}

/** @throws InvalidKeyUsageException */
export function requireUsage(
  key: { readonly arn: string; readonly usage: KeyUsage },
  usage: KeyUsage,
  action: string,
): void {
  if (key.usage === usage) return;
  const sentence = `${key.arn} key usage is ${key.usage} which is not valid for ${action}.`;
  throw new KeyspanError('InvalidKeyUsageException', sentence);
}
