import { assert } from '../core/assert.js';
import type { Clock } from '../core/clock.js';
import type { CommitPart } from '../core/commit.js';
import { within, type Deadline } from '../core/deadline.js';
import { isKeyspanError } from '../core/errors.js';
import type { KmsKeyId, MaterialId } from '../core/ids.js';
import { KEYSPACE } from '../store/keyspace.js';
import { Snapshot } from '../store/snapshot.js';
import type { Entry, Store } from '../store/store.js';
import type { ConsistencyDelay } from './consistency.js';
import { GrantFacts, GrantIndex } from './grant-index.js';
import {
  decodeFact,
  type AliasFact,
  type Fact,
  type KeyFact,
  type MaterialFact,
} from './records.js';

/** A part of a list, in the order of names. */
export interface PageRequest {
  /** the name that the page begins behind */
  readonly after: string | undefined;
  readonly limit: number;
}

/** What was found at a revision of the snapshot: it holds while nothing changes. */
interface Found<T> {
  revision: number;
  fact: T | undefined;
}

interface KeyPlace {
  readonly account: string;
  readonly region: string;
  readonly path: string;
  readonly key: Found<KeyFact>;
  readonly material: Found<MaterialFact>;
}

const notFound = <T>(): Found<T> => ({ revision: -1, fact: undefined });

/** What the index knows of a key or an alias: from its path alone where that says enough. */
type Indexed =
  | { readonly kind: 'key'; readonly place: string }
  | { readonly kind: 'alias'; readonly targetPath: string };

const GRANTS = 'kms/grant/';

/** Ways to facts that the store's order does not offer. It may know more than there is. */
class FactIndex {
  readonly #places = new Map<KmsKeyId, KeyPlace>();
  readonly #keysByPlace = new Map<string, Set<string>>();
  readonly #aliasesByKey = new Map<string, Set<string>>();
  readonly #facts = new Map<string, Indexed>();
  readonly grants = new GrantIndex();

  put(entry: Entry): void {
    const { key: path } = entry;
    const [, kind, account = '', region = '', id = ''] = path.split('/');
    // most facts are materials, and none of them is indexed
    if (kind === 'material') return;
    if (kind === 'grant') return this.grants.put(entry);
    this.remove(path);
    if (kind === 'key') {
      const place = `${account}/${region}`;
      this.#facts.set(path, { kind, place });
      const found = { key: notFound<KeyFact>(), material: notFound<MaterialFact>() };
      this.#places.set(id as KmsKeyId, { account, region, path, ...found });
      addTo(this.#keysByPlace, place, path);
    } else if (kind === 'alias') {
      this.#putAlias(entry);
    }
  }

  /** Where an alias leads only its value says. One that cannot be read leads nowhere. */
  #putAlias(entry: Entry): void {
    try {
      const fact = decodeFact(entry);
      if (fact.kind !== 'alias') return;
      this.#facts.set(entry.key, { kind: 'alias', targetPath: fact.targetPath });
      addTo(this.#aliasesByKey, fact.targetPath, entry.key);
    } catch (error) {
      if (!isKeyspanError(error)) throw error;
    }
  }

  remove(path: string): void {
    if (path.startsWith(GRANTS)) return this.grants.remove(path);
    const fact = this.#facts.get(path);
    if (!fact) return;
    this.#facts.delete(path);
    if (fact.kind === 'key') this.#keysByPlace.get(fact.place)?.delete(path);
    else removeFrom(this.#aliasesByKey, fact.targetPath, path);
  }

  /** Where a key of this id stands or stood: an id belongs to one account for ever. */
  place(id: KmsKeyId): KeyPlace | undefined {
    return this.#places.get(id);
  }

  keyCount(account: string, region: string): number {
    return this.#keysByPlace.get(`${account}/${region}`)?.size ?? 0;
  }

  aliasPaths(key: KeyFact): string[] {
    return [...(this.#aliasesByKey.get(key.path) ?? [])].sort();
  }
}

function addTo(sets: Map<string, Set<string>>, name: string, member: string): void {
  const set = sets.get(name);
  if (set) set.add(member);
  else sets.set(name, new Set([member]));
}

function removeFrom(sets: Map<string, Set<string>>, name: string, member: string): void {
  const set = sets.get(name);
  set?.delete(member);
  if (set?.size === 0) sets.delete(name);
}

/** What KMS knows. Reading is synchronous, from a copy that a watch feeds; writing is a commit. */
export class Facts implements AsyncDisposable {
  readonly #store: Store;
  readonly #snapshot: Snapshot<Fact>;
  readonly #index: FactIndex;
  readonly #clock: Clock;
  readonly #delay: ConsistencyDelay<Entry> | undefined;
  readonly grants: GrantFacts;

  private constructor(
    store: Store,
    clock: Clock,
    snapshot: Snapshot<Fact>,
    index: FactIndex,
    delay: ConsistencyDelay<Entry> | undefined,
  ) {
    this.#store = store;
    this.#clock = clock;
    this.#delay = delay;
    this.#snapshot = snapshot;
    this.#index = index;
    this.grants = new GrantFacts(
      index.grants,
      (path) => this.#fact(path, 'grant'),
      (prefix, page) =>
        this.#page(prefix, page).flatMap((fact) => (fact.kind === 'grant' ? [fact] : [])),
    );
  }

  /**
   * @param delay where changed policies and aliases shall decide only after a while
   * @throws StoreClosed, StoreFailed
   */
  static async open(store: Store, clock: Clock, delay?: ConsistencyDelay<Entry>): Promise<Facts> {
    const index = new FactIndex();
    const opened: { snapshot?: Snapshot<Fact> } = {};
    opened.snapshot = await Snapshot.open(store, KEYSPACE.kms, decodeFact, {
      onEntry: (entry) => {
        index.put(entry);
        if (delay) note(delay, entry, { isFirst: !opened.snapshot });
      },
      onChange: (paths) => {
        for (const path of paths) {
          if (!opened.snapshot || !isGone(opened.snapshot, path)) continue;
          index.remove(path);
          if (delay?.current(path)) delay.change(path, undefined);
        }
      },
    });
    return new Facts(store, clock, opened.snapshot, index, delay);
  }

  /** A key that exists at this moment of civil time. */
  key(account: string, region: string, id: KmsKeyId): KeyFact | undefined {
    return this.#present(this.standing(account, region, id));
  }

  /** As `key`, also of one whose day came and that is not removed yet. */
  standing(account: string, region: string, id: KmsKeyId): KeyFact | undefined {
    const place = this.#index.place(id);
    const isHere = place?.account === account && place.region === region;
    const fact = isHere
      ? this.#remembered(place.key, place.path, 'key')
      : this.#fact(KEYSPACE.kmsKey(account, region, id), 'key');
    return fact && this.#delay ? withPolicyInForce(fact, this.#delay) : fact;
  }

  alias(account: string, region: string, name: string): AliasFact | undefined {
    return this.#fact(KEYSPACE.kmsAlias(account, region, name), 'alias');
  }

  /** The alias that decides which key a request names: as `alias`, or a while the former one. */
  aliasInForce(account: string, region: string, name: string): AliasFact | undefined {
    const path = KEYSPACE.kmsAlias(account, region, name);
    if (!this.#delay?.waits(path)) return this.#fact(path, 'alias');
    const entry = this.#delay.inForce(path);
    const fact = entry && decodeFact(entry);
    return fact?.kind === 'alias' ? fact : undefined;
  }

  targetOf(alias: AliasFact): KeyFact | undefined {
    const fact = this.#present(this.#fact(alias.targetPath, 'key'));
    return fact && this.#delay ? withPolicyInForce(fact, this.#delay) : fact;
  }

  /** Each request asks: of a key whose deletion is not pending it costs one comparison. */
  #present(key: KeyFact | undefined): KeyFact | undefined {
    if (key === undefined || key.goneAtMs === Infinity) return key;
    return this.#clock.civil() < key.goneAtMs ? key : undefined;
  }

  material(key: KeyFact, id: MaterialId): MaterialFact | undefined {
    const place = id === key.currentMaterial ? this.#index.place(key.id) : undefined;
    if (place?.path === key.path) {
      return this.#remembered(place.material, key.materialPath, 'material');
    }
    return this.#fact(KEYSPACE.kmsMaterial(key.account, key.region, key.id, id), 'material');
  }

  /** All materials of a key, the oldest first. */
  materials(key: KeyFact): MaterialFact[] {
    const prefix = KEYSPACE.kmsMaterials(key.account, key.region, key.id);
    return this.#snapshot
      .entries(prefix)
      .flatMap(({ value }) => (value.kind === 'material' ? [value] : []))
      .sort((a, b) => a.createdAt - b.createdAt || (a.id < b.id ? -1 : 1));
  }

  keys(account: string, region: string, page: PageRequest): KeyFact[] {
    const keys: KeyFact[] = [];
    // those whose day came may still stand there: a page is filled up with what comes behind it
    for (let { after } = page; keys.length < page.limit;) {
      const limit = page.limit - keys.length;
      const found = this.#page(KEYSPACE.kmsKeys(account, region), { after, limit });
      for (const fact of found) {
        if (fact.kind !== 'key') continue;
        after = fact.id;
        if (this.#present(fact)) keys.push(fact);
      }
      if (found.length < limit) break;
    }
    return keys;
  }

  aliases(account: string, region: string, page: PageRequest): AliasFact[] {
    return this.#page(KEYSPACE.kmsAliases(account, region), page).flatMap((fact) =>
      fact.kind === 'alias' ? [fact] : [],
    );
  }

  /** The aliases that name a key, in the order of their names. */
  aliasesOf(key: KeyFact): AliasFact[] {
    return this.#index.aliasPaths(key).flatMap((path) => {
      const fact = this.#snapshot.get(path)?.value;
      return fact?.kind === 'alias' && fact.targetPath === key.path ? [fact] : [];
    });
  }

  /** The account whose key has this id, for ciphertexts: they name no account. */
  accountOfKey(id: KmsKeyId): string | undefined {
    return this.#index.place(id)?.account;
  }

  /** Whether a key of this id stands, or stood, in another account or region. */
  isElsewhere({ account, region, id }: Pick<KeyFact, 'account' | 'region' | 'id'>): boolean {
    const place = this.#index.place(id);
    return place !== undefined && (place.account !== account || place.region !== region);
  }

  keyCount(account: string, region: string): number {
    return this.#index.keyCount(account, region);
  }

  /** @returns the revision, which `shown` waits for. @throws as Store.commit */
  async commit(part: CommitPart): Promise<number> {
    return this.#store.commit(part);
  }

  /** Waits until reading shows a commit: the next request is bound by it. */
  async shown(revision: number, deadline: Deadline): Promise<void> {
    await within(this.#snapshot.reached(revision), deadline, 'waiting until the change shows');
  }

  /** Waits until reading shows all that is in the store at this moment. */
  async catchUp(deadline: Deadline): Promise<void> {
    const { revision } = await this.#store.range(KEYSPACE.kms, { limit: 1 });
    await this.shown(revision, deadline);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#snapshot[Symbol.asyncDispose]();
  }

  /**
   * As `#fact`, looked up once for each revision: a lookup among tens of thousands of paths costs
   * more than most of what else is done for a request.
   */
  #remembered<K extends Fact['kind']>(
    found: Found<Extract<Fact, { kind: K }>>,
    path: string,
    kind: K,
  ): Extract<Fact, { kind: K }> | undefined {
    const revision = this.#snapshot.readRevision();
    if (found.revision !== revision) {
      found.fact = this.#fact(path, kind);
      found.revision = revision;
    }
    return found.fact;
  }

  #fact<K extends Fact['kind']>(path: string, kind: K): Extract<Fact, { kind: K }> | undefined {
    const fact = this.#snapshot.get(path)?.value;
    if (!fact) return undefined;
    assert(fact.kind === kind, `a ${kind} stands where its path says`);
    return fact as Extract<Fact, { kind: K }>;
  }

  #page(prefix: string, { after, limit }: PageRequest): Fact[] {
    const options = after === undefined ? { limit } : { limit, after: prefix + after };
    return this.#snapshot.entries(prefix, options).map(({ value }) => value);
  }
}

const AWS_ALIAS = /^kms\/alias\/[^/]+\/[^/]+\/alias\/aws\//;

/** Policies and aliases alone wait: their entries are kept as they came. */
function note(
  delay: ConsistencyDelay<Entry>,
  entry: Entry,
  { isFirst }: { readonly isFirst: boolean },
): void {
  if (!/^kms\/(key|alias)\//.test(entry.key)) return;
  // nobody made an alias of AWS's: it is there as soon as somebody asks for it
  if (isFirst || AWS_ALIAS.test(entry.key)) delay.begin(entry.key, entry);
  else if (delay.current(entry.key)?.modRevision !== entry.modRevision) {
    delay.change(entry.key, entry);
  }
}

/** The key as it is, with the policy that decides at this moment. A new key's decides at once. */
function withPolicyInForce(key: KeyFact, delay: ConsistencyDelay<Entry>): KeyFact {
  const entry = delay.waits(key.path) ? delay.inForce(key.path) : undefined;
  if (!entry) return key;
  const former = decodeFact(entry);
  if (former.kind !== 'key' || former.policy === key.policy) return key;
  return { ...key, document: former.document };
}

/** An entry that cannot be read is there. */
function isGone(snapshot: Snapshot<Fact>, path: string): boolean {
  try {
    return snapshot.get(path) === undefined;
  } catch (error) {
    if (isKeyspanError(error)) return false;
    throw error;
  }
}
