import { randomBytes } from 'node:crypto';
import type { ClusterSession } from '../cluster/cluster-session.js';
import type { SignedToken } from '../protocol/hsm-session.js';
import type { RunningCluster } from '../cluster/running-cluster.js';
import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';

type LoginCluster = Pick<RunningCluster, 'id' | 'record' | 'login' | 'logout' | 'keys'>;

/** Whose a login is. */
export interface LoginOwner {
  readonly name: string;
  /** what has the logins counted together */
  readonly place: string;
  readonly logins_max: number;
}

interface Login {
  readonly cluster: LoginCluster;
  readonly session: ClusterSession;
  readonly idle: NodeJS.Timeout;
  /** undefined until who asked for it hears of it */
  owner: LoginOwner | undefined;
}

const TOKEN_BYTES = 24;

/**
 * Logins of HSM users that outlive one request and one connection: each is named by a token that
 * its owner holds, and ends when nobody has said it for a while.
 */
export class CliSessions {
  readonly #idleMs: number;
  readonly #logins = new Map<string, Login>();
  /** logins that an HSM has not answered yet, by their places */
  readonly #pending = new Map<string, number>();

  constructor(idleMs: number = LIMITS.cli_session_idle_ms) {
    this.#idleMs = idleMs;
  }

  get size(): number {
    return this.#logins.size;
  }

  /**
   * Runs what opens a login, for the one who has it from then on.
   * @throws KeyspanError HsmBusy when there are as many as there may be, or what `open` throws
   */
  async admit<T extends { readonly session: string }>(
    owner: LoginOwner,
    open: () => Promise<T>,
  ): Promise<T> {
    const { place } = owner;
    if (this.#count(place) >= owner.logins_max) {
      throw new KeyspanError('HsmBusy', 'There are as many logins as there may be');
    }
    this.#pending.set(place, (this.#pending.get(place) ?? 0) + 1);
    try {
      const opened = await open();
      const login = this.#logins.get(opened.session);
      if (login) login.owner = owner;
      return opened;
    } finally {
      const others = (this.#pending.get(place) ?? 1) - 1;
      if (others > 0) this.#pending.set(place, others);
      else this.#pending.delete(place);
    }
  }

  /** @throws KeyspanError HsmNotLoggedIn when it has ended, or is another's */
  check(token: string, owner: LoginOwner): void {
    if (this.#logins.get(token)?.owner?.name !== owner.name) {
      throw new KeyspanError('HsmNotLoggedIn');
    }
  }

  /**
   * @returns the token that names the login
   * @throws KeyspanError what the HSMs answered when none let the user in
   */
  async open(
    cluster: LoginCluster,
    user: {
      readonly username: string;
      readonly password: string;
      readonly mfa?: readonly SignedToken[] | undefined;
    },
  ): Promise<string> {
    const session = await cluster.login(user.username, user.password, user.mfa);
    const token = randomBytes(TOKEN_BYTES).toString('base64url');
    const idle = setTimeout(() => this.#end(token), this.#idleMs).unref();
    this.#logins.set(token, { cluster, session, idle, owner: undefined });
    return token;
  }

  /** Somebody works with it. @throws KeyspanError HsmNotLoggedIn when it has ended */
  use(token: string): { readonly cluster: LoginCluster; readonly session: ClusterSession } {
    const login = this.#logins.get(token);
    if (!login) throw new KeyspanError('HsmNotLoggedIn');
    login.idle.refresh();
    return login;
  }

  /** Ends the login. @throws KeyspanError HsmNotLoggedIn when it has ended before */
  close(token: string): void {
    if (!this.#end(token)) throw new KeyspanError('HsmNotLoggedIn');
  }

  /** also those that are on their way */
  #count(place: string): number {
    let count = this.#pending.get(place) ?? 0;
    for (const { owner } of this.#logins.values()) if (owner?.place === place) count += 1;
    return count;
  }

  #end(token: string): boolean {
    const login = this.#logins.get(token);
    if (!login) return false;
    this.#logins.delete(token);
    clearTimeout(login.idle);
    login.cluster.logout(login.session);
    return true;
  }
}
