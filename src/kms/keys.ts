import { keyArn } from '../core/arn.js';
import { KeyspanError } from '../core/errors.js';
import { newKmsKeyId, type KmsKeyId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import type { KmsParams } from '../protocol/kms.js';
import type { AccessDetails } from './access-context.js';
import { authorizeAccount, authorizeKey } from './authorize.js';
import { addPart } from './due-keys.js';
import type { Facts } from './facts.js';
import { requireState } from './key.js';
import { chooseKind, encryptionAlgorithms } from './key-spec.js';
import { changeKey } from './key-change.js';
import { findKey, findOwnKey } from './key-lookup.js';
import { addMaterial } from './materials.js';
import { pageMembers, readMarker } from './pages.js';
import { checkPolicy, defaultPolicy } from './policies.js';
import { civilSeconds, type KeyRecord } from './records.js';
import type { Answer, KmsCaller, KmsParts } from './request.js';
import type { KmsRequest } from './request.js';
import { readTags, requestTags } from './tags.js';

const LIST_LIMIT = 100;

export async function createKey(kms: KmsParts, request: KmsRequest<'CreateKey'>): Promise<Answer> {
  const key = newKey(kms, request, newKmsKeyId());
  let made: KeyRecord | undefined;
  await addMaterial(kms, request, key, (material) => {
    made = { ...key, currentMaterial: material.id };
    return { part: addPart(made) };
  });
  return { KeyMetadata: made && metadataOf(made) };
}

/** A key as a request wants it, before it has a material. @throws what CreateKey answers */
export function newKey(
  kms: KmsParts,
  request: KmsRequest<'CreateKey'>,
  id: KmsKeyId,
): Omit<KeyRecord, 'currentMaterial'> {
  const { caller, params } = request;
  const { account } = caller.principal;
  authorizeAccount(kms, request, '*', newKeyDetails(params));
  const { spec, usage } = chooseKind(params);
  const tags = readTags(params.Tags);
  const key: Omit<KeyRecord, 'currentMaterial'> = {
    id,
    account,
    region: caller.region,
    description: params.Description ?? '',
    spec,
    usage,
    origin: 'AWS_KMS',
    state: 'Enabled',
    createdAt: civilSeconds(kms.clock),
    policy: params.Policy ?? defaultPolicy(account),
    multiRegion: false,
    onDemandRotations: 0,
    tags,
  };
  const arn = keyArn(key.region, account, key.id);
  const bypassLockoutCheck = params.BypassPolicyLockoutSafetyCheck ?? false;
  checkPolicy(kms, key.policy, caller, { keyArn: arn, bypassLockoutCheck });
  requireRoom(kms.facts, caller);
  request.resource = arn;
  return key;
}

/** What policies may ask of a key that is to be: also what the request leaves to its default. */
function newKeyDetails(params: KmsParams<'CreateKey'>): AccessDetails {
  const spec = params.KeySpec ?? params.CustomerMasterKeySpec ?? 'SYMMETRIC_DEFAULT';
  const bypass = params.BypassPolicyLockoutSafetyCheck ?? false;
  return {
    requestTags: requestTags(params.Tags),
    keys: () => [
      ['kms:KeySpec', [spec]],
      ['kms:CustomerMasterKeySpec', [spec]],
      ['kms:KeyUsage', [params.KeyUsage ?? 'ENCRYPT_DECRYPT']],
      ['kms:CustomerMasterKeyUsage', [params.KeyUsage ?? 'ENCRYPT_DECRYPT']],
      ['kms:KeyOrigin', [params.Origin ?? 'AWS_KMS']],
      ['kms:MultiRegion', [String(params.MultiRegion ?? false)]],
      ['kms:BypassPolicyLockoutSafetyCheck', [String(bypass)]],
    ],
  };
}

function requireRoom(facts: Facts, { principal, region }: KmsCaller): void {
  if (facts.keyCount(principal.account, region) < LIMITS.kms_keys_max) return;
  const sentence = `An account has at most ${LIMITS.kms_keys_max} KMS keys in a region.`;
  throw new KeyspanError('LimitExceededException', sentence);
}

/** KMS API, KeyMetadata */
export function metadataOf(key: KeyRecord): Answer {
  return {
    AWSAccountId: key.account,
    KeyId: key.id,
    Arn: keyArn(key.region, key.account, key.id),
    CreationDate: key.createdAt,
    Enabled: key.state === 'Enabled',
    Description: key.description,
    KeyUsage: key.usage,
    KeyState: key.state,
    Origin: key.origin,
    KeyManager: key.manager ?? 'CUSTOMER',
    CustomerMasterKeySpec: key.spec,
    KeySpec: key.spec,
    EncryptionAlgorithms: encryptionAlgorithms(key.spec),
    MultiRegion: key.multiRegion,
    CurrentKeyMaterialId: key.currentMaterial,
    ...(key.state === 'PendingDeletion' && { DeletionDate: key.deletionDate }),
  };
}

export async function describeKey(
  kms: KmsParts,
  request: KmsRequest<'DescribeKey'>,
): Promise<Answer> {
  const { key, alias } = findKey(kms.facts, request.caller, request.params.KeyId);
  authorizeKey(kms, request, key, { alias });
  return { KeyMetadata: metadataOf(key) };
}

export async function listKeys(kms: KmsParts, request: KmsRequest<'ListKeys'>): Promise<Answer> {
  const { principal, region } = request.caller;
  const { Limit = LIST_LIMIT, Marker } = request.params;
  authorizeAccount(kms, request);
  const page = { after: readMarker(Marker), limit: Limit + 1 };
  const found = kms.facts.keys(principal.account, region, page);
  const { items, members } = pageMembers(found, Limit, (key) => key.id);
  return { Keys: items.map((key) => ({ KeyId: key.id, KeyArn: key.arn })), ...members };
}

export const enableKey = (kms: KmsParts, request: KmsRequest<'EnableKey'>): Promise<Answer> =>
  switchState(kms, request, 'Enabled');
export const disableKey = (kms: KmsParts, request: KmsRequest<'DisableKey'>): Promise<Answer> =>
  switchState(kms, request, 'Disabled');

async function switchState(
  kms: KmsParts,
  request: KmsRequest<'EnableKey' | 'DisableKey'>,
  state: KeyRecord['state'],
): Promise<Answer> {
  const key = findOwnKey(kms.facts, request, request.params.KeyId);
  authorizeKey(kms, request, key);
  requireState(key, 'switch');
  if (key.state !== state) await changeKey(kms, request, key, { state });
  return {};
}

export async function updateKeyDescription(
  kms: KmsParts,
  request: KmsRequest<'UpdateKeyDescription'>,
): Promise<Answer> {
  const { KeyId, Description } = request.params;
  const key = findOwnKey(kms.facts, request, KeyId);
  authorizeKey(kms, request, key);
  requireState(key, 'attach');
  if (key.description !== Description) {
    await changeKey(kms, request, key, { description: Description });
  }
  return {};
}
