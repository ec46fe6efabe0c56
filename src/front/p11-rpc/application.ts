import type { RunningCluster } from '../../cluster/running-cluster.js';
import type { Events } from '../../audit/events.js';
import type { Call } from '../../core/call.js';
import { deadlineIn } from '../../core/deadline.js';
import { newRequestId } from '../../core/ids.js';
import { LIMITS } from '../../core/limits.js';
import type { Logger } from '../../core/log.js';
import { mechanismsOf } from '../../protocol/p11-mechanism.js';
import type { P11Version } from '../../protocol/p11-wire.js';
import type { Catalogs } from './catalog.js';
import { fail } from './failure.js';
import { InputBudget } from './hsm-stream.js';
import { mechanismsFor, type MechanismFacts, type Profile } from './mechanism-table.js';
import { P11Session } from './session.js';
import { TokenView } from './token-view.js';

/** One cluster as a slot. */
export interface Slot {
  /** the same for as long as the daemon runs, whatever else comes and goes */
  readonly id: number;
  readonly cluster: RunningCluster;
}

export interface P11Options {
  /** clusters in state ACTIVE */
  readonly slots: () => readonly Slot[];
  readonly catalogs: Catalogs;
  readonly events: Events;
  readonly log: Logger;
  /** Keyspan's, as `major.minor…` */
  readonly version: string;
  readonly profile: Profile;
  /** the crypto-user that a PIN without a name is of */
  readonly defaultUser: (cluster: RunningCluster) => string | undefined;
  /** a crypto-user has another password */
  readonly passwordChanged: (slot: Slot, username: string, password: string) => Promise<void>;
}

/** One PKCS #11 application: all that belongs to one connection. */
export class Application {
  readonly options: P11Options;
  readonly version: P11Version;
  readonly budget = new InputBudget();
  readonly sessions = new Map<number, P11Session>();
  readonly #views = new Map<number, TokenView>();
  #mechanisms: readonly MechanismFacts[] | undefined;
  #nextSession = 1;
  isInitialized = false;
  /** calls that wait for an event of a slot, which ends with the application alone */
  readonly waiting = new Set<() => void>();

  constructor(options: P11Options, version: P11Version) {
    this.options = options;
    this.version = version;
  }

  /** @throws P11Failure SLOT_ID_INVALID */
  slot(id: number): Slot {
    const slot = this.options.slots().find((one) => one.id === id);
    if (!slot) throw fail('SLOT_ID_INVALID');
    return slot;
  }

  view(slot: Slot): TokenView {
    const known = this.#views.get(slot.id);
    if (known) return known;
    const view = new TokenView(slot.cluster, this.options.catalogs);
    this.#views.set(slot.id, view);
    return view;
  }

  /** What the HSMs can do that this client can ask for. */
  get mechanisms(): readonly MechanismFacts[] {
    return (this.#mechanisms ??= mechanismsFor(this.options.profile, mechanismsOf(this.version)));
  }

  /** @throws P11Failure SESSION_HANDLE_INVALID */
  session(handle: number): P11Session {
    const session = this.sessions.get(handle);
    if (!session) throw fail('SESSION_HANDLE_INVALID');
    return session;
  }

  /** @throws P11Failure SESSION_COUNT */
  open(slot: Slot, isReadWrite: boolean): P11Session {
    if (this.sessions.size >= LIMITS.p11_sessions_max) throw fail('SESSION_COUNT');
    const handle = this.#nextSession;
    this.#nextSession += 1;
    const session = new P11Session({ handle, slot: slot.id, view: this.view(slot), isReadWrite });
    this.sessions.set(handle, session);
    return session;
  }

  sessionsOf(slot: number): P11Session[] {
    return [...this.sessions.values()].filter((one) => one.slot === slot);
  }

  /** The session's objects go with it, and with the last session of a token its login. */
  close(session: P11Session): void {
    session.cancel();
    this.sessions.delete(session.handle);
    const { view } = session;
    if (this.sessionsOf(session.slot).length === 0) return view.logout();
    for (const object of view.ownOf(session.handle)) {
      view.forget(object.id);
      const call = this.call();
      const { session: line } = view;
      line
        .run('key-drop', { keyId: object.id }, call, object.id)
        .catch(() => undefined)
        .finally(() => line.drops(object.id));
    }
  }

  /** Everything ends, as with C_Finalize or the end of the connection. */
  end(): void {
    for (const session of this.sessions.values()) session.cancel();
    this.sessions.clear();
    for (const view of this.#views.values()) view.close();
    this.#views.clear();
    for (const wake of this.waiting) wake();
    this.waiting.clear();
    this.isInitialized = false;
  }

  call(timeoutMs: number = LIMITS.request_timeout_ms): Call {
    return { requestId: newRequestId(), deadline: deadlineIn(timeoutMs) };
  }
}
