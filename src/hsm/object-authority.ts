import { LIMITS } from '../core/limits.js';
import type { KeyMaking, RecordChange } from '../protocol/hsm-key-frames.js';
import {
  giveFlags,
  giveFlagsAsPkcs11,
  hasFlag,
  isFlagName,
  isKeyClass,
  maySetFlag,
  mayNotSet,
  settableFlags,
  withFlag,
  type FlagName,
  type ObjectClass,
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

const isPrivate = ({ object }: KeyRecord): boolean =>
  object === undefined || hasFlag(object.flags, 'private');

/** Public keys are for every crypto-user to see, and what is no key where it is not private. */
function isOpen(record: KeyRecord): boolean {
  const { object } = record;
  if (!object) return false;
  return object.class === 'public-key' || (!isKeyClass(object.class) && !isPrivate(record));
}

/** A crypto-user sees what is its own, what is shared with it, and what is open; admins all. */
export function maySeeObject(session: Session, record: KeyRecord): boolean {
  if (session.role === 'admin' || isOpen(record)) return true;
  return record.owner === session.username || record.sharedWith.includes(session.username);
}

/**
 * Who finds an object as PKCS #11 does: crypto-users what they may see, all others what is not
 * private. What KMS made before there were objects is for its owner alone.
 */
export function mayFindObject(session: Session, record: KeyRecord): boolean {
  if (session.role !== 'crypto-user') return !isPrivate(record);
  return record.object ? maySeeObject(session, record) : record.owner === session.username;
}

/**
 * Whether the bytes of an object may be told: of a secret or private key when it is neither
 * sensitive nor kept from leaving, and to whom it belongs; all else to who finds it.
 */
export function mayReveal(session: Session, record: KeyRecord): Refusal | undefined {
  const object = objectOf(record);
  if (!object || !mayFindObject(session, record)) return { refuse: 'HsmKeyNotFound' };
  if (!isSecretKey(object)) return undefined;
  if (session.role !== 'crypto-user') return { refuse: 'HsmRoleRefused' };
  const leaves = hasFlag(object.flags, 'extractable') && !hasFlag(object.flags, 'sensitive');
  if (leaves) return undefined;
  return { refuse: 'HsmUsageRefused', message: 'the key is sensitive, or not extractable' };
}

/** What holds a secret; public keys, certificates and data do not. */
export const isSecretKey = ({ class: of }: KeyObject): boolean =>
  of === 'secret-key' || of === 'private-key';

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
  if (!object || !by || !isSecretKey(object)) {
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

/** What is known of an object before it is made. */
export interface Made {
  readonly class: ObjectClass;
  /** false: it was imported or unwrapped */
  readonly local: boolean;
  readonly token: boolean;
  /** of the key that unwraps it */
  readonly template?: KeyObject['unwrapTemplate'];
}

/** The flags that a new object has. */
export function newFlags(making: KeyMaking, made: Made): Refusal | { flags: number } {
  const { class: of, template } = made;
  // CloudHSM has rules for keys alone
  const { flags, refused } =
    making.pkcs11 || !isKeyClass(of)
      ? giveFlagsAsPkcs11(of, making.given, made)
      : giveFlags(of, making.given, made);
  if (refused) return refuseSetting(refused.name, refused.value);
  if (!template) return { flags };
  // what the HSM or an admin alone says of a key no template does
  const mask = template.mask & settableFlags(of);
  const merged = (flags & ~mask) | (template.flags & mask);
  const said = Object.entries(making.given).every(
    ([name, value]) => hasFlag(merged, name as FlagName) === value,
  );
  if (said) return { flags: merged };
  const message = "the attributes conflict with the unwrapping key's unwrap-template";
  return { refuse: 'HsmAttributeRefused', message };
}

/** What a copy may be told, whatever the object itself may become. */
const FREE_IN_COPIES: ReadonlySet<string> = new Set(['destroyable', 'private']);

/**
 * The flags of a copy: as they were where nothing else is said, and what may be said is what the
 * object could become (PKCS #11 2.40, C_CopyObject). Nobody vouched for a copy: it is not trusted.
 */
export function copiedFlags(
  from: KeyObject,
  making: KeyMaking,
  token: boolean,
): Refusal | { flags: number } {
  const { given, wrapTemplate, unwrapTemplate, extra } = making;
  let flags = withFlag(withFlag(from.flags, 'token', token), 'trusted', false);
  for (const [name, value] of Object.entries(given)) {
    if (!isFlagName(name) || hasFlag(flags, name) === value) continue;
    const isFree = FREE_IN_COPIES.has(name) && !(name === 'private' && isSecretKey(from));
    const may = isFree || (name !== 'token' && maySetFlag(from, name, value, 'owner'));
    if (!may) return refuseSetting(name, value);
    flags = withFlag(flags, name, value);
  }
  const isFixed = !hasFlag(from.flags, 'modifiable');
  if (isFixed && (wrapTemplate ?? unwrapTemplate ?? extra)) {
    return { refuse: 'HsmAttributeRefused', message: 'the object is not modifiable' };
  }
  return { flags };
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

type Extra = KeyObject['extra'];
/** PKCS #11's number of an attribute, in decimal. */
const ATTRIBUTE_NUMBER = /^(?:0|[1-9][0-9]{0,9})$/;

/** Whether attributes can be kept as they were given. */
export function mayKeepExtra(extra: Extra): Refusal | undefined {
  let size = 0;
  for (const [number, value] of Object.entries(extra ?? {})) {
    if (!ATTRIBUTE_NUMBER.test(number)) return refuseSetting(number, '');
    size += value.length;
  }
  if (size <= LIMITS.p11_extra_max_bytes) return undefined;
  const message = `The attributes of an object have at most ${LIMITS.p11_extra_max_bytes} bytes`;
  return { refuse: 'HsmAttributeRefused', message };
}

/** Further attributes, each in the place of the one of its number. */
export function mergeExtra(known: Extra, more: Extra): { extra?: NonNullable<Extra> } {
  const extra = { ...known, ...more };
  return Object.keys(extra).length === 0 ? {} : { extra };
}

/** The object after a change of its attributes. Pure. */
export function changedObject(
  session: Session,
  object: KeyObject,
  change: RecordChange,
): Refusal | { object: KeyObject } {
  const { set, id, label, wrapTemplate, unwrapTemplate, extra } = change;
  const by = session.role === 'admin' ? 'admin' : 'owner';
  const modifiable = hasFlag(object.flags, 'modifiable');
  const templates = { 'wrap-template': wrapTemplate, 'unwrap-template': unwrapTemplate };
  const named = { id, label, ...templates, extra };
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
    ...mergeExtra(object.extra, extra),
  };
  return mayKeepExtra(changed.extra) ?? { object: changed };
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
