import { wipe } from '../core/bytes.js';
import { KeyspanError } from '../core/errors.js';
import type { HsmFields, HsmResults } from '../protocol/hsm-frames.js';
import {
  unwrapPayload,
  wrapPayload,
  type WrapMechanism,
  type WrappingKey,
} from '../token/key-wrap.js';
import type { Session } from './authority.js';
import { heldKey, workingHandle, type HeldKey } from './held-keys.js';
import { needKeyApproval } from './key-approval.js';
import type { Machine } from './machine.js';
import { mayInFips, mayUseObject, mayWrap, objectOf } from './object-authority.js';
import { contentOf, keyOfBytes } from './object-content.js';
import { finishKey, planKey, type Common } from './object-making.js';
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
  const bytes = contentOf(machine, held);
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
  const bytes = contentOf(machine, payload);
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
    const made = keyOfBytes(machine, kind, bytes, key.keyId);
    return finishKey(machine, session, key, made, { plan, common });
  } finally {
    wipe(bytes);
  }
}
