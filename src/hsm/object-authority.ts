import type { KeyMaking, RecordChange } from '../protocol/hsm-key-frames.js';
import {
  giveFlags,
  hasFlag,
  maySetFlag,
  mayNotSet,
  withFlag,
  type FlagName,
  type KeyClass,
} from '../protocol/objects.js';
import type { Refusal, Session } from './authority.js';
import type { KeyObject, KeyRecord, UserRecord } from './records.js';

/**
 * What an HSM decides of keys that users see as objects with attributes (AWS CloudHSM User Guide,
 * "Key management"). Pure, as `authority`.
 */

/** A key that KMS made before there were objects, as a user sees it. */
function kmsObject(record: KeyRecord): KeyObject {
  const names = ['encrypt', 'decrypt'] as const;
  let { flags } = giveFlags('secret-key', { extractable: false }, { local: true, token: true });
  for (const name of names) flags = withFlag(flags, name, record.usage[name]);
  for (const name of ['sign', 'verify'] as const) flags = withFlag(flags, name, false);
  // from a range of its own: no reference that is given out begins so
  const reference = `0xf${record.id.slice(0, 15)}`;
  const none = { id: new Uint8Array(0), manage: 0, use: 0 };
  return { class: 'secret-key', type: 'aes', reference, flags, length: 32, ...none };
}

/** What a key is; undefined for the cluster's own, which no user sees. */
export function objectOf(record: KeyRecord): KeyObject | undefined {
  if (record.object) return record.object;
  return record.kind === 'aes-256' ? kmsObject(record) : undefined;
}

const isPublic = ({ object }: KeyRecord): boolean => object?.class === 'public-key';

/** A crypto-user sees what is its own, what is shared with it, and all public keys; admins all. */
export function maySeeObject(session: Session, record: KeyRecord): boolean {
  if (session.role === 'admin' || isPublic(record)) return true;
  return record.owner === session.username || record.sharedWith.includes(session.username);
}

/** Whether a crypto-user may use a key so. A key of others reads as absent. */
export function mayUseObject(
  session: Session,
  record: KeyRecord,
  use: FlagName,
): Refusal | undefined {
  if (!maySeeObject(session, record)) return { refuse: 'HsmKeyNotFound' };
  const object = objectOf(record);
  if (object && hasFlag(object.flags, use)) return undefined;
  return { refuse: 'HsmUsageRefused', message: `the key's attribute ${use} is not true` };
}

/** Whether one key may leave under another: the owner's alone. */
export function mayWrap(
  session: Session,
  payload: KeyRecord,
  wrapping: KeyRecord,
): Refusal | undefined {
  const refusal = mayOwn(session, payload, 'wrap') ?? mayUseObject(session, wrapping, 'wrap');
  if (refusal) return refusal;
  const [object, by] = [objectOf(payload), objectOf(wrapping)];
  if (!object || !by || object.class === 'public-key') {
    return { refuse: 'HsmUsageRefused', message: 'a public key cannot be wrapped' };
  }
  if (!hasFlag(object.flags, 'extractable')) {
    return { refuse: 'HsmUsageRefused', message: 'the key is not extractable' };
  }
  if (hasFlag(object.flags, 'wrap-with-trusted') && !hasFlag(by.flags, 'trusted')) {
    const message = 'the key can be wrapped by a trusted key alone';
    return { refuse: 'HsmUsageRefused', message };
  }
  const { wrapTemplate } = by;
  if (!wrapTemplate || (object.flags & wrapTemplate.mask) === wrapTemplate.flags) return undefined;
  const message = "the key does not fit the wrapping key's wrap-template";
  return { refuse: 'HsmUsageRefused', message };
}

/** What only a key's owner may do; one whom it is shared with learns that it may not. */
export function mayOwn(session: Session, record: KeyRecord, what: string): Refusal | undefined {
  if (!maySeeObject(session, record)) return { refuse: 'HsmKeyNotFound' };
  if (record.owner === session.username) return undefined;
  return { refuse: 'HsmRoleRefused', message: `only the owner may ${what} a key` };
}

/** Whether a user may end a key's life. */
export function mayDelete(session: Session, record: KeyRecord): Refusal | undefined {
  const refusal = mayOwn(session, record, 'delete');
  if (refusal) return refusal;
  const object = objectOf(record);
  if (object && hasFlag(object.flags, 'destroyable')) return undefined;
  return { refuse: 'HsmUsageRefused', message: "the key's attribute destroyable is not true" };
}

/** What FIPS 140 does not allow (CloudHSM: in clusters of the mode NON_FIPS only). */
export function mayInFips(isFips: boolean, what: string): Refusal | undefined {
  if (!isFips || !NOT_IN_FIPS.has(what)) return undefined;
  return { refuse: 'HsmUsageRefused', message: `${what} is not available in FIPS mode` };
}

const NOT_IN_FIPS: ReadonlySet<string> = new Set(['rsa-pkcs', 'ed25519']);

/** What is known of a key before it is made. */
export interface Made {
  readonly class: KeyClass;
  /** false: it was imported or unwrapped */
  readonly local: boolean;
  readonly token: boolean;
  /** of the key that unwraps it */
  readonly template?: KeyObject['unwrapTemplate'];
}

/** The flags that a new key has. */
export function newFlags(making: KeyMaking, made: Made): Refusal | { flags: number } {
  const { flags, refused } = giveFlags(made.class, making.given, made);
  if (refused) return refuseSetting(refused.name, refused.value);
  const { template } = made;
  if (!template) return { flags };
  const merged = (flags & ~template.mask) | template.flags;
  const said = Object.entries(making.given).every(
    ([name, value]) => hasFlag(merged, name as FlagName) === value,
  );
  if (said) return { flags: merged };
  const message = "the attributes conflict with the unwrapping key's unwrap-template";
  return { refuse: 'HsmAttributeRefused', message };
}

export const refuseSetting = (name: string, value: unknown): Refusal => ({
  refuse: 'HsmAttributeRefused',
  message: mayNotSet(name, value),
});

/** The numbers of approvals that a key asks for, when they are possible (AWS's sentence). */
export function mayAskApprovals(
  quorum: { readonly manage: number; readonly use: number } | undefined,
  users: number,
): Refusal | undefined {
  if (!quorum || (quorum.manage === 0 && quorum.use === 0)) return undefined;
  const most = Math.max(quorum.manage, quorum.use);
  if (quorum.manage < 2 || quorum.use < 2) {
    const message =
      'The manage key and use key quorum values must be set to a value greater than 1';
    return { refuse: 'HsmAttributeRefused', message };
  }
  if (most <= users) return undefined;
  return { refuse: 'HsmAttributeRefused', message: 'Invalid quorum value provided.' };
}

/** Changing a key's record is the owner's alone; whether it is trusted is an admin's to say. */
export function mayChangeObject(
  session: Session,
  record: KeyRecord,
  change: RecordChange,
): Refusal | undefined {
  if (session.role === 'admin') {
    const isTrust = change.set?.name === 'trusted' && Object.keys(change).length === 1;
    return isTrust ? undefined : { refuse: 'HsmRoleRefused' };
  }
  return mayOwn(session, record, 'change');
}

/** The object after a change of its attributes. Pure. */
export function changedObject(
  session: Session,
  object: KeyObject,
  change: RecordChange,
): Refusal | { object: KeyObject } {
  const { set, id, label, wrapTemplate, unwrapTemplate } = change;
  const by = session.role === 'admin' ? 'admin' : 'owner';
  const modifiable = hasFlag(object.flags, 'modifiable');
  const named = { id, label, 'wrap-template': wrapTemplate, 'unwrap-template': unwrapTemplate };
  for (const [name, value] of Object.entries(named)) {
    if (value !== undefined && !modifiable) return refuseSetting(name, name);
  }
  if (set && !maySetFlag(object, set.name, set.value, by)) {
    return refuseSetting(set.name, set.value);
  }
  const flags = set ? withFlag(object.flags, set.name, set.value) : object.flags;
  const changed = {
    ...object,
    flags,
    ...(id && { id }),
    ...(wrapTemplate && { wrapTemplate }),
    ...(unwrapTemplate && { unwrapTemplate }),
  };
  return { object: changed };
}

/** With whom a key is from the beginning: each must be a crypto-user of this HSM. */
export function sharesOf(
  owner: string,
  share: readonly string[] | undefined,
  users: ReadonlyMap<string, UserRecord>,
): Refusal | { sharedWith: readonly string[] } {
  const names = new Set((share ?? []).map((name) => name.toLowerCase()));
  for (const name of names) {
    if (users.get(name)?.role !== 'crypto-user') {
      return { refuse: 'HsmUserNotFound', message: 'Specified user does not exist' };
    }
  }
  names.delete(owner);
  return { sharedWith: [...names].sort() };
}
