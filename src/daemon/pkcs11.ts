import type { Events } from '../audit/events.js';
import { shownState } from '../cluster/cluster-states.js';
import { USERS } from '../cluster/lifecycle.js';
import type { RunningCluster } from '../cluster/running-cluster.js';
import type { Secrets } from '../cluster/secrets.js';
import type { Logger } from '../core/log.js';
import { P11Door } from '../front/p11-rpc/door.js';
import { noteShown } from '../front/user-change.js';
import type { DaemonConfig } from './config.js';

/** The PKCS #11 door of this installation: each cluster in state ACTIVE is a slot. */
export async function openPkcs11(parts: {
  readonly config: DaemonConfig;
  readonly clusters: () => readonly RunningCluster[];
  readonly secrets: Secrets;
  readonly events: Events;
  readonly log: Logger;
  readonly version: string;
  /** civil time, in milliseconds since 1970 */
  readonly civil: () => number;
}): Promise<P11Door> {
  const { config, clusters, secrets, events, log, version, civil } = parts;
  const door = new P11Door({
    clusters: () => clusters().filter(({ record }) => shownState(record, civil()) === 'ACTIVE'),
    events,
    log,
    version,
    profile: config.pkcs11Profile,
    // some programs take no PIN of more than 32 characters
    defaultUser: ({ record }) =>
      config.pkcs11User ?? (record.origin === 'installation' ? USERS.cryptoUser : undefined),
    passwordChanged: ({ cluster }, username, password) =>
      noteShown({ cluster, secrets }, username, password),
  });
  await door.listen(config.home.pkcs11Socket);
  return door;
}
