import { createHmac, randomBytes } from 'node:crypto';
import { asBuffer, equalConstantTime } from '../core/bytes.js';
import { KeyspanError } from '../core/errors.js';
import type { BootId, ClusterId, HsmId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import type { AdminService, QuorumService } from '../protocol/hsm-session.js';
import {
  TOKEN_NONCE_BYTES,
  TOKEN_SERVICES,
  encodeToken,
  readToken,
  type ReadToken,
  type TokenService,
} from '../protocol/hsm-token.js';
import type { Session } from './authority.js';

/** A token that this HSM gave and that was not used yet. */
export interface HeldToken {
  readonly token: Uint8Array;
  readonly service: QuorumService;
  readonly session: number;
  readonly username: string;
  readonly key: string | undefined;
  readonly expiresMs: number;
}

export interface QuorumTokensOptions {
  readonly identity: { readonly hsm: HsmId; readonly cluster: ClusterId; readonly boot: BootId };
  /** monotonic time */
  readonly now: () => number;
}

/** Of these a user has one at a time (AWS CloudHSM User Guide, "quorum token-sign generate"). */
const ONE_AT_A_TIME: ReadonlySet<QuorumService> = new Set<AdminService>([
  'user',
  'quorum',
  'cluster',
]);

const nameOf = (token: Uint8Array): string => asBuffer(token).toString('latin1');

/**
 * The tokens of one HSM, in its memory alone: they end with the login, the process, or after their
 * time. Challenges of second factors are not kept, since anybody may ask for them: what this boot's
 * key made is known again, and only those that logged somebody in are remembered.
 */
export class QuorumTokens {
  readonly #identity: QuorumTokensOptions['identity'];
  readonly #now: () => number;
  readonly #bootKey = randomBytes(32);
  readonly #held = new Map<string, HeldToken>();
  /** challenges that were used, with the time when they are void anyway */
  readonly #used = new Map<string, number>();

  constructor({ identity, now }: QuorumTokensOptions) {
    this.#identity = identity;
    this.#now = now;
  }

  /**
   * @throws KeyspanError HsmAlreadyExists where the user has such a token, HsmBusy when there are
   * as many as there may be
   */
  give(session: Session, service: QuorumService, key?: string): Uint8Array {
    const { id, username } = session;
    const isSame = (one: HeldToken): boolean =>
      one.username === username && one.service === service && !this.#isOver(one);
    if (ONE_AT_A_TIME.has(service) && [...this.#held.values()].some(isSame)) {
      const told = `The user has an active token of the service ${service}. Delete it first`;
      throw new KeyspanError('HsmAlreadyExists', told);
    }
    this.#makeRoom();
    const token = this.#make({ service, username, session: id, key: key ?? '' });
    const expiresMs = this.#now() + LIMITS.quorum_token_ttl_ms;
    this.#held.set(nameOf(token), { token, service, session: id, username, key, expiresMs });
    return token;
  }

  #makeRoom(): void {
    if (this.#held.size < LIMITS.quorum_tokens_max) return;
    for (const [name, one] of this.#held) if (this.#isOver(one)) this.#held.delete(name);
    if (this.#held.size < LIMITS.quorum_tokens_max) return;
    throw new KeyspanError('HsmBusy', `an HSM holds at most ${LIMITS.quorum_tokens_max} tokens`);
  }

  #make(content: {
    service: TokenService;
    username: string;
    session: number;
    key: string;
  }): Buffer {
    const { hsm, cluster, boot } = this.#identity;
    const nonce = randomBytes(TOKEN_NONCE_BYTES);
    const issuedMs = this.#now();
    return encodeToken({ ...content, hsm, cluster, boot, nonce, issuedMs }, (body) =>
      this.#mac(body),
    );
  }

  #mac(body: Uint8Array): Buffer {
    return createHmac('sha256', this.#bootKey).update(body).digest();
  }

  #isOver({ expiresMs }: HeldToken): boolean {
    return expiresMs <= this.#now();
  }

  /** The token as it was given to this login, if it is of use yet. */
  find(session: Session, token: Uint8Array): HeldToken | undefined {
    const held = this.#held.get(nameOf(token));
    return held?.session === session.id && !this.#isOver(held) ? held : undefined;
  }

  use({ token }: HeldToken): void {
    this.#held.delete(nameOf(token));
  }

  /** those that are of use yet */
  list(): (HeldToken & { readonly expiresInMs: number })[] {
    const now = this.#now();
    return [...this.#held.values()]
      .filter((one) => !this.#isOver(one))
      .map((one) => ({ ...one, expiresInMs: one.expiresMs - now }));
  }

  /** Those of this user among these; undefined: of all users, and all. */
  delete(username?: string, among?: readonly Uint8Array[]): void {
    for (const name of among?.map(nameOf) ?? [...this.#held.keys()]) {
      const held = this.#held.get(name);
      const isOf = username === undefined || held?.username === username;
      if (isOf) this.#held.delete(name);
    }
  }

  /** Its login is over. */
  forget(session: number): void {
    for (const [name, one] of this.#held) if (one.session === session) this.#held.delete(name);
  }

  /** What a user signs who logs in with a second factor. */
  challenge(username: string): Uint8Array {
    return this.#make({ service: 'mfa', username, session: 0, key: '' });
  }

  /** Whether it is a challenge of this boot for this user, in time, and used by no login. */
  isChallenge(username: string, token: Uint8Array): boolean {
    const read = readToken(token);
    if (!read || read.service !== TOKEN_SERVICES.mfa || read.username !== username) return false;
    if (!equalConstantTime(this.#mac(read.body), read.mac)) return false;
    return this.#endOf(read) > this.#now() && !this.#used.has(nameOf(token));
  }

  #endOf({ issuedMs }: ReadToken): number {
    return issuedMs + LIMITS.quorum_token_ttl_ms;
  }

  /** @throws KeyspanError HsmBusy when there are as many as can be remembered */
  useChallenge(token: Uint8Array): void {
    const read = readToken(token);
    if (!read) return;
    if (this.#used.size >= LIMITS.mfa_tokens_used_max) {
      const now = this.#now();
      for (const [name, endMs] of this.#used) if (endMs <= now) this.#used.delete(name);
    }
    if (this.#used.size >= LIMITS.mfa_tokens_used_max) throw new KeyspanError('HsmBusy');
    this.#used.set(nameOf(token), this.#endOf(read));
  }
}
