import { wipe } from '../core/bytes.js';
import { KeyspanError } from '../core/errors.js';
import type { HsmKeyId } from '../core/ids.js';
import { isKeyClass } from '../protocol/objects.js';
import { importSecret, importSeed } from '../token/key-import.js';
import type { Handle } from '../token/token.js';
import type { Session } from './authority.js';
import type { KeyEntry } from './keyring.js';
import type { ShelvedKey } from './key-shelf.js';
import type { Machine } from './machine.js';
import { openSecret } from './masking.js';
import type { KeyRecord } from './records.js';
import type { SessionKey } from './session-keys.js';

/** A key of this HSM, wherever it is kept. */
export interface HeldKey {
  readonly record: KeyRecord;
  readonly entry?: KeyEntry | undefined;
  readonly shelved?: ShelvedKey | undefined;
  readonly own?: SessionKey | undefined;
}

/** A key of the cluster, or of this session alone. */
export function findHeld(
  machine: Machine,
  session: Session | undefined,
  id: HsmKeyId,
): HeldKey | undefined {
  const { keyring, secrets } = machine.member;
  const entry = keyring.get(id);
  if (entry) return { record: entry.record, entry };
  const shelved = secrets.get(id);
  if (shelved) return { record: shelved.record, shelved };
  const own = session && machine.sessionKeys.get(session.id, id);
  return own && { record: own.record, own };
}

/** @throws KeyspanError HsmKeyNotFound */
export function heldKey(machine: Machine, session: Session | undefined, id: HsmKeyId): HeldKey {
  const held = findHeld(machine, session, id);
  if (!held) throw new KeyspanError('HsmKeyNotFound');
  return held;
}

/** The newest record counts at once, on the token first. */
export function amendHeld(machine: Machine, held: HeldKey, record: KeyRecord): void {
  const { keyring, secrets } = machine.member;
  if (held.entry) keyring.amend(held.entry, record);
  else if (held.shelved) secrets.amend(record);
  else if (held.own) held.own.record = record;
}

/**
 * The bytes of a key or of content that is kept sealed; the caller wipes them.
 * @throws KeyspanError HsmUsageRefused for a key that has none
 */
export function openShelved(machine: Machine, { record, shelved, own }: HeldKey): Buffer {
  const blob = shelved?.blob ?? own?.blob;
  if (blob && blob.length > 0) return openSecret(machine.masking, blob, record.id);
  if (blob && record.object?.class === 'data') return Buffer.alloc(0);
  throw new KeyspanError('HsmUsageRefused');
}

/**
 * The handle to work with.
 * @throws KeyspanError HsmKeyUnproven, HsmUsageRefused for a public key and for what is no key
 */
export function workingHandle(machine: Machine, held: HeldKey): Handle {
  if (held.entry) return machine.member.keyring.working(held.entry);
  if (held.own?.handle) return held.own.handle;
  const { object } = held.record;
  if (object && !isKeyClass(object.class)) throw new KeyspanError('HsmUsageRefused');
  return machine.hotSecrets.get(held.record.id) ?? warmSecret(machine, held);
}

function warmSecret(machine: Machine, held: HeldKey): Handle {
  const bytes = openShelved(machine, held);
  try {
    const isSeed = held.record.object?.curve === 'ed25519';
    const handle = (isSeed ? importSeed : importSecret)(machine.token, bytes);
    machine.hotSecrets.put(held.record.id, handle);
    return handle;
  } finally {
    wipe(bytes);
  }
}
