import type { HsmId } from '../core/ids.js';

/** An HSM that could do a piece of work. */
export interface Candidate {
  readonly id: HsmId;
  /** it serves */
  readonly isActive: boolean;
  /** requests that wait for its answer */
  readonly inflight: number;
}

/**
 * Picks who does the work: the HSM whose ENI the request came in by, else the one that has
 * least to do. HSMs in `avoid` failed
 * this request already or lack its key.
 */
export function place<T extends Candidate>(
  candidates: readonly T[],
  preferred: HsmId | undefined,
  avoid?: ReadonlySet<HsmId>,
): T | undefined {
  let best: T | undefined;
  for (const candidate of candidates) {
    if (!candidate.isActive || avoid?.has(candidate.id) === true) continue;
    if (candidate.id === preferred) return candidate;
    if (!best || candidate.inflight < best.inflight) best = candidate;
  }
  return best;
}
