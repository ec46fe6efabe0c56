import { USERS } from '../cluster/lifecycle.js';
import type { RunningCluster } from '../cluster/running-cluster.js';
import { KeyspanError } from '../core/errors.js';
import type { CliUser } from '../protocol/hsm-session.js';
import type { CliSessions } from './cli-sessions.js';
import type { UserContext } from './user-context.js';

export type Login = ReturnType<CliSessions['use']>;
type Told = Pick<UserContext, 'events' | 'sessions'>;

/** Work of a login that leaves a line in the audit log, whether it is allowed or not. */
export async function audited<T>(
  { events }: Pick<Told, 'events'>,
  { action, target }: { readonly action: string; readonly target: string },
  work: () => Promise<T>,
): Promise<T> {
  try {
    const result = await work();
    events.operatorEvent({ action, target });
    return result;
  } catch (error) {
    const code = error instanceof KeyspanError ? error.code : 'InternalFailure';
    events.operatorEvent({ action, target, code });
    throw error;
  }
}

/** A change of a user by a login. */
export const userChange =
  ({ sessions, events }: Told) =>
  async (
    action: string,
    { session, username, role }: { readonly session: string } & CliUser,
    work: (login: Login) => Promise<void>,
  ): Promise<CliUser> => {
    const login = sessions.use(session);
    const name = username.toLowerCase();
    const target = `${login.cluster.id} ${name}`;
    await audited({ events }, { action, target }, () => work(login));
    return { username: name, role };
  };

/** Passwords of the installation's own cluster that `keyspan credentials` shows. */
const SHOWN: ReadonlySet<string> = new Set([USERS.admin, USERS.cryptoUser]);

/** A user has another password, which the operator may ask for. */
export async function noteShown(
  { cluster, secrets }: Pick<UserContext, 'secrets'> & Pick<Login, 'cluster'>,
  username: string,
  password: string,
): Promise<void> {
  const name = username.toLowerCase();
  const isShown = cluster.record.origin === 'installation' && SHOWN.has(name);
  if (isShown) await secrets.replacePassword(cluster.id, name, password);
}

/** Without its user KMS would lose the keys of the cluster that backs it. */
export function refuseKms({ record }: Pick<RunningCluster, 'record'>, username: string): void {
  if (record.origin !== 'installation' || username.toLowerCase() !== USERS.kms) return;
  throw new KeyspanError('KeyspanRefused', `${USERS.kms} is the user that KMS works as here`);
}
