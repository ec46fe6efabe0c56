import type { Call } from '../core/call.js';
import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import type { AccessDetails } from './access-context.js';
import { authorizeKey } from './authorize.js';
import { changePart, duePath, type DueKey } from './due-keys.js';
import { requireState } from './key.js';
import { findKeyById, findOwnKey } from './key-lookup.js';
import { addMaterial } from './materials.js';
import { pageMembers, readMarker } from './pages.js';
import { civilSeconds, type KeyFact, type MaterialFact } from './records.js';
import type { Answer, KmsParts, KmsRequest } from './request.js';
import { enabledAt, rotatedAt, type Rotation } from './rotation-schedule.js';

const LIST_LIMIT = 100;
const DEFAULT_PERIOD_DAYS = 365;

/** A new material encrypts from now on; the old ones still decrypt. */
export async function rotateKeyOnDemand(
  kms: KmsParts,
  request: KmsRequest<'RotateKeyOnDemand'>,
): Promise<Answer> {
  const key = findRotatable(kms, request);
  await addMaterial(kms, request, key, (material) => {
    // the key may have changed while its material was made, which takes far longer than other
    // changes do: against many of them a rotation that began with the old facts never comes through
    const now = findRotatable(kms, request);
    // the schedule of automatic rotation stays as it is
    const onDemandRotations = now.onDemandRotations + 1;
    return {
      rotation: { date: civilSeconds(kms.clock), type: 'ON_DEMAND' },
      part: changePart(now, { ...now, currentMaterial: material.id, onDemandRotations }),
    };
  });
  return { KeyId: key.arn };
}

function findRotatable(kms: KmsParts, request: KmsRequest<'RotateKeyOnDemand'>): KeyFact {
  const key = findOwnKey(kms.facts, request, request.params.KeyId);
  authorizeKey(kms, request, key);
  requireState(key, 'use');
  requireRotatable(key);
  if (key.onDemandRotations < LIMITS.kms_on_demand_rotations_max) return key;
  throw new KeyspanError(
    'LimitExceededException',
    'The on-demand rotations limit has been reached for the given keyId. ' +
      `No more on-demand rotations can be performed for this key: ${key.arn}`,
  );
}

/** @throws UnsupportedOperationException */
function requireRotatable(key: KeyFact): void {
  if (key.spec !== 'SYMMETRIC_DEFAULT') {
    const sentence = `${key.arn} key spec is ${key.spec} which is not valid for this operation.`;
    throw new KeyspanError('UnsupportedOperationException', sentence);
  }
  if (key.origin !== 'AWS_KMS') {
    const sentence = `${key.arn} origin is ${key.origin} which is not valid for this operation.`;
    throw new KeyspanError('UnsupportedOperationException', sentence);
  }
}

/** It counts from now, also where it was enabled before. */
export async function enableKeyRotation(
  kms: KmsParts,
  request: KmsRequest<'EnableKeyRotation'>,
): Promise<Answer> {
  const { RotationPeriodInDays = DEFAULT_PERIOD_DAYS } = request.params;
  const rotation = enabledAt(civilSeconds(kms.clock), RotationPeriodInDays);
  const period = ['kms:RotationPeriodInDays', [String(RotationPeriodInDays)]] as const;
  return changeRotation(kms, request, rotation, { keys: () => [period] });
}

export const disableKeyRotation = (
  kms: KmsParts,
  request: KmsRequest<'DisableKeyRotation'>,
): Promise<Answer> => changeRotation(kms, request, undefined);

async function changeRotation(
  kms: KmsParts,
  request: KmsRequest<'EnableKeyRotation' | 'DisableKeyRotation'>,
  rotation: Rotation | undefined,
  details?: AccessDetails,
): Promise<Answer> {
  const key = findOwnKey(kms.facts, request, request.params.KeyId);
  authorizeKey(kms, request, key, details);
  requireRotatable(key);
  requireState(key, 'rotation');
  if (!rotation && !key.rotation) return {};
  const revision = await kms.facts.commit(changePart(key, { ...key, rotation }));
  await kms.facts.shown(revision, request.call.deadline);
  return {};
}

/**
 * While its deletion is pending a key is not rotated, and its status says so. A rotation on demand
 * is over when it is answered: none is ever in progress.
 */
export async function getKeyRotationStatus(
  kms: KmsParts,
  request: KmsRequest<'GetKeyRotationStatus'>,
): Promise<Answer> {
  const key = findKeyById(kms.facts, request.caller, request.params.KeyId);
  authorizeKey(kms, request, key);
  requireRotatable(key);
  const rotation = key.state === 'PendingDeletion' ? undefined : key.rotation;
  return {
    KeyId: key.arn,
    KeyRotationEnabled: rotation !== undefined,
    ...(rotation && {
      RotationPeriodInDays: rotation.periodDays,
      NextRotationDate: rotation.next,
    }),
  };
}

/**
 * Rotates a key whose day came.
 * @returns its ARN; undefined where it is not to be rotated any more
 * @throws what vaults and the store throw; StoreConflict when the key changed meanwhile
 */
export async function rotateDueKey(
  kms: KmsParts,
  due: DueKey,
  call: Call,
): Promise<string | undefined> {
  const find = (): KeyFact | undefined => {
    const key = kms.facts.key(due.account, due.region, due.id);
    return key && duePath(key) === due.path ? key : undefined;
  };
  const key = find();
  if (!key) return undefined;
  await addMaterial(kms, { call }, key, (material) => {
    const now = find();
    if (!now?.rotation) throw new KeyspanError('StoreConflict');
    const seconds = civilSeconds(kms.clock);
    const rotation = rotatedAt(seconds, now.rotation);
    return {
      rotation: { date: seconds, type: 'AUTOMATIC' },
      part: changePart(now, { ...now, currentMaterial: material.id, rotation }),
    };
  });
  return key.arn;
}

export async function listKeyRotations(
  kms: KmsParts,
  request: KmsRequest<'ListKeyRotations'>,
): Promise<Answer> {
  const { KeyId, IncludeKeyMaterial, Limit = LIST_LIMIT, Marker } = request.params;
  const key = findOwnKey(kms.facts, request, KeyId);
  authorizeKey(kms, request, key);
  const after = readMarker(Marker);
  const all = kms.facts.materials(key);
  const begin = after === undefined ? 0 : all.findIndex((material) => material.id === after) + 1;
  if (after !== undefined && begin === 0) throw new KeyspanError('InvalidMarkerException');
  const withFirst = IncludeKeyMaterial === 'ALL_KEY_MATERIAL';
  const found = all.slice(begin).filter((material) => withFirst || material.rotation);
  const { items, members } = pageMembers(found, Limit, (material) => material.id);
  return { Rotations: items.map((material) => entryOf(key, material)), ...members };
}

/** KMS API, RotationsListEntry: a first material has no rotation */
function entryOf(key: KeyFact, material: MaterialFact): Answer {
  const { rotation } = material;
  return {
    KeyId: key.arn,
    KeyMaterialId: material.id,
    KeyMaterialState: material.id === key.currentMaterial ? 'CURRENT' : 'NON_CURRENT',
    ...(rotation && { RotationDate: rotation.date, RotationType: rotation.type }),
  };
}
