import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { authorizeKey } from './authorize.js';
import { requireState } from './key.js';
import { findKeyById } from './key-lookup.js';
import { addMaterial } from './materials.js';
import { pageMembers, readMarker } from './pages.js';
import { civilSeconds, encodeKey, type KeyFact, type MaterialFact } from './records.js';
import type { Answer, KmsParts, KmsRequest } from './request.js';

const LIST_LIMIT = 100;

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
    const onDemandRotations = now.onDemandRotations + 1;
    const value = encodeKey({ ...now, currentMaterial: material.id, onDemandRotations });
    return {
      rotation: { date: civilSeconds(kms.clock), type: 'ON_DEMAND' },
      part: {
        compares: [{ key: now.path, modRevision: now.modRevision }],
        writes: [{ op: 'put', key: now.path, value }],
      },
    };
  });
  return { KeyId: key.arn };
}

function findRotatable(kms: KmsParts, request: KmsRequest<'RotateKeyOnDemand'>): KeyFact {
  const key = findKeyById(kms.facts, request.caller, request.params.KeyId);
  authorizeKey(kms, request, key);
  requireState(key, 'use');
  requireRotatable(key);
  return key;
}

function requireRotatable(key: KeyFact): void {
  if (key.spec !== 'SYMMETRIC_DEFAULT') {
    const sentence = `${key.arn} key spec is ${key.spec} which is not valid for this operation.`;
    throw new KeyspanError('UnsupportedOperationException', sentence);
  }
  if (key.origin !== 'AWS_KMS') {
    const sentence = `${key.arn} origin is ${key.origin} which is not valid for this operation.`;
    throw new KeyspanError('UnsupportedOperationException', sentence);
  }
  if (key.onDemandRotations >= LIMITS.kms_on_demand_rotations_max) {
    throw new KeyspanError(
      'LimitExceededException',
      'The on-demand rotations limit has been reached for the given keyId. ' +
        `No more on-demand rotations can be performed for this key: ${key.arn}`,
    );
  }
}

export async function listKeyRotations(
  kms: KmsParts,
  request: KmsRequest<'ListKeyRotations'>,
): Promise<Answer> {
  const { KeyId, IncludeKeyMaterial, Limit = LIST_LIMIT, Marker } = request.params;
  const key = findKeyById(kms.facts, request.caller, KeyId);
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
