import type { Call } from '../core/call.js';
import { monotonic } from '../core/clock.js';
import { deadlineIn, hasPassed } from '../core/deadline.js';
import { KeyspanError, isKeyspanError } from '../core/errors.js';
import type { BootId, HsmId, HsmKeyId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import type { HsmFields, HsmOperation, HsmResults, HsmRole } from '../protocol/hsm-frames.js';
import type { SignedToken } from '../protocol/hsm-session.js';
import { hsmOfToken } from '../protocol/hsm-token.js';
import type { HsmApproval } from '../protocol/quorum-frames.js';
import type { Channel } from '../hsm/channel.js';
import { Member, type Line } from './member.js';
import { place, type Candidate } from './placement.js';

/** The user's login on one HSM. */
class Seat implements Line, Candidate {
  readonly id: HsmId;
  readonly role: HsmRole;
  readonly member: Member;
  readonly channel: Channel;
  readonly session: number;

  constructor(member: Member, { channel, session, role }: Line) {
    this.role = role;
    this.id = member.id;
    this.member = member;
    this.channel = channel;
    this.session = session;
  }

  get isActive(): boolean {
    return this.member.channel === this.channel;
  }

  get inflight(): number {
    return this.channel.inflight;
  }
}

export interface ClusterSessionOptions {
  readonly username: string;
  /** kept in memory until logout: an HSM that comes back is logged in again */
  readonly password: string;
  /**
   * signed challenges of HSMs, for a second factor: each is good for one login, so an HSM that
   * comes back later is done without
   */
  readonly mfa?: readonly SignedToken[] | undefined;
  /** its work is short: see `place`. Requests in flight */
  readonly fillTo?: number | undefined;
  readonly members: () => readonly Member[];
  /** HSMs that may lack this key */
  readonly lacking: (key: HsmKeyId) => ReadonlySet<HsmId> | undefined;
  /** an HSM that does not hold a live key, or fails it */
  readonly report: (member: Member, reason: string, requestId: string) => void;
}

/** @param mfa signed challenges: an HSM that comes later is done without */
export type UserLogin = [username: string, password: string, mfa?: readonly SignedToken[]];

/** Answers of one HSM that another may do better. */
const ELSEWHERE = new Set([
  'KeyspanConnection',
  'HsmBusy',
  'HsmDeviceError',
  'HsmKeyNotFound',
  'HsmKeyUnproven',
  'HsmNotLoggedIn',
  'HsmPhase',
]);
/** Members of operations' fields that M of N signed. */
const APPROVALS = ['approval', 'payloadApproval', 'wrappingApproval'] as const;
type Approved = { readonly [Name in (typeof APPROVALS)[number]]?: HsmApproval | undefined };

function isApproved(fields: object): boolean {
  const { approval, payloadApproval, wrappingApproval }: Approved = fields;
  return (approval ?? payloadApproval ?? wrappingApproval) !== undefined;
}

/** Those that tell of an HSM that is not as it should be. */
const REPORTED = new Set(['HsmDeviceError', 'HsmKeyNotFound', 'HsmKeyUnproven']);

/** Ends of a login that say nothing of the password. */
const isUnjudged = (error: unknown): boolean =>
  isKeyspanError(error, 'KeyspanConnection') || isKeyspanError(error, 'HsmBusy');

/**
 * One login of one HSM user over all HSMs of a cluster. Work that fails on one HSM is tried on
 * another.
 */
export class ClusterSession {
  readonly #options: ClusterSessionOptions;
  readonly #seats = new Map<HsmId, Seat>();
  /**
   * boots that refused the password: it is never tried on them again, so that no replay locks a
   * user
   */
  readonly #refused = new Map<HsmId, BootId | undefined>();
  #order: readonly Seat[] = [];
  /** session keys of this login, with the one HSM that they are on */
  readonly #own = new Map<HsmKeyId, HsmId>();
  /** ids of keys by the references that they were asked for */
  readonly #names = new Map<string, HsmKeyId>();
  #isOver = false;
  #password: string;
  readonly #factors: Map<string | undefined, SignedToken>;

  constructor(options: ClusterSessionOptions) {
    this.#options = options;
    this.#factors = new Map((options.mfa ?? []).map((one) => [hsmOfToken(one.token), one]));
    this.#password = options.password;
  }

  get username(): string {
    return this.#options.username;
  }

  /** The user has another password now: HSMs that come up are logged in with it. */
  changed(password: string): void {
    this.#password = password;
  }

  /** The HSM that holds the session keys of this login, if there are any. */
  get home(): HsmId | undefined {
    const [home] = this.#own.values();
    return home;
  }

  /** A session key was made on an HSM. */
  keeps(id: HsmKeyId, on: HsmId): void {
    this.#own.set(id, on);
  }

  /** The HSM that a session key of this login is on. */
  homeOf(id: HsmKeyId): HsmId | undefined {
    return this.#own.get(id);
  }

  /** Session keys of this login that are on other HSMs than this one. */
  ownBeside(hsm: HsmId | undefined): HsmKeyId[] {
    return [...this.#own].filter(([, home]) => home !== hsm).map(([id]) => id);
  }

  /** Whether a key is a session key of this login. */
  isOwn(id: HsmKeyId): boolean {
    return this.#own.has(id);
  }

  /** A session key was destroyed, or went with its HSM. */
  drops(id: HsmKeyId): void {
    this.#own.delete(id);
  }

  nameOf(reference: string): HsmKeyId | undefined {
    return this.#names.get(reference);
  }

  /** Remembers what a reference means, so that the next use asks no HSM for it. */
  name(reference: string, id: HsmKeyId): void {
    if (this.#names.size >= LIMITS.key_names_max) this.#names.clear();
    this.#names.set(reference, id);
  }

  forgetName(reference: string): void {
    this.#names.delete(reference);
  }

  /** what the user is on the HSMs that know it; undefined while none does */
  get role(): HsmRole | undefined {
    return this.#order[0]?.role;
  }

  /** how many HSMs the user is logged in on and that serve */
  get size(): number {
    return this.#serving().length;
  }

  /**
   * Logs in on one HSM that came up. @throws KeyspanError what the HSM answered: the user may
   * not exist there
   */
  async seat(member: Member, channel: Channel): Promise<void> {
    const { boot } = channel.peer;
    if (this.#refused.get(member.id) === boot) return;
    const { username } = this.#options;
    const password = this.#password;
    const mfa = this.#factors.get(member.id);
    this.#factors.delete(member.id);
    const deadline = deadlineIn(LIMITS.request_timeout_ms);
    try {
      this.#put(member, await Member.login(channel, { username, password, mfa }, deadline));
    } catch (error) {
      // one that was not judged may be tried again
      if (!isUnjudged(error)) this.#refused.set(member.id, boot);
      throw error;
    }
  }

  /** Ends the login on every HSM; one that does not hear of it ends it with its connection. */
  logout(): void {
    this.#isOver = true;
    const deadline = deadlineIn(LIMITS.request_timeout_ms);
    for (const { channel, session } of this.#seats.values()) {
      const request = { operation: 'logout', fields: {}, session, deadline } as const;
      channel.request(request).catch(() => undefined);
    }
    this.#seats.clear();
    this.#order = [];
  }

  /** An HSM left the cluster. */
  unseat(id: HsmId): void {
    this.#seats.delete(id);
    this.#refused.delete(id);
    this.#order = [...this.#seats.values()];
  }

  #put(member: Member, line: Line): void {
    // a new login of the HSM: what belonged to the one before ended with it
    for (const [id, home] of this.#own) if (home === member.id) this.#own.delete(id);
    this.#seats.set(member.id, new Seat(member, line));
    if (this.#isOver) return this.logout();
    this.#order = [...this.#seats.values()];
  }

  #serving(): readonly Seat[] {
    return this.#order.filter(({ isActive }) => isActive);
  }

  /**
   * Runs one operation on some HSM, and on another when that one fails, until the deadline.
   * @param key the key it works with, if any: HSMs that lack it are passed over
   * @param second another that it works with
   * @throws KeyspanError what the last HSM answered; VaultUnavailable when none serves;
   * VaultTimeout
   */
  async run<Op extends HsmOperation>(
    operation: Op,
    fields: HsmFields<Op>,
    call: Call,
    key?: HsmKeyId,
    second?: HsmKeyId,
  ): Promise<HsmResults[Op]> {
    let failure: unknown;
    let avoid = key === undefined ? undefined : this.#options.lacking(key);
    if (second !== undefined) avoid = either(avoid, this.#options.lacking(second));
    const only = this.#pinned(operation, key, second);
    for (let attempt = 0; attempt < LIMITS.attempts_max; attempt += 1) {
      const seat = place(this.#order, only ?? call.entry, avoid, this.#options.fillTo);
      if (!seat) break;
      if (only !== undefined && seat.id !== only) throw lostWith(only);
      const begin = monotonic();
      call.vaultAskedAt ??= begin;
      try {
        const { channel, session, member } = seat;
        const { deadline, requestId } = call;
        const { epoch } = member;
        const request = { operation, fields, deadline, session, epoch, requestId };
        const result = await channel.request(request);
        call.servedBy = seat.id;
        // a look costs nothing where a promise would: this is on the way of every request
        if (isApproved(fields)) await this.#spend(fields);
        return result;
      } catch (error) {
        failure = error;
        if (only !== undefined || !this.#mayGoElsewhere(error, seat, call)) throw error;
        avoid = new Set([...(avoid ?? []), seat.id]);
      } finally {
        call.hsmMs = (call.hsmMs ?? 0) + monotonic() - begin;
      }
    }
    if (hasPassed(call.deadline)) throw new KeyspanError('VaultTimeout');
    throw failure ?? new KeyspanError('VaultUnavailable');
  }

  /** An operation with this key is about to come: the HSM that it will go to stays awake. */
  soon(key: HsmKeyId): void {
    place(this.#order, this.#own.get(key), this.#options.lacking(key))?.channel.soon();
  }

  /**
   * Runs one operation on this HSM and on no other: what it works with is there alone.
   * @throws KeyspanError VaultKeyMissing when it does not serve, or what it answered
   */
  async runOn<Op extends HsmOperation>(
    hsm: HsmId,
    operation: Op,
    fields: HsmFields<Op>,
    call: Call,
  ): Promise<HsmResults[Op]> {
    const seat = this.#seats.get(hsm);
    if (!seat?.isActive) throw lostWith(hsm);
    const { channel, session, member } = seat;
    const { deadline, requestId } = call;
    const { epoch } = member;
    return await channel.request({ operation, fields, deadline, session, epoch, requestId });
  }

  /** The one HSM that can do it: session keys are on no other. */
  #pinned(operation: HsmOperation, key?: HsmKeyId, second?: HsmKeyId): HsmId | undefined {
    if (this.#own.size === 0) return undefined;
    // without it the keys of the cluster are still to be found
    if (operation === 'key-find')
      return this.#seats.get(this.home as HsmId)?.isActive ? this.home : undefined;
    for (const id of [key, second]) {
      const home = id && this.#own.get(id);
      if (home !== undefined) return home;
    }
    return undefined;
  }

  /** What was approved is done by one HSM for all: no other does it once more. */
  async #spend(fields: object): Promise<void> {
    const approved: Approved = fields;
    for (const name of APPROVALS) {
      const among = approved[name]?.data;
      if (among) await this.onEach('token-delete', { scope: 'user', among });
    }
  }

  /**
   * Asks every HSM that the user is logged in on and that serves, each for itself: what is about
   * users goes to all of them, and none stands in for another.
   * @param fieldsOf the same for all, or what each is to be told
   */
  async onEach<Op extends HsmOperation>(
    operation: Op,
    fieldsOf: HsmFields<Op> | ((hsm: HsmId) => HsmFields<Op>),
  ): Promise<readonly PromiseSettledResult<HsmResults[Op]>[]> {
    const deadline = deadlineIn(LIMITS.request_timeout_ms);
    const asked = this.#serving().map(async ({ id, channel, session, member: { epoch } }) => {
      const fields = typeof fieldsOf === 'function' ? fieldsOf(id) : fieldsOf;
      return await channel.request({ operation, fields, deadline, session, epoch });
    });
    return await Promise.allSettled(asked);
  }

  #mayGoElsewhere(error: unknown, seat: Seat, call: Call): boolean {
    if (!isKeyspanError(error) || !ELSEWHERE.has(error.code)) return false;
    if (REPORTED.has(error.code)) {
      this.#options.report(seat.member, error.code, call.requestId);
    }
    return !hasPassed(call.deadline);
  }
}

const lostWith = (id: HsmId): KeyspanError =>
  new KeyspanError('VaultKeyMissing', `the session keys went with ${id}`);

function either(
  one: ReadonlySet<HsmId> | undefined,
  other: ReadonlySet<HsmId> | undefined,
): ReadonlySet<HsmId> | undefined {
  return one && other ? new Set([...one, ...other]) : (one ?? other);
}
