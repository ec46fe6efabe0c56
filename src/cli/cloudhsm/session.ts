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

/** The dialogue with the daemon, and the logins that the commands share: one on each cluster. */
export class Session {
  /** the cluster of commands that name none */
  cluster: string | undefined;
  /** where to find the daemon */
  home = findHome();
  /** the newest last: it is that of commands that name no cluster */
  readonly #logins: Login[] = [];
  /** the id of the installation's own cluster, once somebody asked for it */
  #ownId: string | undefined;

  get login(): Login | undefined {
    return this.#logins.at(-1);
  }

  /** The login on the cluster that a command names; undefined: there is none. */
  async loginOn(cluster: string | undefined): Promise<Login | undefined> {
    if (cluster === undefined) return this.login;
    const named = this.#logins.find((login) => login.cluster === cluster);
    const unnamed = this.#logins.find((login) => login.cluster === undefined);
    if (named || !unnamed) return named;
    this.#ownId ??= (await this.ask('Status', {})).cluster?.id;
    return this.#ownId === cluster ? unnamed : undefined;
  }

  /** Asks what anybody may know. */
  async look<A extends Open>(action: A, cluster = this.cluster): Promise<AdminResults[A]> {
    const login = await this.loginOn(cluster);
    const asked = { cluster: cluster ?? login?.cluster, session: login?.token };
    return await this.#forgetting(login, () => this.ask(action, asked));
  }

  /** @throws KeyspanError when a user is logged in there, ServiceError what the HSMs answered */
  async logIn(user: Credentials, cluster = this.cluster): Promise<Login> {
    if (this.#logins.some((login) => login.cluster === cluster)) {
      throw new KeyspanError('KeyspanUsage', 'A user is already logged in. Log out first');
    }
    const login = await this.open(user, cluster);
    this.#logins.push(login);
    return login;
  }

  /** A login beside those of the commands. */
  async open(user: Credentials, cluster: string | undefined): Promise<Login> {
    const { session: token, username, role } = await this.ask('UserLogin', { cluster, ...user });
    return { username, role, token, cluster };
  }

  /** Ends a login that `open` gave. */
  async close({ token }: Login): Promise<void> {
    await this.ask('UserLogout', { session: token });
  }

  /** @throws KeyspanError, ServiceError HsmNotLoggedIn when nobody is logged in */
  async logOut(cluster = this.cluster): Promise<void> {
    const login = await this.#needed(cluster);
    this.#forget(login);
    await this.close(login);
  }

  /** Ends every login; the daemon would do that by itself, later. */
  async end(): Promise<void> {
    const logins = this.#logins.splice(0);
    await Promise.allSettled(logins.map((login) => this.close(login)));
  }

  /**
   * Does something in the user's name.
   * @param cluster what the command named: it must be a login's
   * @throws KeyspanError, ServiceError HsmNotLoggedIn when nobody is logged in
   */
  async act<A extends OfLogin>(
    action: A,
    params: object,
    cluster = this.cluster,
  ): Promise<AdminResults[A]> {
    const login = await this.#needed(cluster);
    return await this.#forgetting(login, () =>
      this.ask(action, { session: login.token, ...params }),
    );
  }

  async #needed(cluster: string | undefined): Promise<Login> {
    const login = await this.loginOn(cluster);
    if (login) return login;
    if (!this.login) throw new KeyspanError('HsmNotLoggedIn');
    throw new KeyspanError('KeyspanUsage', `The login is not on the cluster ${cluster}`);
  }

  /** A login that has ended is forgotten: the next command does without. */
  async #forgetting<T>(login: Login | undefined, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      const isOver = error instanceof ServiceError && error.code === 'HsmNotLoggedIn';
      if (isOver && login) this.#forget(login);
      throw error;
    }
  }

  #forget(login: Login): void {
    const at = this.#logins.indexOf(login);
    if (at >= 0) this.#logins.splice(at, 1);
  }

  ask<A extends AdminAction>(action: A, params: object): Promise<AdminResults[A]> {
    // an HSM that does not answer is waited for as long as every request
    return callAdmin(this.home, action, params, LIMITS.join_timeout_ms);
  }
}
