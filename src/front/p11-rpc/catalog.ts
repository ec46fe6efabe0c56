import type { ObjectPage, PageAsked } from '../../cluster/user-objects.js';
import type { Call } from '../../core/call.js';
import type { HsmKeyId } from '../../core/ids.js';
import { LIMITS } from '../../core/limits.js';
import { CKA } from '../../core/pkcs11.js';
import type { KeyFacts } from '../../protocol/hsm-key-frames.js';
import { hasFlag } from '../../protocol/objects.js';
import type { P11Value } from '../../protocol/p11-attributes.js';
import { attributeOf } from './attribute-values.js';
import { HeldObject } from './held-object.js';

/** Asks HSMs for objects in somebody's name. */
export type ObjectSource = (page: PageAsked, call: Call) => Promise<ObjectPage>;

/** Attributes that applications find objects by. */
const INDEXED = [CKA.LABEL, CKA.ID] as const;
type Index = Map<string, Set<HeldObject>>;

const wordOf = (value: Uint8Array): string =>
  Buffer.from(value.buffer, value.byteOffset, value.length).toString('latin1');

/**
 * The token objects that one HSM user sees, or that anybody does, kept as they are: what changes is
 * heard of from the key ledger and asked for anew before the next look. It holds attributes, and
 * nothing that is secret; what may be done with a key, its HSM decides at each use.
 */
export class Catalog {
  readonly #objects = new Map<HsmKeyId, HeldObject>();
  readonly #indexes = new Map<number, Index>(INDEXED.map((type) => [type, new Map()]));
  /** asked for before the next look */
  #changed = new Set<HsmKeyId>();
  #isLoaded = false;
  #refreshing: Promise<void> | undefined;

  /** The ledger says other things of these keys. */
  changed(ids: Iterable<HsmKeyId>): void {
    if (!this.#isLoaded && !this.#refreshing) return;
    for (const id of ids) this.#changed.add(id);
  }

  /** Everything is asked for anew: what the user may see has changed as a whole. */
  forget(): void {
    this.#isLoaded = false;
  }

  /** Brings it up to date. @returns undefined where it is */
  refresh(source: ObjectSource, call: Call): Promise<void> | undefined {
    if (this.#isLoaded && this.#changed.size === 0) return undefined;
    this.#refreshing ??= this.#refresh(source, call).finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  get(id: HsmKeyId): HeldObject | undefined {
    return this.#objects.get(id);
  }

  get size(): number {
    return this.#objects.size;
  }

  /** The objects among which those with these values are. */
  candidates(values: ReadonlyMap<number, P11Value>): Iterable<HeldObject> {
    for (const [type, index] of this.#indexes) {
      const value = values.get(type);
      if (value instanceof Uint8Array) return index.get(wordOf(value)) ?? [];
    }
    return this.#objects.values();
  }

  async #refresh(source: ObjectSource, call: Call): Promise<void> {
    if (!this.#isLoaded) await this.#load(source, call);
    while (this.#changed.size > 0) {
      const ids = [...this.#changed];
      this.#changed = new Set();
      try {
        await this.#ask(source, ids, call);
      } catch (error) {
        for (const id of ids) this.#changed.add(id);
        throw error;
      }
    }
  }

  async #load(source: ObjectSource, call: Call): Promise<void> {
    const seen = new Set<HsmKeyId>();
    let after: string | undefined;
    for (;;) {
      const page = { limit: LIMITS.p11_object_page_max, ...(after !== undefined && { after }) };
      const { objects, more } = await source(page, call);
      for (const facts of objects) {
        this.#put(facts);
        seen.add(facts.id);
        after = facts.object.reference;
      }
      if (!more || objects.length === 0) break;
    }
    for (const id of this.#objects.keys()) if (!seen.has(id)) this.#drop(id);
    this.#isLoaded = true;
  }

  async #ask(source: ObjectSource, ids: readonly HsmKeyId[], call: Call): Promise<void> {
    const limit = LIMITS.p11_object_page_max;
    for (let at = 0; at < ids.length; at += limit) {
      const part = ids.slice(at, at + limit);
      const { objects } = await source({ ids: part, limit }, call);
      const found = new Set(objects.map(({ id }) => id));
      for (const facts of objects) this.#put(facts);
      for (const id of part) if (!found.has(id)) this.#drop(id);
    }
  }

  /** Session objects are their connection's own. */
  #put(facts: KeyFacts): void {
    if (!hasFlag(facts.object.flags, 'token')) return;
    const known = this.#objects.get(facts.id);
    if (known?.facts.revision === facts.revision) return;
    if (known) this.#drop(facts.id);
    const object = new HeldObject(facts);
    this.#objects.set(facts.id, object);
    for (const [type, index] of this.#indexes) {
      const value = attributeOf(object, type);
      if (!(value instanceof Uint8Array)) continue;
      const word = wordOf(value);
      const same = index.get(word);
      if (same) same.add(object);
      else index.set(word, new Set([object]));
    }
  }

  #drop(id: HsmKeyId): void {
    const object = this.#objects.get(id);
    if (!object) return;
    this.#objects.delete(id);
    for (const [type, index] of this.#indexes) {
      const value = attributeOf(object, type);
      if (!(value instanceof Uint8Array)) continue;
      const word = wordOf(value);
      index.get(word)?.delete(object);
      if (index.get(word)?.size === 0) index.delete(word);
    }
  }
}

interface Shared {
  readonly catalog: Catalog;
  users: number;
  idle: NodeJS.Timeout | undefined;
}

/** Catalogs that connections of one user share: a second one begins with what the first knows. */
export class Catalogs {
  readonly #shared = new Map<string, Shared>();

  /** A key of a cluster changed. */
  changed(cluster: string, id: HsmKeyId): void {
    for (const [name, { catalog }] of this.#shared) {
      if (name.startsWith(`${cluster}/`)) catalog.changed([id]);
    }
  }

  /** @param user undefined: what anybody sees */
  open(cluster: string, user: string | undefined): Catalog {
    const name = `${cluster}/${user ?? ''}`;
    const known = this.#shared.get(name);
    if (known) {
      clearTimeout(known.idle);
      known.users += 1;
      return known.catalog;
    }
    const catalog = new Catalog();
    this.#shared.set(name, { catalog, users: 1, idle: undefined });
    return catalog;
  }

  close(cluster: string, user: string | undefined): void {
    const name = `${cluster}/${user ?? ''}`;
    const shared = this.#shared.get(name);
    if (!shared) return;
    shared.users -= 1;
    if (shared.users > 0) return;
    clearTimeout(shared.idle);
    shared.idle = setTimeout(() => this.#shared.delete(name), LIMITS.p11_catalog_idle_ms).unref();
  }
}
