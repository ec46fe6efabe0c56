import { ClusterUsers } from '../cluster/cluster-users.js';
import { USERS } from '../cluster/lifecycle.js';
import type { RunningCluster } from '../cluster/running-cluster.js';
import { changePassword, createUser, deleteUser } from '../cluster/user-changes.js';
import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { TaskQueue } from '../core/queue.js';
import type { CliUser } from '../protocol/hsm-session.js';
import type { CliSessions } from './cli-sessions.js';
import type { HsmSessionHandlers, UserContext } from './user-context.js';

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
    ...userChanges({ sessions, secrets, events }),
    ClusterActivate: async ({ cluster: id, password }) => {
      const cluster = clusterOf(id);
      await activations.run(() => usersOf(cluster).activate(password));
      events.operatorEvent({ action: 'cluster activate', target: cluster.id });
      return {};
    },
  };
}

/** Passwords of the installation's own cluster that `keyspan credentials` shows. */
const SHOWN: ReadonlySet<string> = new Set([USERS.admin, USERS.cryptoUser]);

/** What a login does with users; each change leaves a line in the audit log. */
function userChanges({
  sessions,
  secrets,
  events,
}: Pick<UserContext, 'secrets' | 'events' | 'sessions'>): Pick<
  UserActions,
  'UserCreate' | 'UserDelete' | 'UserChangePassword'
> {
  type Work = (login: ReturnType<CliSessions['use']>) => Promise<void>;
  const change = async (
    action: string,
    { session, username, role }: { session: string } & CliUser,
    work: Work,
  ): Promise<CliUser> => {
    const login = sessions.use(session);
    const target = `${login.cluster.id} ${username.toLowerCase()}`;
    try {
      await work(login);
      events.operatorEvent({ action, target });
      return { username: username.toLowerCase(), role };
    } catch (error) {
      const code = error instanceof KeyspanError ? error.code : 'InternalFailure';
      events.operatorEvent({ action, target, code });
      throw error;
    }
  };
  return {
    UserCreate: (user) =>
      change('user create', user, async ({ session }) => {
        const { username, role, password } = user;
        await createUser(session, { username, role, password });
      }),
    UserDelete: (user) =>
      change('user delete', user, async ({ cluster, session }) => {
        const { username, role } = user;
        refuseKms(cluster, username);
        await deleteUser(session, { username, role });
      }),
    UserChangePassword: (user) =>
      change('user change-password', user, async ({ cluster, session }) => {
        const { username, role, password } = user;
        refuseKms(cluster, username);
        await changePassword(session, { username, role, password });
        const name = username.toLowerCase();
        const isShown = cluster.record.origin === 'installation' && SHOWN.has(name);
        if (isShown) await secrets.replacePassword(cluster.id, name, password);
      }),
  };
}

/** Without its user KMS would lose the keys of the cluster that backs it. */
function refuseKms({ record }: Pick<RunningCluster, 'record'>, username: string): void {
  if (record.origin !== 'installation' || username.toLowerCase() !== USERS.kms) return;
  throw new KeyspanError('KeyspanRefused', `${USERS.kms} is the user that KMS works as here`);
}
