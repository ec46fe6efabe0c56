import { createHash, createPublicKey } from 'node:crypto';
import { wipe } from '../core/bytes.js';
import type { Deadline } from '../core/deadline.js';
import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import type { HsmFields } from '../protocol/hsm-frames.js';
import type { KeyMaking, MadeKey } from '../protocol/hsm-key-frames.js';
import type { Curve, ObjectClass, ObjectType } from '../protocol/objects.js';
import { AES_LENGTHS, RSA_BITS } from '../protocol/objects.js';
import { ed25519FromSeed } from '../token/key-import.js';
import { generateAes, generateEc } from '../token/key-making.js';
import { destroyObject } from '../token/objects.js';
import { checkValue, proveHandle } from '../token/key-proof.js';
import type { KeyKind } from '../token/key-kind.js';
import type { Handle } from '../token/token.js';
import { unwrapToSession, wrapKey } from '../token/wrapping.js';
import type { Session } from './authority.js';
import type { Machine } from './machine.js';
import { mask, sealSecret } from './masking.js';
import {
  mayAskApprovals,
  mayKeepExtra,
  mergeExtra,
  newFlags,
  sharesOf,
} from './object-authority.js';
import { proofOfSecret } from './proofs.js';
import { encodeKeyRecord, versionOf, type KeyObject, type KeyRecord } from './records.js';
import { isShelved } from './key-shelf.js';
import { refuse } from './user-operations.js';

/** A key, or what stands beside keys, that was made, before it has a record. */
export interface NewKey {
  readonly class: ObjectClass;
  readonly type: ObjectType;
  readonly curve?: Curve | undefined;
  /** in bytes, as a record says it */
  readonly length: number;
  /** under mask-wrap, sealed, or empty, as `isShelved` says */
  readonly blob: Uint8Array;
  readonly proof: Uint8Array;
  /** SubjectPublicKeyInfo, DER */
  readonly spki?: Uint8Array | undefined;
  readonly check?: Uint8Array | undefined;
  /** of the token's, where it is an object of it */
  readonly kind?: KeyKind | undefined;
}

/** How a key came to be. */
export interface Origin {
  /** false: it was imported or unwrapped */
  readonly local: boolean;
  /** of the key that unwrapped it */
  readonly template?: KeyObject['unwrapTemplate'];
}

/** What all makings of keys say besides. */
export type Common = Pick<HsmFields<'key-generate'>, 'share' | 'quorum' | 'isSession' | 'stamp'>;

/** What is decided of a key before it is made, since making one may take seconds. */
export interface Plan {
  readonly flags: number;
  readonly sharedWith: readonly string[];
}

/** @throws KeyspanError HsmAttributeRefused, HsmUserNotFound, HsmAlreadyExists */
export function planKey(
  machine: Machine,
  session: Session,
  making: KeyMaking,
  as: Origin & { readonly class: ObjectClass; readonly common: Common },
): Plan {
  if (machine.hasKey(making.keyId)) throw new KeyspanError('HsmAlreadyExists');
  const { class: of, local, template, common } = as;
  const made = { class: of, local, token: common.isSession !== true, template };
  const flags = newFlags(making, made);
  if ('refuse' in flags) throw new KeyspanError(flags.refuse, flags.message);
  refuse(mayKeepExtra(making.extra));
  const shares = sharesOf(session.username, common.share, machine.users);
  if ('refuse' in shares) throw new KeyspanError(shares.refuse, shares.message);
  const { sharedWith } = shares;
  refuse(mayAskApprovals(common.quorum, 1 + sharedWith.length));
  return { flags: flags.flags, sharedWith };
}

function recordOf(
  session: Session,
  making: KeyMaking,
  key: NewKey,
  as: { readonly plan: Plan; readonly common: Common },
): KeyRecord {
  const { common, plan } = as;
  const object: KeyObject = {
    class: key.class,
    type: key.type,
    reference: making.reference,
    flags: plan.flags,
    id: making.id ?? new Uint8Array(0),
    length: key.length,
    ...(key.curve && { curve: key.curve }),
    ...(key.spki && { public: key.spki }),
    ...(key.check && { check: key.check }),
    manage: common.quorum?.manage ?? 0,
    use: common.quorum?.use ?? 0,
    ...(making.wrapTemplate && { wrapTemplate: making.wrapTemplate }),
    ...(making.unwrapTemplate && { unwrapTemplate: making.unwrapTemplate }),
    ...mergeExtra(undefined, making.extra),
  };
  const record: KeyRecord = {
    version: versionOf(object),
    id: making.keyId,
    revision: 1,
    kind: 'object',
    owner: session.username,
    sharedWith: [...plan.sharedWith],
    label: making.label,
    ...(common.stamp !== undefined && { stamp: common.stamp }),
    usage: { encrypt: false, decrypt: false },
    proof: key.proof,
    object,
  };
  if (encodeKeyRecord(record).length <= LIMITS.hsm_record_max_bytes) return record;
  throw new KeyspanError('HsmAttributeRefused', 'The attributes of the key are too many bytes');
}

/** Masks the key, or keeps it for the session. */
export function finishKey(
  machine: Machine,
  session: Session,
  making: KeyMaking,
  key: NewKey,
  as: { readonly plan: Plan; readonly common: Common },
): MadeKey {
  const record = recordOf(session, making, key, as);
  const { proof, blob } = key;
  if (!as.common.isSession) return { masked: mask(machine.masking, record, blob), proof };
  // the login may have ended while the key was made
  if (!machine.session(session.id)) throw new KeyspanError('HsmNotLoggedIn');
  const handle = isShelved(record) ? undefined : sessionObject(machine, key);
  machine.sessionKeys.add({ session: session.id, record, handle, blob });
  return { proof };
}

const sessionObject = (machine: Machine, { blob, kind }: NewKey): Handle => {
  if (!kind) throw new KeyspanError('HsmBadRecord');
  return unwrapToSession(machine.token, machine.masking.masking.wrap, blob, kind);
};

/** Takes an object of the token's memory over: proved, wrapped, and destroyed. */
export function takeOver(
  machine: Machine,
  handle: Handle,
  key: { readonly kind: KeyKind; readonly keyId: string; readonly spki?: Uint8Array | undefined },
): NewKey {
  const { kind, keyId, spki } = key;
  const { token, masking } = machine.masking;
  try {
    const proof = proveHandle(token, handle, kind, { keyId, spki });
    const blob = wrapKey(token, masking.wrap, handle);
    const check = spki ? checkOf(spki) : checkValue(token, handle);
    return { ...namesOf(kind), length: lengthOf(kind, blob), kind, blob, proof, spki, check };
  } finally {
    destroyObject(token, handle);
  }
}

const namesOf = (kind: KeyKind): Pick<NewKey, 'class' | 'type' | 'curve'> => ({
  class: kind.class,
  type: kind.type,
  ...('curve' in kind && { curve: kind.curve }),
});

/** The semiblock that AES-KWP puts before the key (RFC 5649). */
const KWP_BYTES = 8;

const lengthOf = (kind: KeyKind, blob: Uint8Array): number =>
  'lengthBytes' in kind ? kind.lengthBytes : blob.length - KWP_BYTES;

/** CKA_CHECK_VALUE of a key with a public half: it says nothing of the private one. */
export const checkOf = (bytes: Uint8Array): Buffer =>
  createHash('sha1').update(bytes).digest().subarray(0, 3);

/** A secret that is kept sealed; the caller wipes it. */
export function sealedKey(
  machine: Machine,
  secret: Uint8Array,
  key: { readonly keyId: string; readonly seed: boolean },
): NewKey {
  const { keyId, seed } = key;
  const rest = {
    length: secret.length,
    blob: sealSecret(machine.masking, secret, keyId),
    proof: proofOfSecret(secret, keyId),
  };
  if (!seed) return { class: 'secret-key', type: 'generic-secret', check: undefined, ...rest };
  const { spki } = ed25519FromSeed(secret);
  const check = checkOf(spki);
  return { class: 'private-key', type: 'ec', curve: 'ed25519', spki, check, ...rest };
}

/** The public half of a key, which its record holds as a whole. */
export function publicKey(
  spki: Uint8Array,
  of: { readonly type: ObjectType; readonly curve?: Curve | undefined; readonly keyId: string },
): NewKey {
  const { type, curve, keyId } = of;
  const key = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
  const bits = key.asymmetricKeyDetails?.modulusLength;
  return {
    class: 'public-key',
    type,
    curve,
    length: bits === undefined ? spki.length : Math.ceil(bits / 8),
    blob: new Uint8Array(0),
    proof: proofOfSecret(spki, keyId),
    spki,
    check: checkOf(spki),
  };
}

/** A key of a secret, as somebody asked for it. @throws KeyspanError HsmAttributeRefused */
export function generateSecret(machine: Machine, { spec, key }: HsmFields<'key-generate'>): NewKey {
  const { type, length } = spec;
  const { keyId } = key;
  if (type === 'aes') {
    const lengthBytes = AES_LENGTHS.find((one) => one === length);
    if (!lengthBytes) throw badLength('An AES key has 16, 24 or 32 bytes');
    const kind = { class: 'secret-key', type, lengthBytes } as const;
    return takeOver(machine, generateAes(machine.token, lengthBytes), { kind, keyId });
  }
  const secret = machine.token.random(length);
  try {
    return sealedKey(machine, secret, { keyId, seed: false });
  } finally {
    wipe(secret);
  }
}

const badLength = (sentence: string): KeyspanError =>
  new KeyspanError('HsmAttributeRefused', sentence);

const PUBLIC_EXPONENT = 65_537;
const SEED_BYTES = 32;

/** The private half of a pair; RSA is made in another thread, since it takes up to seconds. */
export async function generatePrivate(
  machine: Machine,
  { spec, privateKey }: HsmFields<'key-pair-generate'>,
  deadline: Deadline,
): Promise<NewKey> {
  const { keyId } = privateKey;
  if (spec.type === 'rsa') {
    const { bits = RSA_BITS.min, exponent = PUBLIC_EXPONENT } = spec;
    if (bits % RSA_BITS.step !== 0) throw badLength('An RSA modulus is a multiple of 256 bits');
    if (exponent % 2 === 0) throw badLength('An RSA public exponent is odd');
    const { blob, spki, proof } = await machine.makeRsa({ bits, exponent, keyId }, deadline);
    const kind = { class: 'private-key', type: 'rsa' } as const;
    const length = lengthOf(kind, blob);
    return { ...namesOf(kind), length, kind, blob, proof, spki, check: checkOf(spki) };
  }
  const { curve } = spec;
  if (!curve) throw badLength('An EC key has a curve');
  if (curve !== 'ed25519') {
    const { handle, spki } = generateEc(machine.token, curve);
    const kind = { class: 'private-key', type: 'ec', curve } as const;
    return takeOver(machine, handle, { kind, keyId, spki });
  }
  const seed = machine.token.random(SEED_BYTES);
  try {
    return sealedKey(machine, seed, { keyId, seed: true });
  } finally {
    wipe(seed);
  }
}
