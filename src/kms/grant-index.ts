import { isKeyspanError } from '../core/errors.js';
import type { KmsKeyId } from '../core/ids.js';
import { KEYSPACE } from '../store/keyspace.js';
import type { Entry } from '../store/store.js';
import { filedUnder, lookedFor, type ComparableRequest } from './grant-constraints.js';
import { decodeGrant, digestOf, type GrantFact } from './grant-records.js';
import { comparablePrincipal } from './grant-terms.js';

/** Where a key is. */
interface KeyPlace {
  readonly account: string;
  readonly region: string;
  readonly id: KmsKeyId;
}

/** Reads what stands at a path at present. @throws StoreCorrupt, or why nothing can be read */
type Read = (path: string) => GrantFact | undefined;

/** Reads what stands under a prefix, in order. */
type ReadPage = (
  prefix: string,
  page: { readonly after: string | undefined; readonly limit: number },
) => GrantFact[];

/** Paths by name. Most names have one path, which then stands there by itself. */
class Files {
  readonly #files = new Map<string, string | Set<string>>();

  add(name: string, path: string): void {
    const file = this.#files.get(name);
    if (file === undefined) this.#files.set(name, path);
    else if (typeof file !== 'string') file.add(path);
    else if (file !== path) this.#files.set(name, new Set([file, path]));
  }

  remove(name: string, path: string): void {
    const file = this.#files.get(name);
    if (typeof file === 'string' || file === undefined) {
      if (file === path) this.#files.delete(name);
      return;
    }
    file.delete(path);
    if (file.size === 0) this.#files.delete(name);
  }

  of(name: string): Iterable<string> {
    const file = this.#files.get(name);
    if (file === undefined) return [];
    return typeof file === 'string' ? [file] : file;
  }

  size(name: string): number {
    const file = this.#files.get(name);
    if (file === undefined) return 0;
    return typeof file === 'string' ? 1 : file.size;
  }
}

const ENDED = 'ended';
const byGrantee = (grantee: string): string => `grantee\n${grantee}`;
const byDigest = (digest: string): string => `digest\n${digest}`;
const byUse = (grantee: string, operation: string, under: string): string =>
  `use\n${grantee}\n${operation}\n${under}`;

/**
 * The grants of one key, filed by who may do what within which constraints, so that a decision
 * among thousands looks at a few. They are filed when the key's grants are first asked for: a
 * start need not read them all.
 */
class KeyGrants {
  readonly paths = new Set<string>();
  readonly #files = new Files();
  /** the names that each path is filed under; undefined: nothing is filed yet */
  #filed: Map<string, readonly string[]> | undefined;

  put(entry: Entry): void {
    const { key: path } = entry;
    this.paths.add(path);
    if (!this.#filed) return;
    this.#takeOut(path);
    const grant = readable(() => decodeGrant(entry));
    if (grant) this.#file(grant);
  }

  remove(path: string): void {
    this.paths.delete(path);
    this.#takeOut(path);
  }

  files(read: Read): Files {
    if (!this.#filed) {
      // all are read before any is filed: what cannot be read now must not be left out for ever
      const grants = readAll(this.paths, read);
      this.#filed = new Map();
      for (const grant of grants) this.#file(grant);
    }
    return this.#files;
  }

  #file(grant: GrantFact): void {
    const names = this.#namesOf(grant);
    for (const name of names) this.#files.add(name, grant.path);
    this.#filed?.set(grant.path, names);
  }

  #namesOf(grant: GrantFact): string[] {
    const { grantee: given, endedAt } = grant;
    const names: string[] = endedAt === undefined ? [] : [ENDED];
    const digest = endedAt === undefined ? digestOf(grant) : undefined;
    if (digest !== undefined) names.push(byDigest(digest));
    if (given === undefined) return names;
    const grantee = comparablePrincipal(given);
    names.push(byGrantee(grantee));
    for (const operation of grant.operations) {
      const under = filedUnder(grant.constraints, operation);
      names.push(this.#leastUsed(under.map((one) => byUse(grantee, operation, one))));
    }
    return names;
  }

  /** Of several names that would do, the one that the fewest others have. */
  #leastUsed(names: readonly string[]): string {
    const [first = '', ...others] = names;
    const size = (name: string): number => this.#files.size(name);
    return others.reduce((least, name) => (size(name) < size(least) ? name : least), first);
  }

  #takeOut(path: string): void {
    for (const name of this.#filed?.get(path) ?? []) this.#files.remove(name, path);
    this.#filed?.delete(path);
  }
}

/** One that cannot be read allows nothing. */
function readable(read: () => GrantFact | undefined): GrantFact | undefined {
  try {
    return read();
  } catch (error) {
    if (isKeyspanError(error, 'StoreCorrupt')) return undefined;
    throw error;
  }
}

function readAll(paths: Iterable<string>, read: Read): GrantFact[] {
  return [...paths].flatMap((path) => readable(() => read(path)) ?? []);
}

const keyPrefix = (path: string): string => path.slice(0, path.lastIndexOf('/') + 1);

/** Ways to the grants of keys and of principals. It may know more than there is. */
export class GrantIndex {
  /** by what the paths of a key's grants begin with */
  readonly #keys = new Map<string, KeyGrants>();
  /** by retiring principal; undefined until somebody asks */
  #retirable: { files: Files; filed: Map<string, string> } | undefined;

  put(entry: Entry): void {
    const prefix = keyPrefix(entry.key);
    let grants = this.#keys.get(prefix);
    if (!grants) this.#keys.set(prefix, (grants = new KeyGrants()));
    grants.put(entry);
    if (!this.#retirable) return;
    this.#takeOut(entry.key);
    const grant = readable(() => decodeGrant(entry));
    if (grant) this.#fileRetirable(grant);
  }

  remove(path: string): void {
    const prefix = keyPrefix(path);
    const grants = this.#keys.get(prefix);
    grants?.remove(path);
    if (grants?.paths.size === 0) this.#keys.delete(prefix);
    this.#takeOut(path);
  }

  of({ account, region, id }: KeyPlace): KeyGrants | undefined {
    // most keys of an installation have none, and most installations
    if (this.#keys.size === 0) return undefined;
    return this.#keys.get(KEYSPACE.kmsGrants(account, region, id));
  }

  /** Where the grants stand that a principal may retire, in their order. */
  retirable(principal: string, read: Read): string[] {
    if (!this.#retirable) {
      const grants = [...this.#keys.values()].flatMap(({ paths }) => readAll(paths, read));
      this.#retirable = { files: new Files(), filed: new Map() };
      for (const grant of grants) this.#fileRetirable(grant);
    }
    return [...this.#retirable.files.of(comparablePrincipal(principal))].sort();
  }

  #fileRetirable({ retiring, path }: GrantFact): void {
    if (retiring === undefined) return;
    const principal = comparablePrincipal(retiring);
    this.#retirable?.files.add(principal, path);
    this.#retirable?.filed.set(path, principal);
  }

  #takeOut(path: string): void {
    const principal = this.#retirable?.filed.get(path);
    if (principal === undefined) return;
    this.#retirable?.files.remove(principal, path);
    this.#retirable?.filed.delete(path);
  }
}

/** What is known of grants, as reading shows it at present. */
export class GrantFacts {
  readonly #index: GrantIndex;
  readonly #read: Read;
  readonly #readPage: ReadPage;

  constructor(index: GrantIndex, read: Read, readPage: ReadPage) {
    this.#index = index;
    this.#read = read;
    this.#readPage = readPage;
  }

  /** Whether a key has any at all: asked for each request that its policy does not allow. */
  any(key: KeyPlace): boolean {
    return this.#index.of(key) !== undefined;
  }

  /** Also one that ended, while its end does not show yet. */
  at(path: string): GrantFact | undefined {
    return path.startsWith('kms/grant/') ? this.#read(path) : undefined;
  }

  /** How many a key has, without those that ended. */
  count(key: KeyPlace): number {
    const grants = this.#index.of(key);
    return grants ? grants.paths.size - grants.files(this.#read).size(ENDED) : 0;
  }

  /** Those that a request may fall under; constraints and times are still to be looked at. */
  *forUse(key: KeyPlace, grantee: string, request: ComparableRequest): Iterable<GrantFact> {
    const files = this.#index.of(key)?.files(this.#read);
    if (!files) return;
    for (const under of lookedFor(request)) {
      yield* this.#facts(files.of(byUse(grantee, request.operation, under)));
    }
  }

  /** The one that has this name with these terms. */
  ofDigest(key: KeyPlace, digest: string): GrantFact | undefined {
    const files = this.#index.of(key)?.files(this.#read);
    for (const grant of this.#facts(files?.of(byDigest(digest)) ?? [])) {
      if (grant.endedAt === undefined) return grant;
    }
    return undefined;
  }

  /** Those of a key that ended and that still stand there. */
  *ended(key: KeyPlace): Iterable<GrantFact> {
    const files = this.#index.of(key)?.files(this.#read);
    for (const grant of this.#facts(files?.of(ENDED) ?? [])) {
      if (grant.endedAt !== undefined) yield grant;
    }
  }

  /** Those of a key, in the order of their ids, which a page begins behind. */
  page(key: KeyPlace, page: Parameters<ReadPage>[1]): GrantFact[] {
    if (!this.any(key)) return [];
    return this.#readPage(KEYSPACE.kmsGrants(key.account, key.region, key.id), page);
  }

  /** In the order of their ids. */
  pathsOfGrantee(key: KeyPlace, grantee: string): string[] {
    const files = this.#index.of(key)?.files(this.#read);
    return [...(files?.of(byGrantee(comparablePrincipal(grantee))) ?? [])].sort();
  }

  /** Of keys of all accounts and regions. */
  pathsOfRetiring(principal: string): string[] {
    return this.#index.retirable(principal, this.#read);
  }

  *#facts(paths: Iterable<string>): Iterable<GrantFact> {
    for (const path of paths) {
      const grant = this.#read(path);
      if (grant) yield grant;
    }
  }
}
