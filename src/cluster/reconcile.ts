import { equalConstantTime } from '../core/bytes.js';
import type { HsmKeyId } from '../core/ids.js';
import type { InventoryItem } from '../protocol/hsm-frames.js';
import type { LedgerEntry } from './key-ledger.js';

/**
 * What one HSM must do to agree with the ledger. Pure. Nothing is destroyed for lack of
 * evidence: only what the ledger
 * abandoned or buried goes; a copy that the ledger does not know is kept and reported.
 */
export interface Differences {
  /** live keys that the HSM lacks */
  readonly missing: readonly HsmKeyId[];
  /** copies of live keys that fail every proof: what stands on the token is no key any more */
  readonly damaged: readonly HsmKeyId[];
  /** copies that the ledger says are to go */
  readonly discard: readonly HsmKeyId[];
  /** copies that no entry of the ledger explains */
  readonly unknown: readonly HsmKeyId[];
  /** copies of live keys whose proof is not the one that the commit names */
  readonly conflicting: readonly HsmKeyId[];
}

export function compare(
  ledger: Iterable<readonly [HsmKeyId, LedgerEntry]>,
  inventory: readonly InventoryItem[],
): Differences {
  const held = new Map(inventory.map((item) => [item.id, item]));
  const missing: HsmKeyId[] = [];
  const discard: HsmKeyId[] = [];
  const conflicting: HsmKeyId[] = [];
  const damaged: HsmKeyId[] = [];
  const explained = new Set<HsmKeyId>();
  for (const [id, entry] of ledger) {
    const item = held.get(id);
    if (item) explained.add(id);
    if (entry.state === 'live') {
      if (!item) missing.push(id);
      else if (item.proof.length === 0) damaged.push(id);
      else if (!agrees(item, entry)) conflicting.push(id);
    } else if (entry.state !== 'intent' && item) {
      discard.push(id);
    }
  }
  const unknown = explained.size === held.size ? [] : without(held.keys(), explained);
  return { missing, damaged, discard, unknown, conflicting };
}

const without = (ids: Iterable<HsmKeyId>, known: ReadonlySet<HsmKeyId>): HsmKeyId[] =>
  [...ids].filter((id) => !known.has(id));

const agrees = (item: InventoryItem, entry: LedgerEntry): boolean =>
  entry.proof !== null && equalConstantTime(item.proof, entry.proof);
