import { isAccount, isRegion, aliasArn, keyArn } from '../core/arn.js';
import { assert } from '../core/assert.js';
import type { Clock } from '../core/clock.js';
import { isHsmKeyId, isKmsKeyId, isMaterialId } from '../core/ids.js';
import type { HsmKeyId, KmsKeyId, MaterialId } from '../core/ids.js';
import { cachedPolicy, type PolicyDocument } from '../iam/policy-document.js';
import {
  flag,
  id,
  int,
  list,
  number,
  object,
  oneOf,
  optional,
  text,
  type FormOf,
} from '../protocol/form.js';
import { LIMITS } from '../core/limits.js';
import { KEY_SPECS, KEY_USAGES, ORIGINS } from '../protocol/kms-members.js';
import { KEYSPACE } from '../store/keyspace.js';
import type { Entry } from '../store/store.js';
import { decodeValue, encodeValue } from '../store/value.js';
import { authenticatedData, encodeHeader } from './ciphertext.js';
import { decodeGrant, type GrantFact } from './grant-records.js';

/**
 * The facts of KMS as they stand in the store, one form for each kind, and what a snapshot holds
 * of them: parsed once for each change, with all that a request would otherwise work out anew.
 */
const KEY_VERSION = 1;
const MATERIAL_VERSION = 1;
const ALIAS_VERSION = 1;

const account = id<string>((value): value is string => isAccount(value));
const region = id<string>((value): value is string => isRegion(value));
const keyId = id<KmsKeyId>(isKmsKeyId);
const materialId = id<MaterialId>(isMaterialId);
const hsmKeyId = id<HsmKeyId>(isHsmKeyId);
/** civil time in seconds since 1970, with fractions, as AWS's timestamps are */
const time = number;
/** its length was checked when it was asked for */
const content = text({ min: 0, max: LIMITS.store_value_max_bytes });

/** Civil time as AWS writes it: seconds since 1970, to the millisecond. */
export const civilSeconds = (clock: Clock): number => Math.round(clock.civil()) / 1000;

/** As `civilSeconds`, some days later. */
export const civilSecondsIn = (days: number, clock: Clock): number =>
  Math.round(clock.civil() + days * 86_400_000) / 1000;

/** What AWS's timestamps say in milliseconds. */
export const civilMs = (seconds: number): number => Math.round(seconds * 1000);

const keyMembers = {
  v: oneOf(KEY_VERSION),
  id: keyId,
  account,
  region,
  description: content,
  spec: oneOf(...KEY_SPECS),
  usage: oneOf(...KEY_USAGES),
  origin: oneOf(...ORIGINS),
  state: oneOf('Enabled', 'Disabled', 'PendingDeletion'),
  createdAt: time,
  policy: content,
  multiRegion: oneOf(false),
  currentMaterial: materialId,
  /** how often RotateKeyOnDemand was used: it is limited */
  onDemandRotations: int({ min: 0 }),
  tags: list(object({ key: content, value: content }), { max: LIMITS.kms_tags_max }),
  /** from when on the key does not exist; there while its deletion is pending */
  deletionDate: optional(time),
  /** its removal has begun: no move of the clock brings it back */
  isGoing: optional(flag),
  /** of automatic rotation: absent where it is not enabled */
  rotation: optional(
    object({ periodDays: int({ min: 1, max: LIMITS.kms_rotation_period_max_days }), next: time }),
  ),
};
const keyRecord = object(keyMembers);
const KEY_MEMBERS = Object.keys(keyMembers).filter((name) => name !== 'v');
export type KeyRecord = Omit<FormOf<typeof keyRecord>, 'v'>;

const materialRecord = object({
  v: oneOf(MATERIAL_VERSION),
  id: materialId,
  key: keyId,
  /** the vault that holds the HSM key */
  vault: text({ max: 256 }),
  hsmKey: hsmKeyId,
  createdAt: time,
  /** absent on a key's first material */
  rotation: optional(object({ date: time, type: oneOf('AUTOMATIC', 'ON_DEMAND') })),
});
export type MaterialRecord = Omit<FormOf<typeof materialRecord>, 'v'>;

const aliasRecord = object({
  v: oneOf(ALIAS_VERSION),
  /** begins with `alias/` */
  name: text({ max: 1_024, pattern: /^alias\// }),
  target: keyId,
  createdAt: time,
  updatedAt: time,
});
export type AliasRecord = Omit<FormOf<typeof aliasRecord>, 'v'>;

export interface KeyFact extends KeyRecord {
  readonly kind: 'key';
  readonly arn: string;
  /** where it stands in the store, and the revision that a change compares with */
  readonly path: string;
  readonly modRevision: number;
  /** civil time in milliseconds from which on the key does not exist; mostly Infinity */
  readonly goneAtMs: number;
  /** where its current material stands in the store */
  readonly materialPath: string;
  readonly document: PolicyDocument;
}

export interface MaterialFact extends MaterialRecord {
  readonly kind: 'material';
  /** what every ciphertext under this material begins with */
  readonly header: Uint8Array;
  /** what GCM authenticates where there is no encryption context */
  readonly aad: Uint8Array;
}

export interface AliasFact extends AliasRecord {
  readonly kind: 'alias';
  readonly arn: string;
  readonly path: string;
  readonly modRevision: number;
  /** where the key that it names stands in the store */
  readonly targetPath: string;
}

export type Fact = KeyFact | MaterialFact | AliasFact | GrantFact;

/** It leaves out what a fact has beyond its record. */
export function encodeKey(key: KeyRecord): Uint8Array {
  const members = KEY_MEMBERS.map((name) => [name, key[name as keyof KeyRecord]] as const);
  const record = Object.fromEntries(members.filter(([, value]) => value !== undefined));
  keyRecord({ v: KEY_VERSION, ...record });
  return encodeValue(KEY_VERSION, record);
}
export const encodeMaterial = (material: MaterialRecord): Uint8Array =>
  encodeValue(MATERIAL_VERSION, material);
export const encodeAlias = (alias: AliasRecord): Uint8Array => encodeValue(ALIAS_VERSION, alias);

/** What an entry under `kms/` says. @throws StoreCorrupt */
export function decodeFact(entry: Entry): Fact {
  const [, kind, account = '', region = ''] = entry.key.split('/');
  if (kind === 'key') return decodeKey(entry);
  if (kind === 'material') return decodeMaterial(entry);
  if (kind === 'grant') return decodeGrant(entry);
  assert(kind === 'alias', 'a key, a material, an alias or a grant');
  const { v: _, ...alias } = decodeValue(entry.value, aliasRecord);
  return {
    ...alias,
    kind: 'alias',
    arn: aliasArn(region, account, alias.name),
    path: entry.key,
    modRevision: entry.modRevision,
    targetPath: KEYSPACE.kmsKey(account, region, alias.target),
  };
}

function decodeKey(entry: Entry): KeyFact {
  const key = decodeValue(entry.value, keyRecord);
  const path = KEYSPACE.kmsKey(key.account, key.region, key.id);
  assert(path === entry.key, 'a key stands where its record says');
  // member by member: objects that are spread have forms of their own, and each request reads some
  return {
    kind: 'key',
    id: key.id,
    account: key.account,
    region: key.region,
    description: key.description,
    spec: key.spec,
    usage: key.usage,
    origin: key.origin,
    state: key.state,
    createdAt: key.createdAt,
    policy: key.policy,
    multiRegion: key.multiRegion,
    currentMaterial: key.currentMaterial,
    onDemandRotations: key.onDemandRotations,
    tags: key.tags,
    deletionDate: key.deletionDate,
    isGoing: key.isGoing,
    rotation: key.rotation,
    goneAtMs: goneAtMs(key),
    arn: keyArn(key.region, key.account, key.id),
    path: entry.key,
    modRevision: entry.modRevision,
    materialPath: KEYSPACE.kmsMaterial(key.account, key.region, key.id, key.currentMaterial),
    document: cachedPolicy(key.policy, 'key'),
  };
}

function goneAtMs({ state, deletionDate, isGoing }: KeyRecord): number {
  if (isGoing) return -Infinity;
  return state === 'PendingDeletion' ? civilMs(deletionDate ?? 0) : Infinity;
}

function decodeMaterial(entry: Entry): MaterialFact {
  const {
    id: material,
    key,
    vault,
    hsmKey,
    createdAt,
    rotation,
  } = decodeValue(entry.value, materialRecord);
  assert(entry.key.endsWith(`/${key}/${material}`), 'a material stands at its key');
  const header = encodeHeader(key, material);
  const aad = authenticatedData(header);
  return { kind: 'material', id: material, key, vault, hsmKey, createdAt, rotation, header, aad };
}
