import { ClusterUsers } from '../cluster/cluster-users.js';
import type { RunningCluster } from '../cluster/running-cluster.js';
import { changePassword, createUser, deleteUser } from '../cluster/user-changes.js';
import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { TaskQueue } from '../core/queue.js';
import type { HsmSessionHandlers, UserContext } from './user-context.js';
import { noteShown, refuseKms, userChange } from './user-change.js';

type UserActions = Pick<
  HsmSessionHandlers,
  | 'HsmInfo'
  | 'UserList'
  | 'UserLogin'
  | 'UserLogout'
  | 'UserCreate'
  | 'UserDelete'
  | 'UserChangePassword'
  | 'ClusterActivate'
>;

/** What a login does with users, and what anybody may see of them. */
export function userActions(options: UserContext): UserActions {
  const { clusterOf, secrets, activated, events, sessions } = options;
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
    UserLogin: async ({ cluster: id, username, role, password, mfa }) => {
      const cluster = clusterOf(id);
      const user = username.toLowerCase();
      const event = { cluster: cluster.id, user, role };
      try {
        await usersOf(cluster).expect(user, role);
        const session = await sessions.open(cluster, { username: user, password, mfa });
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
    ...userChanges({ sessions, secrets, events }),
    ClusterActivate: async ({ cluster: id, password }) => {
      const cluster = clusterOf(id);
      await activations.run(() => usersOf(cluster).activate(password));
      events.operatorEvent({ action: 'cluster activate', target: cluster.id });
      return {};
    },
  };
}

/** What a login does with users. */
function userChanges({
  sessions,
  secrets,
  events,
}: Pick<UserContext, 'secrets' | 'events' | 'sessions'>): Pick<
  UserActions,
  'UserCreate' | 'UserDelete' | 'UserChangePassword'
> {
  const change = userChange({ sessions, events });
  return {
    UserCreate: (user) =>
      change('user create', user, async ({ session }) => {
        const { username, role, password, approval } = user;
        await createUser(session, { username, role, password, approval });
      }),
    UserDelete: (user) =>
      change('user delete', user, async ({ cluster, session }) => {
        const { username, role, approval } = user;
        refuseKms(cluster, username);
        await deleteUser(session, { username, role, approval });
      }),
    UserChangePassword: (user) =>
      change('user change-password', user, async ({ cluster, session }) => {
        const { session: _, ...fields } = user;
        refuseKms(cluster, user.username);
        await changePassword(session, fields);
        await noteShown({ cluster, secrets }, user.username, user.password);
      }),
  };
}
