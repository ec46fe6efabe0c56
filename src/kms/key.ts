import { KeyspanError } from '../core/errors.js';
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

/** Actions that the same key states refuse. Actions in no group work in every state. */
export type StateGroup =
  /** cryptography and rotation on demand */
  | 'use'
  /** EnableKey, DisableKey */
  | 'switch'
  /** CreateAlias, UpdateAlias (the key that the alias shall name) */
  | 'attach';

/** AWS's table of key states: in which words a state refuses a group (absent: it does not). */
const REFUSALS: Readonly<Record<StateGroup, Partial<Record<KeyState, string>>>> = {
  use: {
    Creating: 'is creating.',
    Disabled: 'is disabled.',
    PendingDeletion: 'is pending deletion.',
    PendingImport: 'is pending import.',
    PendingReplicaDeletion: 'is pending replica deletion.',
    Unavailable: 'is unavailable.',
  },
  switch: {
    Creating: 'is creating.',
    PendingDeletion: 'is pending deletion.',
    PendingImport: 'is pending import.',
    PendingReplicaDeletion: 'is pending replica deletion.',
    Updating: 'is updating.',
  },
  attach: {
    PendingDeletion: 'is pending deletion.',
    PendingReplicaDeletion: 'is pending replica deletion.',
  },
};

interface KeyInState {
  readonly arn: string;
  readonly state: KeyState;
}

/** @throws DisabledException, KMSInvalidStateException */
export function requireState(key: KeyInState, group: StateGroup): void {
  const refusal = REFUSALS[group][key.state];
  if (refusal === undefined) return;
  const code = key.state === 'Disabled' ? 'DisabledException' : 'KMSInvalidStateException';
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
