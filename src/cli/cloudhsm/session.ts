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

/** Who logs in, with what. */
export interface Credentials {
  readonly username: string;
  readonly role: CliRole;
  readonly password: string;
  /** signed tokens, of a user with a second factor */
  readonly mfa?: readonly { readonly token: string; readonly signature: string }[];
}

/** The actions that name a login. */
type OfLogin = Exclude<AdminAction, 'UserLogin' | 'ClusterActivate'>;
/** Those that nobody need be logged in for. */
type Open = 'HsmInfo' | 'UserList' | 'QuorumList' | 'QuorumListValues';

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

  /** Asks what anybody may know. */
  async look<A extends Open>(action: A, cluster = this.cluster): Promise<AdminResults[A]> {
    return await this.#forgetting(() => this.ask(action, { cluster, session: this.#login?.token }));
  }

  /** @throws KeyspanError when a user is logged in already, ServiceError what the HSMs answered */
  async logIn(user: Credentials, cluster = this.cluster): Promise<Login> {
    if (this.#login) {
      throw new KeyspanError('KeyspanUsage', 'A user is already logged in. Log out first');
    }
    this.#login = await this.open(user, cluster);
    return this.#login;
  }

  /** A login beside the one of the commands: that on a second cluster. */
  async open(user: Credentials, cluster: string | undefined): Promise<Login> {
    const { session: token, username, role } = await this.ask('UserLogin', { cluster, ...user });
    return { username, role, token, cluster };
  }

  /** Ends a login that `open` gave. */
  async close({ token }: Login): Promise<void> {
    await this.ask('UserLogout', { session: token });
  }

  /** @throws KeyspanError, ServiceError HsmNotLoggedIn when nobody is logged in */
  async logOut(): Promise<void> {
    const login = this.#login;
    if (!login) throw new KeyspanError('HsmNotLoggedIn');
    this.#login = undefined;
    await this.close(login);
  }

  /**
   * Does something in the user's name.
   * @param cluster what the command named: it must be the login's
   * @throws KeyspanError, ServiceError HsmNotLoggedIn when nobody is logged in
   */
  async act<A extends OfLogin>(
    action: A,
    params: object,
    cluster = this.cluster,
  ): Promise<AdminResults[A]> {
    const login = this.#login;
    if (!login) throw new KeyspanError('HsmNotLoggedIn');
    if (cluster !== undefined && cluster !== login.cluster) {
      throw new KeyspanError('KeyspanUsage', `The login is not on the cluster ${cluster}`);
    }
    return await this.#forgetting(() => this.ask(action, { session: login.token, ...params }));
  }

  /** A login that has ended is forgotten: the next command does without. */
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

  ask<A extends AdminAction>(action: A, params: object): Promise<AdminResults[A]> {
    // an HSM that does not answer is waited for as long as every request
    return callAdmin(this.home, action, params, LIMITS.join_timeout_ms);
  }
}
