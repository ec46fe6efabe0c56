import { createHmac } from 'node:crypto';
import { assert } from '../core/assert.js';
import type { Call } from '../core/call.js';
import { joinParts, type CommitPart } from '../core/commit.js';
import { newMaterialId, type KmsKeyId, type MaterialId } from '../core/ids.js';
import type { PreparedKey, Vault } from '../core/vault.js';
import { KEYSPACE } from '../store/keyspace.js';
import { authenticatedData, type EncryptionContext } from './ciphertext.js';
import {
  civilSeconds,
  encodeMaterial,
  type KeyFact,
  type KeyRecord,
  type MaterialFact,
  type MaterialRecord,
} from './records.js';
import type { KmsParts, KmsRequest } from './request.js';

/** The material that encrypts. */
export function currentMaterial(kms: KmsParts, key: KeyFact): MaterialFact {
  const material = kms.facts.material(key, key.currentMaterial);
  assert(material, 'a key and its current material were committed together');
  return material;
}

/** What GCM authenticates under a material beside the plaintext. @throws ValidationException */
export function authenticatedBy(
  material: MaterialFact,
  context: EncryptionContext | undefined,
): Uint8Array {
  if (!context || context.size === 0) return material.aad;
  return authenticatedData(material.header, context);
}

export const vaultOf = (kms: KmsParts, material: MaterialFact): Vault =>
  kms.vaults.byId(material.vault);

/**
 * Makes an HSM key, and commits it together with what `complete` says about it: the key becomes
 * live and known in one step, or is given up.
 * @throws what the vault throws; StoreConflict when a fact changed meanwhile
 */
export async function addMaterial(
  kms: KmsParts,
  { call }: Pick<KmsRequest, 'call'>,
  key: Pick<KeyRecord, 'account' | 'region' | 'id'>,
  complete: (material: Omit<MaterialRecord, 'rotation'>) => {
    readonly rotation?: MaterialRecord['rotation'];
    readonly part: CommitPart;
  },
): Promise<void> {
  const vault = kms.vaults.own();
  const prepared = await vault.createKey('AES_256', call);
  await commitPrepared(kms, call, [prepared], () => {
    const material = {
      id: newMaterialId(),
      key: key.id,
      vault: vault.id,
      hsmKey: prepared.id,
      createdAt: civilSeconds(kms.clock),
    };
    const { rotation, part } = complete(material);
    return joinParts(part, putMaterial(key, rotation ? { ...material, rotation } : material));
  });
}

/** The part of a commit that writes down a new material of a key. */
export function putMaterial(
  { account, region }: Pick<KeyRecord, 'account' | 'region'>,
  material: MaterialRecord,
): CommitPart {
  const path = KEYSPACE.kmsMaterial(account, region, material.key, material.id);
  return {
    compares: [{ key: path, modRevision: null }],
    writes: [{ op: 'put', key: path, value: encodeMaterial(material) }],
  };
}

/** Commits HSM keys with what names them: all of them become live, or all are given up. */
export async function commitPrepared(
  kms: KmsParts,
  { deadline }: Call,
  prepared: readonly PreparedKey[],
  complete: () => CommitPart,
): Promise<void> {
  let revision: number;
  try {
    const parts = prepared.map(({ part }) => part);
    revision = await kms.facts.commit(joinParts(...parts, complete()));
  } catch (error) {
    for (const one of prepared) one.abandon();
    throw error;
  }
  for (const one of prepared) one.committed();
  await kms.facts.shown(revision, deadline);
}

/** What the id of a material says that came from outside. */
const IMPORTED_LABEL = 'keyspan material v1';

/**
 * The id of a material that came from outside: the same wherever a key of this id has this
 * material, so that a ciphertext made there opens here. It is an HMAC-SHA-256 under the material
 * itself, of a label and the key's id: it tells neither the material nor that two keys have one.
 */
export function importedMaterialId(key: KmsKeyId, material: Uint8Array): MaterialId {
  const mac = createHmac('sha256', material).update(`${IMPORTED_LABEL}\0${key}`);
  return mac.digest('hex') as MaterialId;
}
