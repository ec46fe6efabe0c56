import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { CKF, CKR } from '../core/pkcs11.js';
import { attempt, ckrOf, tokenError } from './ckr.js';
import type { Cryptoki, Handle } from './cryptoki.js';

/** A session after which something may be stuck: no operation begins in it again. */
const WEDGED: ReadonlySet<number> = new Set([CKR.OPERATION_ACTIVE, CKR.ARGUMENTS_BAD]);
const NOTHING_HARMLESS: ReadonlySet<number> = new Set();

/**
 * Read-write sessions for operations, taken and given back. They stay open: SoftHSM is not safe
 * against closing a session while other threads work. So a retired session is only put aside, and
 * closed when the bound asks for its place.
 */
export class SessionPool {
  readonly #cryptoki: Cryptoki;
  readonly #slot: () => Handle;
  readonly #max: number;
  readonly #free: Handle[] = [];
  readonly #retired: Handle[] = [];
  /** open sessions: taken, free and retired; 0 <= #open <= #max */
  #open = 0;

  constructor(cryptoki: Cryptoki, slot: () => Handle, max: number = LIMITS.hsm_token_sessions_max) {
    this.#cryptoki = cryptoki;
    this.#slot = slot;
    this.#max = max;
  }

  get retired(): number {
    return this.#retired.length;
  }

  get open(): number {
    return this.#open;
  }

  /** @throws KeyspanError HsmBusy when as many sessions as allowed are taken */
  take(): Handle {
    return this.#free.pop() ?? this.#openSession();
  }

  /** Gives back a session in which no operation is active. */
  give(session: Handle): void {
    this.#free.push(session);
  }

  /** Gives up a session in which an operation may still be active. */
  retire(session: Handle): void {
    this.#retired.push(session);
  }

  /**
   * One operation in a session of its own: `begin` is its C_…Init, `finish` the call that ends it.
   * When `finish` fails with anything but `harmless` return values, the session is retired.
   */
  operate<T>(
    call: string,
    begin: (session: Handle) => void,
    finish: (session: Handle) => T,
    harmless: ReadonlySet<number> = NOTHING_HARMLESS,
  ): T {
    const session = this.take();
    let begun = false;
    try {
      begin(session);
      begun = true;
      const result = finish(session);
      this.#free.push(session);
      return result;
    } catch (error) {
      const ckr = ckrOf(error);
      const sound = ckr !== undefined && (begun ? harmless.has(ckr) : !WEDGED.has(ckr));
      if (sound) this.give(session);
      else this.retire(session);
      throw tokenError(error, call);
    }
  }

  /** Closes all sessions that are not taken. */
  close(): void {
    for (const session of [...this.#free.splice(0), ...this.#retired.splice(0)]) {
      this.#closeSession(session);
    }
  }

  #openSession(): Handle {
    if (this.#open >= this.#max) {
      const retired = this.#retired.shift();
      if (!retired) throw new KeyspanError('HsmBusy', 'every session of the token is in use');
      this.#closeSession(retired);
    }
    const flags = CKF.SERIAL_SESSION | CKF.RW_SESSION;
    const session = attempt('C_OpenSession', () =>
      this.#cryptoki.C_OpenSession(this.#slot(), flags),
    );
    this.#open += 1;
    return session;
  }

  #closeSession(session: Handle): void {
    this.#open -= 1;
    attempt('C_CloseSession', () => this.#cryptoki.C_CloseSession(session));
  }
}
