import { assert } from '../core/assert.js';
import { joinParts, type CommitPart } from '../core/commit.js';
import { newMaterialId } from '../core/ids.js';
import type { Vault } from '../core/vault.js';
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
  let revision: number;
  try {
    const material = {
      id: newMaterialId(),
      key: key.id,
      vault: vault.id,
      hsmKey: prepared.id,
      createdAt: civilSeconds(kms.clock),
    };
    const { rotation, part } = complete(material);
    const path = KEYSPACE.kmsMaterial(key.account, key.region, key.id, material.id);
    const value = encodeMaterial(rotation ? { ...material, rotation } : material);
    revision = await kms.facts.commit(
      joinParts(prepared.part, part, {
        compares: [{ key: path, modRevision: null }],
        writes: [{ op: 'put', key: path, value }],
      }),
    );
  } catch (error) {
    prepared.abandon();
    throw error;
  }
  prepared.committed();
  await kms.facts.shown(revision, call.deadline);
}
