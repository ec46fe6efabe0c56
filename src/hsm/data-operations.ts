import { wipe } from '../core/bytes.js';
import { KeyspanError } from '../core/errors.js';
import type { HsmKeyId } from '../core/ids.js';
import type { HsmFields, HsmResults, SealedData } from '../protocol/hsm-frames.js';
import { gcmDecrypt, gcmEncrypt } from '../token/cipher.js';
import type { Handle } from '../token/token.js';
import { mayUse, type KeyUse, type Session } from './authority.js';
import type { Machine } from './machine.js';

/** The handle of a key that this session may use so. */
function usable(machine: Machine, session: Session, id: HsmKeyId, use: KeyUse): Handle {
  const { keyring } = machine.member;
  const entry = keyring.get(id);
  if (!entry) throw new KeyspanError('HsmKeyNotFound');
  const refusal = mayUse(session, entry.record, use);
  if (refusal) throw new KeyspanError(refusal.refuse, refusal.message);
  return keyring.working(entry);
}

function seal(machine: Machine, key: Handle, aad: Uint8Array, plaintext: Uint8Array): SealedData {
  const iv = machine.token.iv();
  return { iv, data: gcmEncrypt(machine.token, key, iv, aad, plaintext) };
}

export function encrypt(
  machine: Machine,
  session: Session,
  fields: HsmFields<'encrypt'>,
): SealedData {
  const key = usable(machine, session, fields.keyId, 'encrypt');
  return seal(machine, key, fields.aad, fields.data);
}

export function decrypt(
  machine: Machine,
  session: Session,
  fields: HsmFields<'decrypt'>,
): HsmResults['decrypt'] {
  const key = usable(machine, session, fields.keyId, 'decrypt');
  return { data: gcmDecrypt(machine.token, key, fields.iv, fields.aad, fields.data) };
}

/** Opens and seals again without the plaintext leaving this process. */
export function reencrypt(
  machine: Machine,
  session: Session,
  fields: HsmFields<'reencrypt'>,
): SealedData {
  const from = usable(machine, session, fields.keyId, 'decrypt');
  const plaintext = gcmDecrypt(machine.token, from, fields.iv, fields.aad, fields.data);
  try {
    const to = usable(machine, session, fields.toKeyId, 'encrypt');
    return seal(machine, to, fields.toAad, plaintext);
  } finally {
    wipe(plaintext);
  }
}

export function dataKey(
  machine: Machine,
  session: Session,
  fields: HsmFields<'data-key'>,
): HsmResults['data-key'] {
  const key = usable(machine, session, fields.keyId, 'encrypt');
  const plaintext = machine.token.random(fields.length);
  const sealed = seal(machine, key, fields.aad, plaintext);
  if (fields.withPlaintext) return { ...sealed, plaintext };
  wipe(plaintext);
  return sealed;
}

export function random(
  machine: Machine,
  _session: Session,
  fields: HsmFields<'random'>,
): HsmResults['random'] {
  return { data: machine.token.random(fields.length) };
}
