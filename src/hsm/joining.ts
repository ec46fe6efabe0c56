import { X509Certificate, verify } from 'node:crypto';
import { KeyspanError } from '../core/errors.js';
import { encodeCbor, decodeCbor } from '../protocol/frame-codec.js';
import {
  RECOVERY_NAME,
  joinTranscript,
  type HandedOver,
  type HsmFields,
  type HsmResults,
} from '../protocol/hsm-frames.js';
import {
  abandonJoin,
  beginJoin,
  findMaskingKeys,
  finishJoin,
  foundMaskingKeys,
  wrapForJoiner,
} from '../token/masking-keys.js';
import { destroyObject } from '../token/objects.js';
import { findIdentity, makeIdentity, signAsIdentity } from '../token/signature.js';
import type { Session } from './authority.js';
import type { Machine } from './machine.js';
import { openSecret, sealSecret, witnessMasking } from './masking.js';
import { encodeQuorumValues, quorumValues, takeQuorumValues } from './quorum-values.js';
import { decodeUsers, encodeUsers, type UserRecord } from './records.js';
import { newUser } from './user-operations.js';

/**
 * How an HSM becomes a member: the first one founds the masking keys, each further one is
 * handed them by a member that
 * checked its certificates (ARCHITECTURE §6). Both end by writing the fact `member`: without it
 * a start finds phase `new`.
 */
export function identity(machine: Machine): HsmResults['identity'] {
  const { publicKey } = findIdentity(machine.token) ?? makeIdentity(machine.token);
  return { publicKey };
}

function settle(machine: Machine, root: string, certificates: readonly string[]): void {
  const { facts } = machine.member;
  facts.put('masking', witnessMasking(machine.masking));
  facts.put('root', Buffer.from(root));
  facts.put('certificates', encodeCbor(certificates));
  facts.put('member', encodeCbor(machine.identity.hsm));
}

export async function found(
  machine: Machine,
  fields: HsmFields<'found'>,
): Promise<HsmResults['found']> {
  const { soPin, userPin } = machine.identity;
  const appUser = await newUser(machine, { ...fields.appUser, role: 'appliance-user' });
  const admin = await newUser(machine, { ...fields.admin, role: 'unactivated-admin' });
  // another frame may have made it a member meanwhile
  if (machine.phase !== 'new') throw new KeyspanError('HsmPhase');
  // what a founding that was cut short made is used: a second set beside it could be mixed up
  const made = findMaskingKeys(machine.token);
  if (made && made.id !== fields.maskingKeyId) throw new KeyspanError('HsmPhase');
  machine.become(made ?? foundMaskingKeys(machine.token, { soPin, userPin }, fields.maskingKeyId));
  machine.putUser(appUser);
  machine.putUser(admin);
  settle(machine, fields.root, fields.certificates);
  return {};
}

/**
 * A key for this one joining, which never leaves the token's memory, signed by the identity
 * key.
 */
export function joinOffer(machine: Machine): HsmResults['join-offer'] {
  const { hsm, cluster } = machine.identity;
  const offer = asOfficer(machine, () => {
    // one offer at a time
    if (machine.joinKey) abandonJoin(machine.token, machine.joinKey);
    machine.joinKey = undefined;
    return beginJoin(machine.token, machine.identity.soPin);
  });
  machine.joinKey = offer;
  // the identity key is private, so it signs in the user's login; the join key outlives the change
  const transcript = joinTranscript(cluster, hsm, offer.publicKey);
  return { publicKey: offer.publicKey, signature: signAsIdentity(machine.token, transcript) };
}

/** The officer's work ends with the user's login, whatever happens: all else needs it. */
function asOfficer<T>(machine: Machine, work: () => T): T {
  const { soPin, userPin } = machine.identity;
  machine.token.loginOfficer(soPin);
  try {
    return work();
  } finally {
    machine.token.loginUser(userPin);
  }
}

export function join(machine: Machine, fields: HsmFields<'join'>): HsmResults['join'] {
  const offer = machine.joinKey;
  if (!offer) throw new KeyspanError('HsmPhase', 'there was no join-offer');
  machine.joinKey = undefined;
  forgetMaskingKeys(machine);
  const { userPin } = machine.identity;
  const { wrapped, maskingKeyId } = fields;
  machine.become(
    asOfficer(machine, () => finishJoin(machine.token, offer, wrapped, userPin, maskingKeyId)),
  );
  try {
    const sealed = openSecret(machine.masking, fields.users, usersName(machine));
    const [records, epoch, quorum] = decodeCbor(sealed, 'HsmBadRecord') as Sealed;
    replaceUsers(machine, decodeUsers(records));
    takeQuorumValues(machine, quorum);
    machine.noteEpoch(epoch);
    settle(machine, fields.root, fields.certificates);
  } catch (error) {
    machine.forget();
    throw error;
  }
  return {};
}

/**
 * What a joining that was cut short left would stand beside the new set and be mixed up with
 * it.
 */
function forgetMaskingKeys({ token }: Machine): void {
  const left = findMaskingKeys(token);
  if (left) for (const handle of [left.wrap, left.seal, left.auth]) destroyObject(token, handle);
}

/** Users that an earlier joining left may have been deleted since. */
function replaceUsers(machine: Machine, users: readonly UserRecord[]): void {
  const wanted = new Set(users.map(({ username }) => username));
  for (const name of machine.users.keys()) if (!wanted.has(name)) machine.deleteUser(name);
  for (const user of users) machine.putUser(user);
}

/** What is sealed beside the masking keys; older backups know of no quorum values. */
type Sealed = [users: Uint8Array, epoch: number, quorum?: Uint8Array];

const usersName = (machine: Machine): string => `users of ${machine.identity.cluster}`;

/**
 * Wraps the masking keys for a joiner, if its certificates lead to the root that this HSM was
 * made with.
 */
export function handover(
  machine: Machine,
  _session: Session,
  fields: HsmFields<'handover'>,
): HsmResults['handover'] {
  const root = machine.member.facts.get('root');
  if (!root) throw new KeyspanError('HsmPhase');
  const joiner = checkChain(fields.certificates, Buffer.from(root).toString('utf8'));
  const { cluster } = machine.identity;
  if (!joiner.subject.split('\n').includes(`CN=${fields.hsm}`)) {
    throw new KeyspanError('HsmBadRecord', 'the certificate names another HSM');
  }
  const transcript = joinTranscript(cluster, fields.hsm, fields.publicKey);
  if (!signed(joiner, transcript, fields.signature)) {
    throw new KeyspanError('HsmBadRecord', 'the joiner did not sign its key');
  }
  return handedOver(machine, fields.publicKey);
}

/**
 * Wraps the masking keys for a recovery key, if its certificates lead to the root that this HSM was
 * made with: a backup that was taken is as good as a member.
 */
export function backup(
  machine: Machine,
  _session: Session,
  { certificates }: HsmFields<'backup'>,
): HsmResults['backup'] {
  const root = machine.member.facts.get('root');
  if (!root) throw new KeyspanError('HsmPhase');
  const { subject, publicKey } = checkChain(certificates, Buffer.from(root).toString('utf8'));
  if (!subject.split('\n').includes(`CN=${RECOVERY_NAME}`)) {
    throw new KeyspanError('HsmBadRecord', 'the certificate is not of a recovery key');
  }
  return handedOver(machine, publicKey.export({ type: 'spki', format: 'der' }));
}

function handedOver(machine: Machine, publicKey: Uint8Array): HandedOver {
  const { masking } = machine.masking;
  const quorum = encodeQuorumValues(quorumValues(machine));
  const users = encodeCbor([encodeUsers([...machine.users.values()]), machine.epoch, quorum]);
  return {
    maskingKeyId: masking.id,
    wrapped: wrapForJoiner(machine.token, masking, publicKey),
    users: sealSecret(machine.masking, users, usersName(machine)),
  };
}

/** A key that cannot make such a signature has made none. */
function signed(signer: X509Certificate, message: Uint8Array, signature: Uint8Array): boolean {
  try {
    return verify('sha256', message, signer.publicKey, signature);
  } catch {
    return false;
  }
}

/**
 * Each certificate is signed by the next, an authority, and the last by `root`. Dates are not
 * looked at: hardware does not expire, and an HSM has no clock that it could trust.
 * @returns the first
 */
function checkChain(pems: readonly string[], root: string): X509Certificate {
  const chain = [...pems, root].map(readCertificate);
  for (let at = 0; at + 1 < chain.length; at += 1) {
    const [child, parent] = [chain[at], chain[at + 1]];
    if (!child || !parent?.ca || !child.checkIssued(parent) || !child.verify(parent.publicKey)) {
      throw new KeyspanError('HsmBadRecord', "the joiner's certificates do not lead to the root");
    }
  }
  return chain[0] as X509Certificate;
}

function readCertificate(pem: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch (cause) {
    throw new KeyspanError('HsmBadRecord', 'a certificate cannot be read', { cause });
  }
}

/** Whoever says it erases the token soon: the audit log ends here. */
export const leave = (): HsmResults['leave'] => ({});
