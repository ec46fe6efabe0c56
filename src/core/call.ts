import type { Deadline } from './deadline.js';
import type { HsmId } from './ids.js';

/** One request on its way through the daemon. */
export interface Call {
  /** shown in logs, audit lines and errors */
  readonly requestId: string;
  readonly deadline: Deadline;
  /** the HSM whose ENI the request came in by; it serves the request while it can */
  readonly entry?: HsmId;
  /** the HSM that did the work, set by the vault */
  servedBy?: HsmId;
  /**
   * monotonic time at which the vault was first asked, set by the vault: what came before
   * decided
   */
  vaultAskedAt?: number;
  /** milliseconds that HSMs took to answer, set by the vault */
  hsmMs?: number;
}

/** Tells a call what became of another that was made in its place. */
export function answeredBy(call: Call, { servedBy, vaultAskedAt, hsmMs }: Call): void {
  if (servedBy !== undefined) call.servedBy = servedBy;
  if (vaultAskedAt !== undefined) call.vaultAskedAt = vaultAskedAt;
  if (hsmMs !== undefined) call.hsmMs = hsmMs;
}
