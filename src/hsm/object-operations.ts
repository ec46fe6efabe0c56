import { deadlineIn } from '../core/deadline.js';
import { KeyspanError } from '../core/errors.js';
import type { HsmFields, HsmResults } from '../protocol/hsm-frames.js';
import { withFlag } from '../protocol/objects.js';
import type { Session } from './authority.js';
import { heldKey } from './held-keys.js';
import { needKeyApproval } from './key-approval.js';
import type { Machine } from './machine.js';
import { mask } from './masking.js';
import {
  copiedFlags,
  mayDelete,
  mayInFips,
  mayOwn,
  mayReveal,
  mayKeepExtra,
  mergeExtra,
} from './object-authority.js';
import { contentOf, copyOf, objectOfContent, readPublic } from './object-content.js';
import {
  finishKey,
  generatePrivate,
  generateSecret,
  planKey,
  publicKey,
  type Common,
} from './object-making.js';
import type { KeyRecord } from './records.js';
import { refuse } from './user-operations.js';

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
  const { proof, blob } = copyOf(machine, held, kept);
  return { masked: mask(machine.masking, { ...kept, proof }, blob), proof };
}

/** An object of what somebody brought. */
export function createObject(
  machine: Machine,
  session: Session,
  fields: HsmFields<'object-create'>,
): HsmResults['object-create'] {
  const { key, content } = fields;
  const common: Common = { isSession: fields.isSession, stamp: fields.stamp };
  const plan = planKey(machine, session, key, { class: content.kind, local: false, common });
  const made = objectOfContent(machine, content, key.keyId);
  return finishKey(machine, session, key, made, { plan, common });
}

/** Another object with the same key or content: it is its maker's, and shared with nobody. */
export function copyObject(
  machine: Machine,
  session: Session,
  fields: HsmFields<'object-copy'>,
): HsmResults['object-copy'] {
  const { key, isSession = false, stamp } = fields;
  if (machine.hasKey(key.keyId)) throw new KeyspanError('HsmAlreadyExists');
  const held = heldKey(machine, session, fields.fromId);
  const { record } = held;
  refuse(mayOwn(session, record, 'copy'));
  const { object } = record;
  if (!object) throw new KeyspanError('HsmUsageRefused', 'a key of KMS is not copied');
  const copied = copiedFlags(object, key, !isSession);
  if ('refuse' in copied) throw new KeyspanError(copied.refuse, copied.message);
  const extra = mergeExtra(object.extra, key.extra);
  refuse(mayKeepExtra(extra.extra));
  // a key whose use others approve does not get a twin that nobody approves
  needKeyApproval(machine, session, record, { service: 'key-management', approval: undefined });
  const { id, wrapTemplate, unwrapTemplate, public: spki } = object;
  const templates = {
    ...(wrapTemplate && { wrapTemplate }),
    ...(unwrapTemplate && { unwrapTemplate }),
  };
  const making = { id, ...templates, ...key, ...extra };
  const material = copyOf(machine, held, { ...record, id: key.keyId });
  const plan = { flags: copied.flags, sharedWith: [] };
  const common: Common = { isSession, stamp };
  return finishKey(machine, session, making, { ...object, spki, ...material }, { plan, common });
}

/** The bytes of an object, where they may be told. */
export function revealObject(
  machine: Machine,
  session: Session,
  { keyId }: HsmFields<'object-reveal'>,
): HsmResults['object-reveal'] {
  const held = heldKey(machine, session, keyId);
  const { record } = held;
  refuse(mayReveal(session, record));
  needKeyApproval(machine, session, record, { service: 'key-management', approval: undefined });
  return { value: contentOf(machine, held) };
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
