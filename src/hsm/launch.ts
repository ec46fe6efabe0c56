import {
  isBootId,
  isClusterId,
  isHsmId,
  type BootId,
  type ClusterId,
  type HsmId,
} from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import { faultRule } from '../protocol/fault.js';
import {
  flag,
  id,
  list,
  nullable,
  object,
  oneOf,
  optional,
  text,
  type FormOf,
} from '../protocol/form.js';

/**
 * What the daemon hands to an HSM process as the first line of its standard input: PINs must
 * not stand on a command line
 * or in an environment, which others can read. The pipe stays open; its end means that the
 * daemon is gone.
 */
const path = text({ max: 4_096 });
const base64 = text({ max: 1_024 });

export const launch = object({
  hsm: id<HsmId>(isHsmId),
  cluster: id<ClusterId>(isClusterId),
  boot: id<BootId>(isBootId),
  /** where the token is */
  directory: path,
  /** where to listen */
  socket: path,
  /** where to write the log */
  log: path,
  /** where to write the audit log */
  audit: path,
  /** the token that must be there; null: there is none yet, and one is made */
  serial: nullable(text({ max: 64 })),
  /** it is to make the cluster's first keys */
  founds: optional(flag),
  /** it does what FIPS 140 allows, and nothing else */
  fips: optional(flag),
  /** faults that wait for it; absent: it takes none */
  faults: optional(list(faultRule, { max: LIMITS.faults_max })),
  soPin: base64,
  userPin: base64,
});
export type Launch = FormOf<typeof launch>;

/**
 * What an HSM process writes as a line on its standard output: that it serves, or why it
 * cannot.
 */
export const listening = object({ listening: oneOf(true), serial: text({ max: 64 }) });
export const failed = object({ failed: text({ max: 64 }), message: text({ min: 0, max: 4_096 }) });
export type Launched = FormOf<typeof listening> | FormOf<typeof failed>;

/** The pipe of heartbeats in the HSM process. */
export const HEARTBEAT_FD = 3;
