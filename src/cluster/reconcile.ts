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
  /** copies of live keys with an older record than the commit names */
  readonly superseded: readonly HsmKeyId[];
  /** copies of live keys with a newer record: the commit that named it is lost, with its store */
  readonly ahead: readonly HsmKeyId[];
  /** copies that the ledger says are to go */
  readonly discard: readonly HsmKeyId[];
  /** copies that no entry of the ledger explains */
  readonly unknown: readonly HsmKeyId[];
  /** copies of live keys whose proof, or record of this revision, is not the one of the commit */
  readonly conflicting: readonly HsmKeyId[];
}

export type Difference = keyof Differences;

export function compare(
  ledger: Iterable<readonly [HsmKeyId, LedgerEntry]>,
  inventory: readonly InventoryItem[],
): Differences {
  const held = new Map(inventory.map((item) => [item.id, item]));
  const found: Record<Difference, HsmKeyId[]> = {
    missing: [],
    damaged: [],
    superseded: [],
    ahead: [],
    discard: [],
    unknown: [],
    conflicting: [],
  };
  const explained = new Set<HsmKeyId>();
  for (const [id, entry] of ledger) {
    const item = held.get(id);
    if (item) explained.add(id);
    const difference = differenceOf(item, entry);
    if (difference) found[difference].push(id);
  }
  if (explained.size < held.size) found.unknown.push(...without(held.keys(), explained));
  return found;
}

const without = (ids: Iterable<HsmKeyId>, known: ReadonlySet<HsmKeyId>): HsmKeyId[] =>
  [...ids].filter((id) => !known.has(id));

function differenceOf(item: InventoryItem | undefined, entry: LedgerEntry): Difference | undefined {
  if (entry.state === 'intent') return undefined;
  if (entry.state !== 'live') return item && 'discard';
  if (!item) return 'missing';
  if (item.proof.length === 0) return 'damaged';
  if (!isTheKey(item, entry)) return 'conflicting';
  if (item.revision < entry.revision) return 'superseded';
  if (item.revision > entry.revision) return 'ahead';
  return isTheRecord(item, entry) ? undefined : 'conflicting';
}

const isTheKey = (item: InventoryItem, entry: LedgerEntry): boolean =>
  entry.proof !== null && equalConstantTime(item.proof, entry.proof);

/** An attempt has one first record; each later one is named by its digest. */
const isTheRecord = (item: InventoryItem, { record }: LedgerEntry): boolean =>
  record === null || equalConstantTime(item.digest, record.digest);
