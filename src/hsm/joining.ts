import { X509Certificate, createPublicKey, verify } from 'node:crypto';
import { KeyspanError } from '../core/errors.js';
import { encodeCbor, decodeCbor } from '../protocol/frame-codec.js';
import { joinTranscript, type HsmFields, type HsmResults } from '../protocol/hsm-frames.js';
import { beginJoin, finishJoin, foundMaskingKeys, wrapForJoiner } from '../token/masking-keys.js';
import { findIdentity, makeIdentity, signAsIdentity } from '../token/signature.js';
import type { Session } from './authority.js';
import type { Machine } from './machine.js';
import { openSecret, sealSecret } from './masking.js';
import { decodeUsers, encodeUsers } from './records.js';
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
  machine.become(foundMaskingKeys(machine.token, { soPin, userPin }, fields.maskingKeyId));
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
  const { hsm, cluster, soPin, userPin } = machine.identity;
  const offer = beginJoin(machine.token, soPin);
  machine.joinKey = offer;
  // the identity key is private, so it signs in the user's login; the join key outlives the change
  machine.token.loginUser(userPin);
  const transcript = joinTranscript(cluster, hsm, offer.publicKey);
  return { publicKey: offer.publicKey, signature: signAsIdentity(machine.token, transcript) };
}

export function join(machine: Machine, fields: HsmFields<'join'>): HsmResults['join'] {
  const offer = machine.joinKey;
  if (!offer) throw new KeyspanError('HsmPhase', 'there was no join-offer');
  machine.joinKey = undefined;
  const { soPin, userPin } = machine.identity;
  machine.token.loginOfficer(soPin);
  const keys = finishJoin(machine.token, offer, fields.wrapped, userPin, fields.maskingKeyId);
  machine.become(keys);
  try {
    const sealed = openSecret(machine.masking, fields.users, usersName(machine));
    const [users, epoch] = decodeCbor(sealed, 'HsmBadRecord') as [Uint8Array, number];
    for (const user of decodeUsers(users)) machine.putUser(user);
    machine.noteEpoch(epoch);
    settle(machine, fields.root, fields.certificates);
  } catch (error) {
    machine.forget();
    throw error;
  }
  return {};
}

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
  if (!verify('sha256', transcript, joiner.publicKey, fields.signature)) {
    throw new KeyspanError('HsmBadRecord', 'the joiner did not sign its key');
  }
  createPublicKey({ key: Buffer.from(fields.publicKey), format: 'der', type: 'spki' });
  const { masking } = machine.member;
  const users = encodeCbor([encodeUsers([...machine.users.values()]), machine.epoch]);
  return {
    maskingKeyId: masking.id,
    wrapped: wrapForJoiner(machine.token, masking, fields.publicKey),
    users: sealSecret(machine.masking, users, usersName(machine)),
  };
}

/** Each certificate is signed by the next, the last by `root`. @returns the first */
function checkChain(pems: readonly string[], root: string): X509Certificate {
  const chain = [...pems, root].map((pem) => new X509Certificate(pem));
  for (let at = 0; at + 1 < chain.length; at += 1) {
    const [child, parent] = [chain[at], chain[at + 1]];
    if (!child || !parent || !child.checkIssued(parent) || !child.verify(parent.publicKey)) {
      throw new KeyspanError('HsmBadRecord', "the joiner's certificates do not lead to the root");
    }
  }
  return chain[0] as X509Certificate;
}
