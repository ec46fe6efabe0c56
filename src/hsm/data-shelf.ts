import {
  createData,
  destroyObject,
  listAllData,
  type DataByApplication,
  type ListedData,
} from '../token/objects.js';
import type { Handle, Token } from '../token/token.js';
import { packDataObject, unpackDataObject, type DataObject } from './records.js';

interface Shelved extends DataObject {
  readonly handle: Handle;
}

/** Where a shelf may be loaded from, other than the token. */
export interface ShelfSource {
  /** what is there for sure: nothing is read before the first change */
  readonly promised?: readonly DataObject[] | undefined;
  /** the token's data objects, where more than one shelf is loaded */
  readonly found?: DataByApplication | undefined;
}

/** What is kept in objects of this application. */
type Items = Map<string, DataObject>;

/**
 * Named values on the token, one data object each. A token rewrites an object's file many times
 * for one change and a crash
 * between leaves it torn, so nothing is ever modified: a change is a new object with a higher
 * revision, written before the
 * old one is destroyed. After a crash both may be there, and the newer one counts.
 */
export class DataShelf {
  readonly #token: Token;
  readonly #application: string;
  #items = new Map<string, Shelved>();
  /** what the manifest says, until a change needs the objects themselves */
  #promised: Items | undefined;

  private constructor(token: Token, application: string) {
    this.#token = token;
    this.#application = application;
  }

  /**
   * Reads what is there and destroys what is superseded. What cannot be read is left out; it is
   * destroyed only where a good object of its name stands, because a newer Keyspan may have written
   * it.
   */
  static load(token: Token, application: string, source: ShelfSource = {}): DataShelf {
    const shelf = new DataShelf(token, application);
    const { promised, found } = source;
    if (promised) shelf.#promised = new Map(promised.map((item) => [item.id, item]));
    else shelf.#read(found);
    return shelf;
  }

  #read(found: DataByApplication = listAllData(this.#token)): void {
    this.#promised = undefined;
    this.#items = new Map();
    const unreadable: ListedData[] = [];
    for (const listed of found.get(this.#application) ?? []) {
      const object = unpackDataObject(listed.value);
      if (object) this.#keepNewest({ ...object, handle: listed.handle });
      else unreadable.push(listed);
    }
    for (const { handle, label } of unreadable) {
      if (this.#items.has(label)) destroyObject(this.#token, handle);
    }
  }

  #keepNewest(item: Shelved): void {
    const other = this.#items.get(item.id);
    const older = other && other.revision < item.revision ? other : item;
    if (!other || older === other) this.#items.set(item.id, item);
    if (other) destroyObject(this.#token, older.handle);
  }

  get(id: string): Uint8Array | undefined {
    return (this.#promised ?? this.#items).get(id)?.body;
  }

  get size(): number {
    return (this.#promised ?? this.#items).size;
  }

  entries(): DataObject[] {
    return [...(this.#promised ?? this.#items).values()];
  }

  /** Durable when it returns, as far as the token is. */
  put(id: string, body: Uint8Array): void {
    if (this.#promised) this.#read();
    const old = this.#items.get(id);
    const object = { id, revision: (old?.revision ?? 0) + 1, body };
    const handle = createData(this.#token, {
      application: this.#application,
      label: id,
      value: packDataObject(object),
    });
    this.#items.set(id, { ...object, handle });
    if (old) destroyObject(this.#token, old.handle);
  }

  delete(id: string): void {
    if (this.get(id) === undefined) return;
    if (this.#promised) this.#read();
    const item = this.#items.get(id);
    if (!item) return;
    this.#items.delete(id);
    destroyObject(this.#token, item.handle);
  }
}
