import { ServiceError } from '../../client/service-error.js';
import { KeyspanError } from '../../core/errors.js';
import { findHome } from '../../core/home.js';
import { LIMITS } from '../../core/limits.js';
import type { AdminAction, AdminResults } from '../../protocol/admin.js';
import type { CliRole } from '../../protocol/hsm-session.js';
import { callAdmin } from '../admin-client.js';

/** One user's login. */
export interface Login {
  readonly username: string;
  readonly role: CliRole;
  readonly token: string;
  /** the cluster that was named; undefined: the installation's own */
  readonly cluster: string | undefined;
}

/** The dialogue with the daemon, and the login that the commands share. */
export class Session {
  /** the cluster of commands that name none */
  cluster: string | undefined;
  /** where to find the daemon */
  home = findHome();
  #login: Login | undefined;

  get login(): Login | undefined {
    return this.#login;
  }

  async hsmInfo(cluster = this.cluster): Promise<AdminResults['HsmInfo']> {
    return await this.#asLoggedIn('HsmInfo', cluster);
  }

  async userList(cluster = this.cluster): Promise<AdminResults['UserList']> {
    return await this.#asLoggedIn('UserList', cluster);
  }

  async activate(password: string, cluster = this.cluster): Promise<void> {
    await this.#ask('ClusterActivate', { cluster, password });
  }

  /** @throws KeyspanError when a user is logged in already, ServiceError what the HSMs answered */
  async logIn(
    user: { readonly username: string; readonly role: CliRole; readonly password: string },
    cluster = this.cluster,
  ): Promise<Login> {
    if (this.#login) {
      throw new KeyspanError('KeyspanUsage', 'A user is already logged in. Log out first');
    }
    const { session: token, username, role } = await this.#ask('UserLogin', { cluster, ...user });
    this.#login = { username, role, token, cluster };
    return this.#login;
  }

  /** @throws KeyspanError, ServiceError HsmNotLoggedIn when nobody is logged in */
  async logOut(): Promise<void> {
    const login = this.#login;
    if (!login) throw new KeyspanError('HsmNotLoggedIn');
    this.#login = undefined;
    await this.#ask('UserLogout', { session: login.token });
  }

  /** @throws KeyspanError, ServiceError HsmNotLoggedIn when nobody is logged in */
  async changeUser<A extends 'UserCreate' | 'UserDelete' | 'UserChangePassword'>(
    action: A,
    user: object,
    cluster = this.cluster,
  ): Promise<AdminResults[A]> {
    const login = this.#login;
    if (!login) throw new KeyspanError('HsmNotLoggedIn');
    if (cluster !== undefined && cluster !== login.cluster) {
      throw new KeyspanError('KeyspanUsage', `The login is not on the cluster ${cluster}`);
    }
    return await this.#forgetting(() => this.#ask(action, { session: login.token, ...user }));
  }

  /** A login that has ended is forgotten: the next command does without. */
  async #asLoggedIn<A extends 'HsmInfo' | 'UserList'>(
    action: A,
    cluster: string | undefined,
  ): Promise<AdminResults[A]> {
    return await this.#forgetting(() =>
      this.#ask(action, { cluster, session: this.#login?.token }),
    );
  }

  async #forgetting<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof ServiceError && error.code === 'HsmNotLoggedIn') {
        this.#login = undefined;
      }
      throw error;
    }
  }

  #ask<A extends AdminAction>(action: A, params: object): Promise<AdminResults[A]> {
    // an HSM that does not answer is waited for as long as every request
    return callAdmin(this.home, action, params, LIMITS.join_timeout_ms);
  }
}
