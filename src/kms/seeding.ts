import { createHash } from 'node:crypto';
import { aliasArn, keyArn, rootArn } from '../core/arn.js';
import { assert } from '../core/assert.js';
import type { Call } from '../core/call.js';
import { joinParts } from '../core/commit.js';
import { KeyspanError } from '../core/errors.js';
import { newMaterialId, type GrantId, type KmsKeyId } from '../core/ids.js';
import { canImport, type PreparedKey, type Vault } from '../core/vault.js';
import type { KmsParams } from '../protocol/kms.js';
import { checkName, putAlias } from './aliases.js';
import { addPart } from './due-keys.js';
import { addGrant, type GrantRecord, type GrantTerms } from './grant-records.js';
import { requireGrantable } from './grant-terms.js';
import { metadataOf, newKey } from './keys.js';
import { commitPrepared, importedMaterialId, putMaterial } from './materials.js';
import { civilSeconds, type KeyRecord, type MaterialRecord } from './records.js';
import type { Answer, KmsParts, KmsRequest } from './request.js';
import { enabledAt } from './rotation-schedule.js';

/** A key that shall be there, the same each time: for fixtures. */
export interface KeySeed {
  readonly id: KmsKeyId;
  readonly account: string;
  readonly region: string;
  /** of 32 bytes each, the oldest first, the last one encrypts; none: a vault makes one */
  readonly materials: readonly Uint8Array[];
  readonly isEnabled: boolean;
  /** of automatic rotation, in days from its making; absent: there is none */
  readonly rotationDays?: number | undefined;
  /** begin with `alias/` */
  readonly aliases: readonly string[];
  readonly grants: readonly GrantTerms[];
  /** what else CreateKey takes */
  readonly params: Pick<KmsParams<'CreateKey'>, 'Description' | 'Policy' | 'Tags'>;
}

/**
 * Whether a key of the seed's id is there: then it is left as it is, whatever else the seed says.
 * @throws KeyspanConfig when it is another one: of other material, or elsewhere
 */
export function isSeeded({ facts }: Pick<KmsParts, 'facts'>, seed: KeySeed): boolean {
  const { id, account, region, materials } = seed;
  if (facts.isElsewhere(seed)) {
    throw refused(`The key ${id} exists in another account or region.`);
  }
  const key = facts.key(account, region, id);
  if (!key && facts.standing(account, region, id)) {
    throw refused(`The key ${id} is being deleted.`);
  }
  if (!key) return false;
  const known = materials.every((one) => facts.material(key, importedMaterialId(id, one)));
  if (known) return true;
  throw refused(`The key ${id} exists with other key material (${keyArn(region, account, id)}).`);
}

const refused = (sentence: string): KeyspanError => new KeyspanError('KeyspanConfig', sentence);

/**
 * Makes a key with all that the seed says, in one commit, as CreateKey makes one.
 * @param request of the account's root
 * @returns what CreateKey answers
 * @throws what CreateKey and CreateAlias do
 */
export async function seedKey(
  kms: KmsParts,
  request: KmsRequest<'CreateKey'>,
  seed: KeySeed,
): Promise<Answer> {
  const made = newKey(kms, request, seed.id);
  checkAliases(kms, seed);
  const arn = keyArn(made.region, made.account, made.id);
  for (const terms of seed.grants) requireGrantable({ ...made, arn }, terms);
  const vault = kms.vaults.own();
  const prepared = await prepareAll(vault, seed.materials, request.call);
  const now = civilSeconds(kms.clock);
  const materials = prepared.map(({ id: hsmKey }, at) => {
    const createdAt = momentOf(now, at + 1 - prepared.length);
    return materialOf(seed, { at, vault: vault.id, hsmKey, createdAt });
  });
  const [first, current] = [materials[0], materials.at(-1)];
  assert(first && current, 'a key has a material');
  const key: KeyRecord = {
    ...made,
    createdAt: first.createdAt,
    state: seed.isEnabled ? 'Enabled' : 'Disabled',
    currentMaterial: current.id,
    ...(seed.rotationDays !== undefined && { rotation: enabledAt(now, seed.rotationDays) }),
    onDemandRotations: materials.length - 1,
  };
  await commitPrepared(kms, request.call, prepared, () =>
    joinParts(
      addPart(key),
      ...materials.map((material) => putMaterial(key, material)),
      ...seed.aliases.map((name) => putAlias(kms, key, name)),
      ...seed.grants.map((terms, at) => addGrant(key, grantOf(key, terms, at))),
    ),
  );
  return { KeyMetadata: metadataOf(key) };
}

/** Each is a little younger than the one before it, which tells their order. */
const momentOf = (now: number, at: number): number => Math.round(now * 1_000 + at) / 1_000;

function materialOf(
  { id: key, materials }: KeySeed,
  made: Pick<MaterialRecord, 'vault' | 'hsmKey' | 'createdAt'> & { readonly at: number },
): MaterialRecord {
  const { at, ...rest } = made;
  const given = materials[at];
  const id = given ? importedMaterialId(key, given) : newMaterialId();
  if (at === 0) return { id, key, ...rest };
  return { id, key, ...rest, rotation: { date: rest.createdAt, type: 'ON_DEMAND' } };
}

/** Its id is the same each time, and no other key's. */
function grantOf(key: KeyRecord, terms: GrantTerms, at: number): GrantRecord {
  const hash = createHash('sha256').update(`keyspan grant v1\0${key.id}\0${at}`);
  const id = hash.digest('hex') as GrantId;
  const issuer = rootArn(key.account);
  return { ...terms, id, key: key.id, issuer, createdAt: key.createdAt };
}

/** @throws as CreateAlias, and KeyspanConfig */
function checkAliases({ facts }: KmsParts, { account, region, aliases }: KeySeed): void {
  for (const name of aliases) {
    checkName(name);
    if (!facts.alias(account, region, name)) continue;
    const sentence = `The alias ${aliasArn(region, account, name)} names another key.`;
    throw refused(sentence);
  }
}

/** All of the materials in the vault, not yet live, or none. Most keys have one. */
async function prepareAll(
  vault: Vault,
  materials: readonly Uint8Array[],
  call: Call,
): Promise<PreparedKey[]> {
  if (materials.length === 0) return [await vault.createKey('AES_256', call)];
  if (!canImport(vault)) throw refused('The vault takes no key material.');
  const prepared: PreparedKey[] = [];
  try {
    for (const material of materials) {
      prepared.push(await vault.importKey('AES_256', material, call));
    }
    return prepared;
  } catch (error) {
    for (const one of prepared) one.abandon();
    throw error;
  }
}
