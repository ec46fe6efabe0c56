import { joinParts, type CommitPart } from '../core/commit.js';
import type { Call } from '../core/call.js';
import { isKeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { KEYSPACE } from '../store/keyspace.js';
import { changePart, duePath, endPart, type DueKey } from './due-keys.js';
import type { Facts } from './facts.js';
import { grantPieces } from './grants.js';
import type { AliasFact, KeyFact, MaterialFact } from './records.js';
import type { KmsParts } from './request.js';

/** What the last commit did: it removed all that was left, or a portion of it. */
export type Removed = 'done' | 'portion';

/**
 * Ends a key whose day came: its materials, on every HSM, with their aliases and grants. What is
 * more than one commit holds goes in portions, the record last; from the first of them on no
 * request finds the key, whatever happens to this daemon or to the clock.
 * @param step called after each commit
 * @throws what vaults and the store throw; StoreConflict when a fact changed meanwhile
 */
export async function removeKey(
  kms: KmsParts,
  due: DueKey,
  call: Call,
  step: (removed: Removed) => Promise<void>,
): Promise<void> {
  for (let isAll = false; !isAll;) {
    await kms.facts.catchUp(call.deadline);
    const key = kms.facts.standing(due.account, due.region, due.id);
    if (!key || duePath(key) !== due.path) return;
    const portion = await nextPortion(kms, key);
    ({ isAll } = portion);
    const end = isAll ? endPart(key) : changePart(key, { ...key, isGoing: true });
    const revision = await kms.facts.commit(joinParts(end, ...portion.pieces));
    await kms.facts.shown(revision, call.deadline);
    await step(isAll ? 'done' : 'portion');
  }
}

/** As many pieces as fit into one commit. */
async function nextPortion(
  kms: KmsParts,
  key: KeyFact,
): Promise<{ pieces: readonly CommitPart[]; isAll: boolean }> {
  const pieces: CommitPart[] = [];
  let room = LIMITS.kms_removal_writes_max;
  for await (const piece of piecesOf(kms, key)) {
    room -= Math.max(piece.compares.length, piece.writes.length);
    if (room < 0) return { pieces, isAll: false };
    pieces.push(piece);
  }
  return { pieces, isAll: true };
}

/** What goes with a key. While its deletion is pending nothing is added to it. */
async function* piecesOf(kms: KmsParts, key: KeyFact): AsyncGenerator<CommitPart> {
  for (const material of kms.facts.materials(key)) yield await materialPiece(kms, key, material);
  yield* grantPieces(kms, key);
  yield* aliasPieces(kms.facts, key);
  yield* grantPieces(kms, key);
}

/** A tombstone for the HSM key: HSMs destroy their copies by it, also those that are away. */
async function materialPiece(
  kms: KmsParts,
  key: KeyFact,
  { id, vault, hsmKey }: MaterialFact,
): Promise<CommitPart> {
  const path = KEYSPACE.kmsMaterial(key.account, key.region, key.id, id);
  const gone: CommitPart = { compares: [], writes: [{ op: 'delete', key: path }] };
  try {
    return joinParts(await kms.vaults.byId(vault).destroyKey(hsmKey), gone);
  } catch (error) {
    // it does not live any more: nothing is left to destroy
    if (isKeyspanError(error, 'VaultKeyMissing')) return gone;
    throw error;
  }
}

/** One that was given to another key meanwhile is that one's. */
function aliasPieces(facts: Facts, key: KeyFact): CommitPart[] {
  return facts.aliasesOf(key).map(({ path, modRevision }: AliasFact) => ({
    compares: [{ key: path, modRevision }],
    writes: [{ op: 'delete', key: path }],
  }));
}
