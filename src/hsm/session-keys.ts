import { KeyspanError } from '../core/errors.js';
import type { HsmKeyId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import { destroyObject } from '../token/objects.js';
import type { Handle, Token } from '../token/token.js';
import type { KeyRecord } from './records.js';

/** A key that is on this HSM alone, and ends with the session that made it. */
export interface SessionKey {
  readonly session: number;
  record: KeyRecord;
  /** of an object of the token's memory */
  readonly handle?: Handle | undefined;
  /** of a key that is no object, as it would stand on the shelf */
  readonly blob?: Uint8Array | undefined;
}

/** The session keys of an HSM. */
export class SessionKeys {
  readonly #token: Token;
  readonly #keys = new Map<HsmKeyId, SessionKey>();

  constructor(token: Token) {
    this.#token = token;
  }

  get size(): number {
    return this.#keys.size;
  }

  /** @throws KeyspanError HsmBusy when there are as many as may be; its object is destroyed */
  add(key: SessionKey): void {
    if (this.#keys.size >= LIMITS.session_keys_max) {
      if (key.handle) destroyObject(this.#token, key.handle);
      const sentence = `an HSM holds at most ${LIMITS.session_keys_max} session keys`;
      throw new KeyspanError('HsmBusy', sentence);
    }
    this.#keys.set(key.record.id, key);
  }

  /** The key, for the session that made it. */
  get(session: number, id: HsmKeyId): SessionKey | undefined {
    const key = this.#keys.get(id);
    return key?.session === session ? key : undefined;
  }

  *of(session: number): Generator<SessionKey> {
    for (const key of this.#keys.values()) if (key.session === session) yield key;
  }

  delete(session: number, id: HsmKeyId): boolean {
    const key = this.get(session, id);
    if (!key) return false;
    this.#keys.delete(id);
    if (key.handle) destroyObject(this.#token, key.handle);
    return true;
  }

  /** The session is over. */
  end(session: number): void {
    if (this.#keys.size === 0) return;
    // a Map may lose what it was just walked over
    for (const { record } of this.of(session)) this.delete(session, record.id);
  }
}
