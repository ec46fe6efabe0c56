import type { HsmKeyId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import type { ClusterCheck, HsmCheck } from '../protocol/admin.js';
import { OBJECT_PURPOSE, type LedgerEntry } from './key-ledger.js';
import type { Difference, Differences } from './reconcile.js';

/** What one HSM showed; undefined: it did not answer. */
export interface Examined {
  readonly id: string;
  readonly state: string;
  readonly held: ReadonlySet<HsmKeyId> | undefined;
  readonly differences: Differences | undefined;
}

/** The ledger, and what each HSM showed just before. */
export interface Look {
  readonly ledger: ReadonlyMap<HsmKeyId, LedgerEntry>;
  readonly examined: readonly Examined[];
}

/**
 * What two looks have in common: keys on their way between HSMs while one looked are elsewhere
 * in the other. Pure.
 */
export function lasting(before: Look, now: Look): Look {
  const stays = ([key, { state }]: readonly [HsmKeyId, LedgerEntry]): boolean =>
    state === 'live' || before.ledger.get(key)?.state === state;
  const examined = now.examined.map((one) => {
    const earlier = before.examined.find(({ id }) => id === one.id)?.differences;
    if (!one.differences || !earlier) return one;
    const both = (kind: Difference): HsmKeyId[] => {
      const had = new Set(earlier[kind]);
      return one.differences?.[kind].filter((key) => had.has(key)) ?? [];
    };
    const differences = {
      missing: both('missing'),
      damaged: both('damaged'),
      superseded: both('superseded'),
      ahead: both('ahead'),
      discard: both('discard'),
      unknown: both('unknown'),
      conflicting: both('conflicting'),
    };
    // a key that is missing in one look alone is on its way
    const lacked = new Set(earlier.missing);
    const onTheirWay = one.differences.missing.filter((key) => !lacked.has(key));
    return { ...one, held: new Set([...(one.held ?? []), ...onTheirWay]), differences };
  });
  return { ledger: new Map([...now.ledger].filter(stays)), examined };
}

/** Says what is where. Pure. */
export function summarize({ ledger, examined }: Look, needed: number): ClusterCheck {
  const counts = { live: 0, intents: 0, buried: 0, scarce: 0, lost: 0 };
  for (const [key, { state, purpose }] of ledger) {
    if (state === 'intent') counts.intents += 1;
    else if (state !== 'live') counts.buried += 1;
    else if (purpose !== OBJECT_PURPOSE) counts.live += 1;
    if (state !== 'live') continue;
    const holders = examined.filter(({ held }) => held?.has(key)).length;
    if (holders === 0) counts.lost += 1;
    else if (holders < needed) counts.scarce += 1;
  }
  const hsms = examined.map((one) => hsmCheck(one));
  const clean =
    counts.scarce + counts.lost + counts.buried === 0 && hsms.every((hsm) => isClean(hsm));
  return { clean, ...counts, hsms };
}

function hsmCheck({ id, state, held, differences }: Examined): HsmCheck {
  const count = (kind: Difference): number => differences?.[kind].length ?? 0;
  return {
    id,
    state,
    answered: differences !== undefined,
    held: held?.size ?? 0,
    missing: count('missing'),
    damaged: count('damaged'),
    superseded: count('superseded'),
    ahead: count('ahead'),
    conflicting: count('conflicting'),
    unknown: count('unknown'),
    toDiscard: count('discard'),
    unknownKeys: differences?.unknown.slice(0, LIMITS.check_keys_listed_max) ?? [],
  };
}

function isClean({ answered, ...hsm }: HsmCheck): boolean {
  const { missing, damaged, superseded, ahead, conflicting, unknown, toDiscard } = hsm;
  const copies = missing + damaged + superseded + ahead + conflicting + unknown + toDiscard;
  return !answered || copies === 0;
}
