import type { ClusterSession } from '../../cluster/cluster-session.js';
import { PublicLine, type HsmLine } from '../../cluster/public-line.js';
import type { ObjectPage, PageAsked } from '../../cluster/user-objects.js';
import type { RunningCluster } from '../../cluster/running-cluster.js';
import type { Call } from '../../core/call.js';
import type { HsmKeyId } from '../../core/ids.js';
import { hasFlag } from '../../protocol/objects.js';
import type { P11Value } from '../../protocol/p11-attributes.js';
import { attributeOf, sameValue } from './attribute-values.js';
import type { Catalog, Catalogs } from './catalog.js';
import { fail } from './failure.js';
import { HeldObject } from './held-object.js';

/** Who logged in at a token, in PKCS #11's words. */
export type P11User = 'user' | 'so';

interface Login {
  readonly user: P11User;
  readonly session: ClusterSession;
  readonly catalog: Catalog;
}

/** One token as one connection sees it: its login, its objects and their handles. */
export class TokenView {
  readonly cluster: RunningCluster;
  readonly #catalogs: Catalogs;
  readonly #public: PublicLine;
  readonly #open: Catalog;
  #login: Login | undefined;
  /** session objects, by their ids */
  readonly #own = new Map<HsmKeyId, HeldObject>();
  readonly #handles = new Map<HsmKeyId, number>();
  readonly #ids = new Map<number, HsmKeyId>();
  #nextHandle = 1;

  constructor(cluster: RunningCluster, catalogs: Catalogs) {
    this.cluster = cluster;
    this.#catalogs = catalogs;
    this.#public = new PublicLine(() => cluster.members);
    this.#open = catalogs.open(cluster.id, undefined);
  }

  get user(): P11User | undefined {
    return this.#login?.user;
  }

  /** @throws P11Failure USER_NOT_LOGGED_IN */
  get session(): ClusterSession {
    if (!this.#login) throw fail('USER_NOT_LOGGED_IN');
    return this.#login.session;
  }

  /** The login, or what anybody may ask. */
  get line(): HsmLine {
    return this.#login?.session ?? this.#public;
  }

  get #catalog(): Catalog {
    return this.#login?.catalog ?? this.#open;
  }

  loggedIn(user: P11User, session: ClusterSession): void {
    // what an admin sees is what is public
    const name = user === 'user' ? session.username : undefined;
    const catalog = this.#catalogs.open(this.cluster.id, name);
    this.#login = { user, session, catalog };
  }

  /** Private objects have no handles any more, and session objects are gone. */
  logout(): void {
    const login = this.#login;
    if (!login) return;
    this.#login = undefined;
    this.#own.clear();
    this.#handles.clear();
    this.#ids.clear();
    const { user, session } = login;
    this.#catalogs.close(this.cluster.id, user === 'user' ? session.username : undefined);
    this.cluster.logout(session);
  }

  close(): void {
    this.logout();
    this.#catalogs.close(this.cluster.id, undefined);
  }

  /** What is known is brought up to date. @returns undefined where it is */
  refresh(call: Call): Promise<void> | undefined {
    return this.#catalog.refresh((page, own) => this.objects(page, own), call);
  }

  /** Asks the HSMs for objects. */
  objects(page: PageAsked, call: Call): Promise<ObjectPage> {
    const login = this.#login;
    if (!login) return this.#public.run('object-find', page, call);
    return this.cluster.objects.objects(login.session, page, call);
  }

  /** Keys that this connection changed itself: the ledger is not waited for. */
  changed(...ids: readonly HsmKeyId[]): void {
    this.#catalog.changed(ids);
  }

  /** A session object was made, or is another now. */
  keep(object: HeldObject): void {
    this.#own.set(object.id, object);
  }

  forget(id: HsmKeyId): void {
    this.#own.delete(id);
    const handle = this.#handles.get(id);
    if (handle === undefined) return;
    this.#handles.delete(id);
    this.#ids.delete(handle);
  }

  /** The session objects of a C_ session, or of all. */
  ownOf(session?: number): HeldObject[] {
    const all = [...this.#own.values()];
    return session === undefined ? all : all.filter((one) => one.session === session);
  }

  /** Handles are this connection's own: they begin with 1, and none is given out twice. */
  handleOf(id: HsmKeyId): number {
    const known = this.#handles.get(id);
    if (known !== undefined) return known;
    const handle = this.#nextHandle;
    this.#nextHandle += 1;
    this.#handles.set(id, handle);
    this.#ids.set(handle, id);
    return handle;
  }

  /** @returns undefined when there is no such object, or none that may be seen */
  objectAt(handle: number): HeldObject | undefined {
    const id = this.#ids.get(handle);
    return id === undefined ? undefined : this.object(id);
  }

  object(id: HsmKeyId): HeldObject | undefined {
    return this.#own.get(id) ?? this.#catalog.get(id);
  }

  /**
   * The objects that have these values; `undecided` are those where only their content, which an
   * HSM has, can tell.
   */
  find(values: ReadonlyMap<number, P11Value>): { found: HeldObject[]; undecided: HeldObject[] } {
    const found: HeldObject[] = [];
    const undecided: HeldObject[] = [];
    for (const object of this.#candidates(values)) {
      const verdict = matches(object, values);
      if (verdict === 'yes') found.push(object);
      else if (verdict === 'content') undecided.push(object);
    }
    return { found, undecided };
  }

  *#candidates(values: ReadonlyMap<number, P11Value>): Generator<HeldObject> {
    yield* this.#catalog.candidates(values);
    yield* this.#own.values();
  }

  /** The objects that everybody sees stay when the user goes. */
  static isPrivate({ facts }: HeldObject): boolean {
    return hasFlag(facts.object.flags, 'private');
  }
}

function matches(
  object: HeldObject,
  values: ReadonlyMap<number, P11Value>,
): 'yes' | 'no' | 'content' {
  let verdict: 'yes' | 'content' = 'yes';
  for (const [type, wanted] of values) {
    const value = attributeOf(object, type);
    if (value === 'content') verdict = 'content';
    else if (typeof value === 'string' || !sameValue(value, wanted)) return 'no';
  }
  return verdict;
}
