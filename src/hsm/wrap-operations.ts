import { asBuffer, wipe } from '../core/bytes.js';
import { KeyspanError } from '../core/errors.js';
import type { HsmFields, HsmResults } from '../protocol/hsm-frames.js';
import { AES_LENGTHS } from '../protocol/objects.js';
import { exposeKey, importKey } from '../token/key-transport.js';
import {
  unwrapPayload,
  wrapPayload,
  type WrapMechanism,
  type WrappingKey,
} from '../token/key-wrap.js';
import { ed25519Pkcs8, kindOfPrivate, spkiOf } from '../token/key-import.js';
import type { Session } from './authority.js';
import { heldKey, openShelved, workingHandle, type HeldKey } from './held-keys.js';
import { needKeyApproval } from './key-approval.js';
import type { Machine } from './machine.js';
import { mayInFips, mayUseObject, mayWrap, objectOf } from './object-authority.js';
import {
  finishKey,
  planKey,
  sealedKey,
  takeOver,
  type Common,
  type NewKey,
} from './object-making.js';
import { kindOf } from './proofs.js';
import { refuse } from './user-operations.js';

type Asked = HsmFields<'key-wrap'>['mechanism'];

const OAEP_HASH = 'sha256';
const GCM_TAG_BITS = 128;

/** With what it lacks as CloudHSM has it. */
function withDefaults(asked: Asked): WrapMechanism {
  const { name, tagBits = GCM_TAG_BITS, aad = new Uint8Array(0), iv } = asked;
  const { hash = OAEP_HASH, mgf = hash } = asked;
  if (name === 'aes-gcm' || name === 'cloudhsm-aes-gcm') {
    return { name, tagLengthBits: tagBits, aad, ...(iv && { iv }) };
  }
  if (name === 'rsa-aes' || name === 'rsa-oaep') return { name, hash, mgf };
  return { name };
}

/** The bytes of a key, within this process; the caller wipes them. */
function bytesOf(machine: Machine, held: HeldKey): Buffer {
  const kind = kindOf(held.record);
  if (!kind) return shelvedBytes(machine, held);
  const { token, masking } = machine.masking;
  return exposeKey(token, masking.wrap, workingHandle(machine, held), kind);
}

/** A private key leaves as PKCS #8, whatever it is kept as. */
function shelvedBytes(machine: Machine, held: HeldKey): Buffer {
  const bytes = openShelved(machine, held);
  if (held.record.object?.curve !== 'ed25519') return bytes;
  try {
    return ed25519Pkcs8(bytes);
  } finally {
    wipe(bytes);
  }
}

/** The other key of a wrapping: AES as its bytes and its handle, RSA as its half that is needed. */
async function wrappingWith<T>(
  machine: Machine,
  held: HeldKey,
  mechanism: WrapMechanism,
  work: (key: WrappingKey) => T,
): Promise<T> {
  const object = objectOf(held.record);
  const isRsa = mechanism.name.startsWith('rsa-');
  if (object?.type !== (isRsa ? 'rsa' : 'aes')) {
    const sentence = `the wrapping key is not for the mechanism ${mechanism.name}`;
    throw new KeyspanError('HsmUsageRefused', sentence);
  }
  if (isRsa) {
    const spki = object.public;
    if (!spki) throw new KeyspanError('HsmUsageRefused');
    const isPublic = object.class === 'public-key';
    return work({ spki, ...(!isPublic && { handle: workingHandle(machine, held) }) });
  }
  const bytes = bytesOf(machine, held);
  try {
    return await work({ handle: workingHandle(machine, held), bytes });
  } finally {
    wipe(bytes);
  }
}

/** A key under another, for who owns it. */
export async function wrap(
  machine: Machine,
  session: Session,
  fields: HsmFields<'key-wrap'>,
): Promise<HsmResults['key-wrap']> {
  const payload = heldKey(machine, session, fields.payloadId);
  const wrapping = heldKey(machine, session, fields.wrappingId);
  refuse(mayWrap(session, payload.record, wrapping.record));
  refuse(mayInFips(machine.fips, fields.mechanism.name));
  const mechanism = withDefaults(fields.mechanism);
  const service = 'key-management';
  needKeyApproval(machine, session, payload.record, { service, approval: fields.payloadApproval });
  needKeyApproval(machine, session, wrapping.record, {
    service,
    approval: fields.wrappingApproval,
  });
  const bytes = bytesOf(machine, payload);
  try {
    return await wrappingWith(machine, wrapping, mechanism, (key) =>
      wrapPayload(machine.token, key, mechanism, bytes),
    );
  } finally {
    wipe(bytes);
  }
}

/** A key that was wrapped elsewhere, or here. */
export async function unwrap(
  machine: Machine,
  session: Session,
  fields: HsmFields<'key-unwrap'>,
): Promise<HsmResults['key-unwrap']> {
  const wrapping = heldKey(machine, session, fields.wrappingId);
  const { record } = wrapping;
  refuse(mayUseObject(session, record, 'unwrap'));
  refuse(mayInFips(machine.fips, fields.mechanism.name));
  const common: Common = fields;
  const { kind, key } = fields;
  const isPrivate = kind === 'rsa-private' || kind === 'ec-private';
  const plan = planKey(machine, session, key, {
    class: isPrivate ? 'private-key' : 'secret-key',
    local: false,
    template: record.object?.unwrapTemplate,
    common,
  });
  const mechanism = withDefaults(fields.mechanism);
  const { approval } = fields;
  needKeyApproval(machine, session, record, { service: 'key-management', approval });
  const bytes = await wrappingWith(machine, wrapping, mechanism, (by) =>
    unwrapPayload(machine.token, by, mechanism, fields.data),
  );
  try {
    const made = newKey(machine, kind, bytes, key.keyId);
    return finishKey(machine, session, key, made, { plan, common });
  } finally {
    wipe(bytes);
  }
}

/** @throws KeyspanError HsmDataInvalid when the bytes are no key of the kind */
function newKey(
  machine: Machine,
  kind: HsmFields<'key-unwrap'>['kind'],
  bytes: Buffer,
  keyId: string,
): NewKey {
  if (kind === 'generic-secret') return sealedKey(machine, bytes, { keyId, seed: false });
  if (kind === 'aes') {
    const lengthBytes = AES_LENGTHS.find((length) => length === bytes.length);
    if (!lengthBytes) throw new KeyspanError('HsmDataInvalid', 'the data holds no AES key');
    const aes = { class: 'secret-key', type: 'aes', lengthBytes } as const;
    return takeOver(machine, importKey(machine.token, aes, bytes), { kind: aes, keyId });
  }
  const found = kindOfPrivate(bytes);
  const type = kind === 'rsa-private' ? 'rsa' : 'ec';
  if (found.type !== type)
    throw new KeyspanError('HsmDataInvalid', `the data holds no ${kind} key`);
  if (found.type === 'ec' && found.curve === 'ed25519') {
    const seed = asBuffer(found.seed);
    try {
      return sealedKey(machine, seed, { keyId, seed: true });
    } finally {
      wipe(seed);
    }
  }
  const spki = spkiOf(bytes);
  return takeOver(machine, importKey(machine.token, found, bytes), { kind: found, keyId, spki });
}
