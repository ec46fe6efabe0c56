import { createRequire } from 'node:module';
import type * as Edwards from '@noble/curves/abstract/edwards';
import type * as Ed25519 from '@noble/curves/ed25519';

/**
 * Curves in plain JavaScript, for Ed25519ph, which neither SoftHSM nor OpenSSL 3.0 has. They are
 * loaded with their first use, which takes some 40 ms: few HSMs have any.
 */
const load = createRequire(import.meta.url);

export const ed25519Curve = (): typeof Ed25519 => load('@noble/curves/ed25519') as typeof Ed25519;
export const edwardsCurves = (): typeof Edwards =>
  load('@noble/curves/abstract/edwards') as typeof Edwards;
