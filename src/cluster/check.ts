import type { HsmKeyId } from '../core/ids.js';
import type { ClusterCheck, HsmCheck } from '../protocol/admin.js';
import type { LedgerEntry } from './key-ledger.js';
import type { Differences } from './reconcile.js';

/** What one HSM showed; undefined: it did not answer. */
export interface Examined {
  readonly id: string;
  readonly state: string;
  readonly held: ReadonlySet<HsmKeyId> | undefined;
  readonly differences: Differences | undefined;
}

/** Says what is where. Pure. */
export function summarize(
  ledger: Iterable<readonly [HsmKeyId, LedgerEntry]>,
  examined: readonly Examined[],
  needed: number,
): ClusterCheck {
  const counts = { live: 0, intents: 0, buried: 0, scarce: 0, lost: 0 };
  for (const [key, { state }] of ledger) {
    if (state === 'intent') counts.intents += 1;
    else if (state !== 'live') counts.buried += 1;
    else counts.live += 1;
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
  const count = (kind: keyof Differences): number => differences?.[kind].length ?? 0;
  return {
    id,
    state,
    answered: differences !== undefined,
    held: held?.size ?? 0,
    missing: count('missing'),
    damaged: count('damaged'),
    conflicting: count('conflicting'),
    unknown: count('unknown'),
    toDiscard: count('discard'),
  };
}

const isClean = (hsm: HsmCheck): boolean =>
  !hsm.answered || hsm.missing + hsm.damaged + hsm.conflicting + hsm.unknown + hsm.toDiscard === 0;
