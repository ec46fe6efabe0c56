import { isAccount, rootArn } from '../core/arn.js';
import { LIMITS } from '../core/limits.js';
import type { StoredAccessKeys } from './access-keys.js';
import type { AccessKey, AccessKeys } from './credentials.js';
import { parsePrincipal } from './principal.js';
import type { Sessions } from './sessions.js';

/** Every credential that callers come with: stored keys, and sessions by their tokens. */
export class CallerKeys implements AccessKeys {
  readonly #stored: StoredAccessKeys;
  readonly #sessions: Sessions;

  constructor(stored: StoredAccessKeys, sessions: Sessions) {
    this.#stored = stored;
    this.#sessions = sessions;
  }

  find(id: string, token?: string): AccessKey | undefined {
    // a token belongs to a temporary key alone, and that is worth nothing without it
    return token === undefined ? this.#stored.find(id) : this.#sessions.find(id, token);
  }
}

/**
 * As CallerKeys, but whoever comes with a key that is not known is the root of the account that
 * the key's id names, or of the installation's own: for tests that bring made-up credentials.
 */
export class AnyKeys extends CallerKeys {
  readonly #account: string;
  readonly #strangers = new Map<string, AccessKey>();

  constructor(stored: StoredAccessKeys, sessions: Sessions, account: string) {
    super(stored, sessions);
    this.#account = account;
  }

  stranger(id: string): AccessKey {
    const known = this.#strangers.get(id);
    if (known) return known;
    const account = isAccount(id) ? id : this.#account;
    const principal = parsePrincipal(rootArn(account));
    const made = { id, secret: new Uint8Array(), principal };
    if (this.#strangers.size >= LIMITS.strangers_known_max) this.#strangers.clear();
    this.#strangers.set(id, made);
    return made;
  }
}
