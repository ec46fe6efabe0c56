import type { HsmKeyId } from '../core/ids.js';
import { eachKey, type ListedKey } from '../token/objects.js';
import type { Token } from '../token/token.js';
import type { KeyNote, Manifest } from './manifest.js';

/** Keys that the manifest vouches for and whose objects were not looked at yet. */
export class UnlistedKeys {
  /** the highest stamp among the records, also of those that were looked at since */
  readonly stamp: number;
  readonly #notes: Map<HsmKeyId, KeyNote>;
  readonly #objects: Iterator<ListedKey>;

  constructor(token: Token, manifest: Manifest) {
    this.stamp = manifest.stamp;
    this.#notes = new Map(manifest.keys);
    this.#objects = eachKey(token);
  }

  get size(): number {
    return this.#notes.size;
  }

  note(id: HsmKeyId): KeyNote | undefined {
    return this.#notes.get(id);
  }

  ids(): Iterable<HsmKeyId> {
    return this.#notes.keys();
  }

  /** The next object of the token; undefined when all were looked at. */
  next(): ListedKey | undefined {
    const { done, value } = this.#objects.next();
    return done ? undefined : value;
  }

  /** A key is in the index now. @returns whether it was expected */
  found(id: HsmKeyId): boolean {
    return this.#notes.delete(id);
  }
}
