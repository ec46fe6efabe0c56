import type { Events } from '../audit/events.js';
import type { ClusterUsersOptions } from '../cluster/cluster-users.js';
import type { RunningCluster } from '../cluster/running-cluster.js';
import type { Secrets } from '../cluster/secrets.js';
import type { Call } from '../core/call.js';
import type {
  HsmSessionAction,
  HsmSessionParams,
  HsmSessionResults,
} from '../protocol/hsm-session.js';
import type { CliSessions } from './cli-sessions.js';

/** What a daemon does for HSM users, whichever door they come in by. */
export type HsmSessionHandlers = {
  readonly [A in HsmSessionAction]: (
    params: HsmSessionParams<A>,
    /**
     * without the HSM of the ENI: an HSM user's work goes to the one that has least to do, as
     * CloudHSM's clients spread it
     */
    call: Call,
  ) => Promise<HsmSessionResults[A]>;
};

/** What the actions of HSM users work with. */
export interface UserContext extends Pick<ClusterUsersOptions, 'activated'> {
  readonly secrets: Pick<Secrets, 'passwordOf' | 'replacePassword'>;
  /**
   * The cluster of this id, or the installation's own.
   * @throws KeyspanError when there is none
   */
  readonly clusterOf: (id: string | undefined) => RunningCluster;
  readonly events: Pick<Events, 'loginEvent' | 'operatorEvent'>;
  readonly sessions: CliSessions;
}
