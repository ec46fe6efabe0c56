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
 * least to do. HSMs in `avoid` failed this request already or lack its key.
 * @param fillTo requests that the first of them gets before another gets one: for work so short
 * that to wake an HSM costs more, and that goes in one batch with what is there
 */
export function place<T extends Candidate>(
  candidates: readonly T[],
  preferred: HsmId | undefined,
  avoid?: ReadonlySet<HsmId>,
  fillTo = 0,
): T | undefined {
  let best: T | undefined;
  for (const candidate of candidates) {
    if (!candidate.isActive || avoid?.has(candidate.id) === true) continue;
    if (candidate.id === preferred) return candidate;
    if (!best || isBetter(candidate, best, fillTo)) best = candidate;
  }
  return best;
}

const isBetter = (one: Candidate, best: Candidate, fillTo: number): boolean =>
  best.inflight >= fillTo && one.inflight < best.inflight;
