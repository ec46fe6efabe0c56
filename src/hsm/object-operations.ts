import { createPublicKey, type KeyObject as CryptoKey } from 'node:crypto';
import { asBuffer, wipe } from '../core/bytes.js';
import { deadlineIn } from '../core/deadline.js';
import { KeyspanError } from '../core/errors.js';
import type { HsmFields, HsmResults } from '../protocol/hsm-frames.js';
import { RSA_BITS, withFlag, type Curve } from '../protocol/objects.js';
import type { Session } from './authority.js';
import { heldKey, openShelved } from './held-keys.js';
import type { Machine } from './machine.js';
import { mask, sealSecret } from './masking.js';
import { mayDelete, mayInFips, mayOwn } from './object-authority.js';
import {
  finishKey,
  generatePrivate,
  generateSecret,
  planKey,
  publicKey,
  type Common,
} from './object-making.js';
import { proofOfSecret, proveCopy } from './proofs.js';
import type { KeyRecord } from './records.js';
import { refuse } from './user-operations.js';
import { wrapKey } from '../token/wrapping.js';

/** Makes a secret key; it is on no token yet, unless it is the session's. */
export function generateKey(
  machine: Machine,
  session: Session,
  fields: HsmFields<'key-generate'>,
): HsmResults['key-generate'] {
  const common: Common = fields;
  const as = { class: 'secret-key', local: true, common } as const;
  const plan = planKey(machine, session, fields.key, as);
  return finishKey(machine, session, fields.key, generateSecret(machine, fields), { plan, common });
}

/** Makes both halves of a pair, under a record each. */
export async function generatePair(
  machine: Machine,
  session: Session,
  fields: HsmFields<'key-pair-generate'>,
  timeoutMs: number,
): Promise<HsmResults['key-pair-generate']> {
  const common: Common = fields;
  const origin = { local: true, common };
  const { privateKey, publicKey: publicMaking, spec } = fields;
  refuse(mayInFips(machine.fips, spec.curve ?? spec.type));
  const secretPlan = planKey(machine, session, privateKey, { class: 'private-key', ...origin });
  // approvals are for what the private key does, and everybody sees the public one
  const { quorum: _, share: __, ...open } = common;
  const publicOrigin = { class: 'public-key', local: true, common: open } as const;
  const publicPlan = planKey(machine, session, publicMaking, publicOrigin);
  const made = await generatePrivate(machine, fields, deadlineIn(timeoutMs));
  const { type, curve, spki } = made;
  if (!spki) throw new KeyspanError('HsmDeviceError');
  const half = publicKey(spki, { type, curve, keyId: publicMaking.keyId });
  return {
    privateKey: finishKey(machine, session, privateKey, made, { plan: secretPlan, common }),
    publicKey: finishKey(machine, session, publicMaking, half, { plan: publicPlan, common: open }),
  };
}

/** A public key that somebody brought. */
export function importPublic(
  machine: Machine,
  session: Session,
  fields: HsmFields<'key-import'>,
): HsmResults['key-import'] {
  const common: Common = fields;
  const { key, type, der } = fields;
  const read = readPublic(der);
  if (read.type !== type) {
    throw new KeyspanError('HsmDataInvalid', `the public key is not of type ${type}`);
  }
  const plan = planKey(machine, session, key, { class: 'public-key', local: false, common });
  const half = publicKey(read.spki, { ...read, keyId: key.keyId });
  return finishKey(machine, session, key, half, { plan, common });
}

const CURVE_OF: Readonly<Record<string, Curve>> = {
  secp224r1: 'secp224r1',
  prime256v1: 'secp256r1',
  secp384r1: 'secp384r1',
  secp256k1: 'secp256k1',
  secp521r1: 'secp521r1',
};

/** @throws KeyspanError HsmDataInvalid for what is no public key that an HSM may hold */
export function readPublic(der: Uint8Array): {
  readonly type: 'rsa' | 'ec';
  readonly curve?: Curve;
  readonly spki: Buffer;
} {
  const key = parsePublic(der);
  const spki = key.export({ format: 'der', type: 'spki' });
  const { modulusLength = 0, namedCurve = '' } = key.asymmetricKeyDetails ?? {};
  if (key.asymmetricKeyType === 'ed25519') return { type: 'ec', curve: 'ed25519', spki };
  const curve = CURVE_OF[namedCurve];
  if (key.asymmetricKeyType === 'ec' && curve) return { type: 'ec', curve, spki };
  const { min, max, step } = RSA_BITS;
  const fits = modulusLength >= min && modulusLength <= max && modulusLength % step === 0;
  if (key.asymmetricKeyType === 'rsa' && fits) return { type: 'rsa', spki };
  throw new KeyspanError('HsmDataInvalid', 'the public key is of no type that an HSM holds');
}

function parsePublic(der: Uint8Array): CryptoKey {
  try {
    return createPublicKey({ key: asBuffer(der), format: 'der', type: 'spki' });
  } catch (cause) {
    throw new KeyspanError('HsmDataInvalid', 'the public key cannot be read', { cause });
  }
}

/** A session key becomes one of the cluster, under another id. */
export function keepKey(
  machine: Machine,
  session: Session,
  fields: HsmFields<'key-keep'>,
): HsmResults['key-keep'] {
  const { fromId, keyId, stamp } = fields;
  if (machine.hasKey(keyId)) throw new KeyspanError('HsmAlreadyExists');
  const held = heldKey(machine, session, fromId);
  const { record, own } = held;
  refuse(mayOwn(session, record, 'keep'));
  const { object } = record;
  if (!own || !object) throw new KeyspanError('HsmUsageRefused', 'it is no session key');
  const kept: KeyRecord = {
    ...record,
    id: keyId,
    revision: 1,
    object: { ...object, flags: withFlag(object.flags, 'token', true) },
    ...(stamp !== undefined && { stamp }),
  };
  const { token, masking } = machine.masking;
  if (own.handle) {
    const proof = proveCopy(token, own.handle, kept);
    const blob = wrapKey(token, masking.wrap, own.handle);
    return { masked: mask(machine.masking, { ...kept, proof }, blob), proof };
  }
  if (object.class === 'public-key') {
    const proof = proofOfSecret(object.public ?? new Uint8Array(0), keyId);
    return { masked: mask(machine.masking, { ...kept, proof }, new Uint8Array(0)), proof };
  }
  const secret = openShelved(machine, held);
  try {
    const proof = proofOfSecret(secret, keyId);
    const blob = sealSecret(machine.masking, secret, keyId);
    return { masked: mask(machine.masking, { ...kept, proof }, blob), proof };
  } finally {
    wipe(secret);
  }
}

/** Whether the user may end a key's life; the ledger's commit ends it. */
export function destroyable(
  machine: Machine,
  session: Session,
  { keyId }: HsmFields<'key-destroyable'>,
): HsmResults['key-destroyable'] {
  refuse(mayDelete(session, heldKey(machine, session, keyId).record));
  return {};
}

/** The end of a session key. */
export function dropKey(
  machine: Machine,
  session: Session,
  { keyId }: HsmFields<'key-drop'>,
): HsmResults['key-drop'] {
  const own = machine.sessionKeys.get(session.id, keyId);
  if (!own) throw new KeyspanError('HsmKeyNotFound');
  refuse(mayDelete(session, own.record));
  machine.sessionKeys.delete(session.id, keyId);
  machine.hotSecrets.drop(keyId);
  return {};
}
