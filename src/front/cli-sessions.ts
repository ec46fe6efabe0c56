import { randomBytes } from 'node:crypto';
import type { ClusterSession } from '../cluster/cluster-session.js';
import type { SignedToken } from '../protocol/hsm-session.js';
import type { RunningCluster } from '../cluster/running-cluster.js';
import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';

type LoginCluster = Pick<RunningCluster, 'id' | 'record' | 'login' | 'logout'>;

interface Login {
  readonly cluster: LoginCluster;
  readonly session: ClusterSession;
  readonly idle: NodeJS.Timeout;
}

const TOKEN_BYTES = 24;

/**
 * Logins of HSM users that outlive one request: each is named by a token that the command line
 * holds, and ends when nobody has said it for a while.
 */
export class CliSessions {
  readonly #idleMs: number;
  readonly #logins = new Map<string, Login>();
  /** logins that an HSM has not answered yet */
  #pending = 0;

  constructor(idleMs: number = LIMITS.cli_session_idle_ms) {
    this.#idleMs = idleMs;
  }

  get size(): number {
    return this.#logins.size;
  }

  /**
   * @returns the token that names the login
   * @throws KeyspanError HsmBusy when there are as many logins as there may be, or what the HSMs
   * answered when none let the user in
   */
  async open(
    cluster: LoginCluster,
    user: {
      readonly username: string;
      readonly password: string;
      readonly mfa?: readonly SignedToken[] | undefined;
    },
  ): Promise<string> {
    if (this.#logins.size + this.#pending >= LIMITS.cli_sessions_max) {
      throw new KeyspanError('HsmBusy', 'There are as many logins as there may be');
    }
    this.#pending += 1;
    try {
      const session = await cluster.login(user.username, user.password, user.mfa);
      const token = randomBytes(TOKEN_BYTES).toString('base64url');
      const idle = setTimeout(() => this.#end(token), this.#idleMs).unref();
      this.#logins.set(token, { cluster, session, idle });
      return token;
    } finally {
      this.#pending -= 1;
    }
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

  #end(token: string): boolean {
    const login = this.#logins.get(token);
    if (!login) return false;
    this.#logins.delete(token);
    clearTimeout(login.idle);
    login.cluster.logout(login.session);
    return true;
  }
}
