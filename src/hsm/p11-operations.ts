import { equalConstantTime, wipe } from '../core/bytes.js';
import { KeyspanError } from '../core/errors.js';
import { CKM } from '../core/pkcs11.js';
import type { HsmFields, HsmResults } from '../protocol/hsm-frames.js';
import type { FlagName } from '../protocol/objects.js';
import {
  aesDecrypt,
  aesEncrypt,
  rsaDecryptData,
  rsaEncryptData,
  type RsaPadding,
} from '../token/data-cipher.js';
import {
  digestInPieces,
  digestOf,
  hashNamed,
  isCmac,
  macInPieces,
  signAs,
  signatureKind,
} from '../token/data-signature.js';
import { verifyAs } from '../token/data-verification.js';
import { agree } from '../token/derivation.js';
import type { Session } from './authority.js';
import { heldKey, workingHandle, type HeldKey } from './held-keys.js';
import { needKeyApproval } from './key-approval.js';
import type { Machine } from './machine.js';
import { mayFindObject, mayInFips, mayOwn, mayUseObject, objectOf } from './object-authority.js';
import { keyOfBytes } from './object-content.js';
import { finishKey, planKey } from './object-making.js';
import type { KeyObject } from './records.js';
import { refuse } from './user-operations.js';

/** PKCS #11's cryptography with users' keys. */

type Mechanism = HsmFields<'p11-sign'>['mechanism'];

interface UsedKey {
  readonly held: HeldKey;
  readonly object: KeyObject;
}

/**
 * A key that the login may use so. Who is no crypto-user has public keys alone, and those that
 * are nobody's secret.
 */
function usedKey(
  machine: Machine,
  session: Session,
  keyId: HsmFields<'p11-sign'>['keyId'],
  use: FlagName,
): UsedKey {
  const held = heldKey(machine, session, keyId);
  const { record } = held;
  const object = objectOf(record);
  if (session.role !== 'crypto-user' && !mayFindObject(session, record)) {
    throw new KeyspanError('HsmKeyNotFound');
  }
  refuse(mayUseObject(session, record, use));
  if (!object) throw new KeyspanError('HsmKeyNotFound');
  const isOpen = object.class === 'public-key';
  if (session.role !== 'crypto-user' && !isOpen) throw new KeyspanError('HsmRoleRefused');
  if (!isOpen) {
    needKeyApproval(machine, session, record, { service: 'key-usage', approval: undefined });
  }
  return { held, object };
}

const mechanismInvalid = (): KeyspanError => new KeyspanError('HsmMechanismInvalid');

/** How RSA pads under a mechanism. @throws KeyspanError HsmMechanismInvalid */
function rsaPadding({ type, hash, mgf, label }: Mechanism): RsaPadding {
  if (type === CKM.RSA_PKCS) return { name: 'pkcs1' };
  if (type === CKM.RSA_X_509) return { name: 'none' };
  if (type !== CKM.RSA_PKCS_OAEP) throw mechanismInvalid();
  const names = { hash: hashNamed(hash), mgf: hashNamed(MGF_HASH[mgf ?? 0]) };
  if (!names.hash || !names.mgf) throw new KeyspanError('HsmMechanismParamInvalid');
  return { name: 'oaep', hash: names.hash, mgf: names.mgf, ...(label && { label }) };
}

/** The hashes of CKG_MGF1_SHA1, SHA256, SHA384, SHA512, SHA224. */
const MGF_HASH: Readonly<Record<number, number>> = {
  1: CKM.SHA_1,
  2: CKM.SHA256,
  3: CKM.SHA384,
  4: CKM.SHA512,
  5: CKM.SHA224,
};

/** One whole encryption or decryption. */
export function cipherData(
  machine: Machine,
  session: Session,
  fields: HsmFields<'p11-cipher'>,
): HsmResults['p11-cipher'] {
  const { keyId, direction, mechanism, data } = fields;
  const { held, object } = usedKey(machine, session, keyId, direction);
  const { token } = machine;
  if (object.type === 'aes') {
    const work = direction === 'encrypt' ? aesEncrypt : aesDecrypt;
    return { data: work(token, workingHandle(machine, held), mechanism, data) };
  }
  const { public: spki } = object;
  if (object.type !== 'rsa' || !spki) throw mechanismInvalid();
  const padding = rsaPadding(mechanism);
  if (padding.name === 'pkcs1') refuse(mayInFips(machine.fips, 'rsa-pkcs'));
  if (object.class === 'public-key') return { data: rsaEncryptData(spki, padding, data) };
  const handle = workingHandle(machine, held);
  return { data: rsaDecryptData(token, { handle, spki }, padding, data) };
}

/** Which keys a kind of signature works with. */
const FITS: Readonly<Record<ReturnType<typeof signatureKind>, (key: KeyObject) => boolean>> = {
  rsa: ({ type }) => type === 'rsa',
  pss: ({ type }) => type === 'rsa',
  ecdsa: ({ type, curve }) => type === 'ec' && curve !== 'ed25519',
  eddsa: ({ curve }) => curve === 'ed25519',
  mac: ({ class: of }) => of === 'secret-key',
};

/** @throws KeyspanError HsmMechanismInvalid for a mechanism that is not for the key */
function fitting({ type }: Mechanism, object: KeyObject): void {
  const kind = signatureKind(type);
  const isAes = object.type === 'aes';
  // SoftHSM's process ends when PSS meets a key that is not RSA
  if (FITS[kind](object) && (kind !== 'mac' || isCmac(type) === isAes)) return;
  throw mechanismInvalid();
}

/** Bytes of one coordinate. */
const CURVE_BYTES: Readonly<Record<string, number>> = {
  secp224r1: 28,
  secp256r1: 32,
  secp384r1: 48,
  secp256k1: 32,
  secp521r1: 66,
};

const partsOf = ({
  public: spki,
  curve,
}: KeyObject): { spki?: Uint8Array; curveBytes?: number } => {
  const curveBytes = curve === undefined ? undefined : CURVE_BYTES[curve];
  return { ...(spki && { spki }), ...(curveBytes !== undefined && { curveBytes }) };
};

/** One whole signature or MAC. */
export function signWhole(
  machine: Machine,
  session: Session,
  { keyId, mechanism, data }: HsmFields<'p11-sign'>,
): HsmResults['p11-sign'] {
  const { held, object } = usedKey(machine, session, keyId, 'sign');
  fitting(mechanism, object);
  const key = { handle: workingHandle(machine, held), ...partsOf(object) };
  return { signature: signAs(machine.token, key, mechanism, data) };
}

/** Checks one: with a public key, or by a MAC of the same data. */
export function verifyWhole(
  machine: Machine,
  session: Session,
  { keyId, mechanism, data, signature }: HsmFields<'p11-verify'>,
): HsmResults['p11-verify'] {
  const { held, object } = usedKey(machine, session, keyId, 'verify');
  fitting(mechanism, object);
  const { public: spki } = object;
  if (object.class === 'public-key') {
    if (!spki) throw new KeyspanError('HsmUsageRefused', 'the key has no public half');
    const given = { ...partsOf(object), spki };
    return { valid: verifyAs(machine.token, given, mechanism, { data, signature }) };
  }
  if (object.class !== 'secret-key') throw new KeyspanError('HsmUsageRefused');
  const key = { handle: workingHandle(machine, held) };
  const made = signAs(machine.token, key, mechanism, data);
  return { valid: equalConstantTime(made, signature) };
}

/** One digest; it needs no key. */
export function digestData(
  _machine: Machine,
  _session: Session,
  { type, data }: HsmFields<'digest'>,
): HsmResults['digest'] {
  return { digest: digestOf(type, data) };
}

/** Begins a digest or MAC of what comes in pieces. */
export function openStream(
  machine: Machine,
  session: Session,
  { purpose, mechanism, keyId }: HsmFields<'stream-open'>,
): HsmResults['stream-open'] {
  const about = { session: session.id, purpose };
  if (purpose === 'digest') {
    const begin = (): ReturnType<typeof digestInPieces> => digestInPieces(mechanism.type);
    return { stream: machine.streams.open(about, begin) };
  }
  if (keyId === undefined) throw new KeyspanError('HsmBadFrame', 'a MAC has a key');
  const { held, object } = usedKey(machine, session, keyId, purpose);
  fitting(mechanism, object);
  if (signatureKind(mechanism.type) !== 'mac') throw mechanismInvalid();
  const handle = workingHandle(machine, held);
  const begin = (): ReturnType<typeof macInPieces> => macInPieces(machine.token, handle, mechanism);
  return { stream: machine.streams.open({ ...about, keyId }, begin) };
}

export function updateStream(
  machine: Machine,
  session: Session,
  { stream, data }: HsmFields<'stream-update'>,
): HsmResults['stream-update'] {
  const { work } = machine.streams.get(session.id, stream);
  try {
    work.update(data);
  } catch (error) {
    // it cannot go on
    machine.streams.take(session.id, stream);
    throw error;
  }
  return {};
}

export function finalStream(
  machine: Machine,
  session: Session,
  { stream, signature }: HsmFields<'stream-final'>,
): HsmResults['stream-final'] {
  const { work, purpose, keyId } = machine.streams.take(session.id, stream);
  // the key may be another's alone since the stream began
  try {
    if (keyId !== undefined && purpose !== 'digest') usedKey(machine, session, keyId, purpose);
  } catch (error) {
    work.close();
    throw error;
  }
  const value = work.final();
  if (purpose !== 'verify') return { value };
  return { valid: equalConstantTime(value, signature ?? new Uint8Array(0)) };
}

export function closeStream(
  machine: Machine,
  session: Session,
  { stream }: HsmFields<'stream-close'>,
): HsmResults['stream-close'] {
  machine.streams.take(session.id, stream).work.close();
  return {};
}

/** A secret key that two parties agree upon. */
export function deriveKey(
  machine: Machine,
  session: Session,
  fields: HsmFields<'p11-derive'>,
): HsmResults['p11-derive'] {
  const { baseId, key, type, length, kdf, sharedData, publicData } = fields;
  const { held, object } = usedKey(machine, session, baseId, 'derive');
  refuse(mayOwn(session, held.record, 'derive from'));
  const { curve } = object;
  const isFit = object.class === 'private-key' && object.type === 'ec' && curve !== 'ed25519';
  if (!isFit || !curve) throw mechanismInvalid();
  const common = fields;
  const plan = planKey(machine, session, key, { class: 'secret-key', local: false, common });
  const handle = workingHandle(machine, held);
  const agreement = { curve, kdf, sharedData, publicData, length };
  const secret = agree(machine.token, handle, agreement);
  try {
    const made = keyOfBytes(machine, type, secret, key.keyId);
    return finishKey(machine, session, key, made, { plan, common });
  } finally {
    wipe(secret);
  }
}
