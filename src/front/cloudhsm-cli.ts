import type { Events } from '../audit/events.js';
import { ClusterUsers, type ClusterUsersOptions } from '../cluster/cluster-users.js';
import type { RunningCluster } from '../cluster/running-cluster.js';
import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { TaskQueue } from '../core/queue.js';
import type { AdminHandlers } from './admin.js';
import { CliSessions } from './cli-sessions.js';

/** What the daemon does for `cloudhsm-cli`. */
type CloudhsmCliHandlers = Pick<
  AdminHandlers,
  'HsmInfo' | 'UserList' | 'UserLogin' | 'UserLogout' | 'ClusterActivate'
>;

export interface CloudhsmCliOptions extends Pick<ClusterUsersOptions, 'secrets' | 'activated'> {
  /**
   * The cluster of this id, or the installation's own.
   * @throws KeyspanError when there is none
   */
  readonly clusterOf: (id: string | undefined) => RunningCluster;
  readonly events: Pick<Events, 'loginEvent' | 'operatorEvent'>;
  readonly sessions?: CliSessions;
}

/** The operator's actions behind `cloudhsm-cli`. */
export function cloudhsmCliHandlers(options: CloudhsmCliOptions): CloudhsmCliHandlers {
  const { clusterOf, secrets, activated, events, sessions = new CliSessions() } = options;
  const usersOf = (cluster: RunningCluster): ClusterUsers =>
    new ClusterUsers({ cluster, secrets, activated });
  // two at once with two passwords would leave HSMs that differ
  const activations = new TaskQueue({
    concurrent: 1,
    waiting: LIMITS.cli_activations_waiting_max,
    refusal: 'HsmBusy',
  });
  return {
    HsmInfo: async ({ cluster, session }) => {
      if (session !== undefined) sessions.use(session);
      return { hsms: await usersOf(clusterOf(cluster)).hsmInfo() };
    },
    UserList: async ({ cluster, session }) => {
      if (session !== undefined) sessions.use(session);
      return { users: await usersOf(clusterOf(cluster)).userList() };
    },
    UserLogin: async ({ cluster: id, username, role, password }) => {
      const cluster = clusterOf(id);
      const user = username.toLowerCase();
      const event = { cluster: cluster.id, user, role };
      try {
        await usersOf(cluster).expect(user, role);
        const session = await sessions.open(cluster, { username: user, password });
        events.loginEvent(event);
        return { session, username: user, role };
      } catch (error) {
        const code = error instanceof KeyspanError ? error.code : 'InternalFailure';
        events.loginEvent({ ...event, code });
        throw error;
      }
    },
    UserLogout: async ({ session }) => {
      sessions.close(session);
      return {};
    },
    ClusterActivate: async ({ cluster: id, password }) => {
      const cluster = clusterOf(id);
      await activations.run(() => usersOf(cluster).activate(password));
      events.operatorEvent({ action: 'cluster activate', target: cluster.id });
      return {};
    },
  };
}
