import { z } from 'zod';
import {
  isBootId,
  isClusterId,
  isHsmId,
  type BootId,
  type ClusterId,
  type HsmId,
} from '../core/ids.js';

/**
 * What the daemon hands to an HSM process as the first line of its standard input: PINs must
 * not stand on a command line
 * or in an environment, which others can read. The pipe stays open; its end means that the
 * daemon is gone.
 */
const id = <T extends string>(check: (value: string) => value is T): z.ZodType<T> =>
  z.custom<T>((value) => typeof value === 'string' && check(value));

export const launch = z.strictObject({
  hsm: id<HsmId>(isHsmId),
  cluster: id<ClusterId>(isClusterId),
  boot: id<BootId>(isBootId),
  /** where the token is */
  directory: z.string(),
  /** where to listen */
  socket: z.string(),
  /** the token that must be there; null: there is none yet, and one is made */
  serial: z.string().nullable(),
  /** in base64 */
  soPin: z.string(),
  userPin: z.string(),
});
export type Launch = z.infer<typeof launch>;

/** Lines that an HSM process writes on its standard output. */
export const launched = z.union([
  z.strictObject({ listening: z.literal(true), serial: z.string() }),
  z.strictObject({ failed: z.string(), message: z.string() }),
]);
export type Launched = z.infer<typeof launched>;

/** The pipe of heartbeats in the HSM process. */
export const HEARTBEAT_FD = 3;
