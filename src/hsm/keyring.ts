import { equalConstantTime } from '../core/bytes.js';
import { KeyspanError, isKeyspanError } from '../core/errors.js';
import type { HsmKeyId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import {
  copyToSession,
  destroyObject,
  eachKey,
  type DataByApplication,
  type ListedKey,
} from '../token/objects.js';
import type { Handle, Token } from '../token/token.js';
import { workingCopy } from '../token/wrapping.js';
import { DataShelf } from './data-shelf.js';
import { noteOf, type KeyNote, type KeyNotes, type Manifest } from './manifest.js';
import { kindOf, proveCopy } from './proofs.js';
import { decodeKeyRecord, encodeKeyRecord, type KeyRecord } from './records.js';
import { UnlistedKeys } from './unlisted-keys.js';

/** A key on this token. */
export interface KeyEntry {
  /** the newest one that is here: each decision reads it anew, so that a change binds at once */
  record: KeyRecord;
  /** the token object */
  readonly handle: Handle;
  /** a copy counts only after its proof; a failed one is kept as evidence and never served */
  proof: 'due' | 'good' | 'failed';
  /** the session-object copy that serves; at most LIMITS.hsm_hot_keys_max entries have one */
  hot: Handle | undefined;
  /** where it stands among those that have one */
  place: number;
  /** since it was last looked at for a copy to give up */
  isUsed: boolean;
}

const cold = { hot: undefined, place: -1, isUsed: false } as const;

export interface KeyringOptions {
  /** what is on the token for sure: its objects are looked at later */
  readonly manifest?: Manifest | undefined;
  /** the token's data objects, where they are known */
  readonly found?: DataByApplication | undefined;
  /** from 0 to below 1, as Math.random */
  readonly random?: () => number;
}

/** CKA_APPLICATION of the data objects that hold changed records of keys. */
const CHANGED_RECORDS = 'keyspan-record';

/**
 * Where every place is taken, one miss of so many takes the place of a copy that was not used
 * lately; the others are served by the token object. That costs half of copying one and destroying
 * another, which gains nothing for keys that are drawn at random, while a set of keys that is
 * worked with anew is in its places after a few dozen uses of each (bimodal insertion; Qureshi et
 * al., 2007).
 */
const MISSES_PER_COPY = 32;

/**
 * The index of the token's keys, built once at start: finding by attribute costs the token time
 * for each of its objects.
 * Work is done with copies that are session objects, because the token checks the file of a
 * token object at each use.
 */
export class Keyring {
  readonly #token: Token;
  /** changed records by key id: a key's first one rides on its object, which is never modified */
  readonly #records: DataShelf;
  readonly #entries = new Map<HsmKeyId, KeyEntry>();
  /** those with a copy, each at its `place` */
  readonly #hot: KeyEntry[] = [];
  #hand = -1;
  readonly #unproven: HsmKeyId[] = [];
  readonly #random: () => number;
  #sorted: HsmKeyId[] | undefined;
  /** undefined once every object was looked at */
  #unlisted: UnlistedKeys | undefined;
  #unreadable = 0;
  /** the trusted key under which copies are made; undefined while nobody searched for it */
  #maskWrap: Handle | undefined;

  private constructor(token: Token, options: KeyringOptions) {
    const { manifest, found, random = Math.random } = options;
    this.#token = token;
    this.#random = random;
    const promised = manifest && (manifest.shelves[CHANGED_RECORDS] ?? []);
    this.#records = DataShelf.load(token, CHANGED_RECORDS, { promised, found });
    if (manifest) this.#unlisted = new UnlistedKeys(token, manifest);
    else for (const listed of eachKey(token)) this.#list(listed);
  }

  static load(token: Token, options: KeyringOptions = {}): Keyring {
    return new Keyring(token, options);
  }

  /** objects whose record cannot be read: kept, counted, never served */
  get unreadable(): number {
    return this.#unreadable;
  }

  #list({ handle, recordBytes }: ListedKey): KeyRecord | undefined {
    const record = readRecord(recordBytes);
    const twin = record && this.#entries.get(record.id);
    if (!record) this.#unreadable += 1;
    else if (!twin) this.add(record, handle, 'due');
    // one that was made after the start may be found again
    else if (!twin.handle.equals(handle))
      this.#keepBetter(twin, { record, handle, proof: 'due', ...cold });
    return record;
  }

  /** Looks at up to `count` objects that stand on the token; false when none is left. */
  listSome(count: number): boolean {
    for (let done = 0; done < count; done += 1) if (!this.#listNext()) return false;
    return this.#unlisted !== undefined;
  }

  #listNext(): KeyRecord | 'unreadable' | undefined {
    const listed = this.#unlisted?.next();
    if (listed) return this.#list(listed) ?? 'unreadable';
    if (this.#unlisted && this.#unlisted.size > 0) this.#sorted = undefined;
    this.#unlisted = undefined;
    return undefined;
  }

  /** Looks at objects until the key is found that the manifest vouches for. */
  #listUntil(id: HsmKeyId): KeyEntry | undefined {
    while (!this.#entries.has(id) && this.#listNext());
    return this.#entries.get(id);
  }

  /**
   * A process that was killed may leave two copies of a key. One is destroyed only for the evidence
   * of another that proved itself to be the same key; what proves nothing stays, and is not served.
   */
  #keepBetter(known: KeyEntry, twin: KeyEntry): void {
    const same = equalConstantTime(known.record.proof, twin.record.proof);
    if (!same || !(this.prove(known) || this.prove(twin))) return;
    if (known.proof === 'good') return destroyObject(this.#token, twin.handle);
    this.add(twin.record, twin.handle, twin.proof);
    destroyObject(this.#token, known.handle);
  }

  get size(): number {
    return this.#entries.size + (this.#unlisted?.size ?? 0);
  }

  get hotSize(): number {
    return this.#hot.length;
  }

  get(id: HsmKeyId): KeyEntry | undefined {
    return this.#entries.get(id) ?? (this.#unlisted?.note(id) && this.#listUntil(id));
  }

  /** What the manifest says of a key, while its object was not looked at. */
  noted(id: HsmKeyId): KeyNote | undefined {
    return this.#unlisted?.note(id);
  }

  /**
   * All keys with what they must prove; undefined while one is there that cannot be vouched for, or
   * not all were looked at.
   */
  notes(): KeyNotes | undefined {
    if (this.#unlisted) return undefined;
    // in their order, so that the next start has none to make
    const entries = [...this.#entries].sort(([a], [b]) => (a < b ? -1 : 1));
    if (this.#unreadable > 0 || entries.some(([, { proof }]) => proof === 'failed'))
      return undefined;
    return {
      keys: new Map(entries.map(([id, { record }]) => [id, noteOf(record)])),
      stamp: this.newestStamp(),
      shelves: { [CHANGED_RECORDS]: this.#records.entries() },
    };
  }

  add(record: KeyRecord, handle: Handle, proof: KeyEntry['proof']): KeyEntry {
    const entry: KeyEntry = { record: this.#newest(record), handle, proof, ...cold };
    this.#entries.set(record.id, entry);
    if (!this.#unlisted?.found(record.id)) this.#sorted = undefined;
    if (proof === 'due') this.#unproven.push(record.id);
    return entry;
  }

  /** The changed record of this very key, if that is newer. */
  #newest(first: KeyRecord): KeyRecord {
    const body = this.#records.get(first.id);
    const changed = body && readRecord(body);
    if (!changed || changed.revision <= first.revision) return first;
    const same = changed.id === first.id && equalConstantTime(changed.proof, first.proof);
    return same ? changed : first;
  }

  /** Durable, as far as the token is, before it binds. */
  amend(entry: KeyEntry, record: KeyRecord): void {
    this.#records.put(record.id, encodeKeyRecord(record));
    entry.record = record;
  }

  /**
   * Destroys the key on the token, and then its changed record: without that the key would have
   * its first one again. Asked again after a crash it finds what the first time left.
   */
  delete(id: HsmKeyId): void {
    const entry = this.get(id);
    if (entry) {
      this.#cool(entry);
      this.#entries.delete(id);
      this.#sorted = undefined;
      destroyObject(this.#token, entry.handle);
    }
    this.#records.delete(id);
  }

  /** The highest stamp among the records of keys that are here. */
  newestStamp(): number {
    let newest = this.#unlisted?.stamp ?? 0;
    for (const { record } of this.#entries.values()) newest = Math.max(newest, record.stamp ?? 0);
    return newest;
  }

  /** The records of all keys, in no order; what was not looked at yet is. */
  records(visit: (record: KeyRecord) => void): void {
    while (this.#listNext());
    // a generator would cost a search among thousands half as much again
    for (const entry of this.#entries.values()) visit(entry.record);
  }

  /** Ids in their order, from the first after `after`. */
  page(after: string, limit: number): { ids: HsmKeyId[]; more: boolean } {
    this.#sorted ??= [...this.#entries.keys(), ...(this.#unlisted?.ids() ?? [])].sort();
    const start = firstAfter(this.#sorted, after);
    const ids = this.#sorted.slice(start, start + limit);
    return { ids, more: start + limit < this.#sorted.length };
  }

  /** Proves a copy if that is still due. */
  prove(entry: KeyEntry): boolean {
    if (entry.proof === 'due') entry.proof = this.#proves(entry) ? 'good' : 'failed';
    return entry.proof === 'good';
  }

  /** A kill while the token wrote leaves objects that load and fail: those prove nothing. */
  #proves({ handle, record }: KeyEntry): boolean {
    try {
      return equalConstantTime(proveCopy(this.#token, handle, record), record.proof);
    } catch (error) {
      if (isKeyspanError(error, 'HsmBusy')) throw error;
      return false;
    }
  }

  /** Proves up to `count` copies whose proof is due; false when none is left. */
  proveSome(count: number): boolean {
    for (let done = 0; done < count; done += 1) {
      const id = this.#unproven.pop();
      if (id === undefined) return false;
      const entry = this.#entries.get(id);
      if (entry) this.prove(entry);
    }
    return this.#unproven.length > 0;
  }

  /** The handle to work with. @throws KeyspanError HsmKeyUnproven */
  working(entry: KeyEntry): Handle {
    if (entry.proof !== 'good' && !this.prove(entry)) throw new KeyspanError('HsmKeyUnproven');
    entry.isUsed = true;
    return entry.hot ?? this.#warm(entry);
  }

  #warm(entry: KeyEntry): Handle {
    if (this.#hot.length >= LIMITS.hsm_hot_keys_max) {
      if (this.#random() * MISSES_PER_COPY >= 1) return entry.handle;
      this.#cool(this.#leastUsed());
    }
    entry.hot = this.#copy(entry);
    entry.place = this.#hot.length;
    this.#hot.push(entry);
    return entry.hot;
  }

  #copy({ handle, record }: KeyEntry): Handle {
    const kind = kindOf(record);
    if (!this.#maskWrap || !kind) return copyToSession(this.#token, handle);
    return workingCopy(this.#token, this.#maskWrap, handle, kind);
  }

  /** From now on copies are made under this key, which makes them faster; each is made anew. */
  quicken(maskWrap: Handle): void {
    for (let last = this.#hot.at(-1); last; last = this.#hot.at(-1)) this.#cool(last);
    this.#maskWrap = maskWrap;
  }

  /**
   * One that was not used since this came by it last (second chance). To keep them in the order of
   * their use would cost each use more than all else that is done for it here.
   */
  #leastUsed(): KeyEntry {
    for (;;) {
      this.#hand = (this.#hand + 1) % this.#hot.length;
      const entry = this.#hot[this.#hand] as KeyEntry;
      if (!entry.isUsed) return entry;
      entry.isUsed = false;
    }
  }

  #cool(entry: KeyEntry): void {
    if (entry.hot === undefined) return;
    destroyObject(this.#token, entry.hot);
    entry.hot = undefined;
    // the last one takes the place that is free
    const last = this.#hot.pop() as KeyEntry;
    if (last === entry) return;
    last.place = entry.place;
    this.#hot[entry.place] = last;
  }
}

function readRecord(bytes: Uint8Array): KeyRecord | undefined {
  try {
    return decodeKeyRecord(bytes);
  } catch {
    return undefined;
  }
}

/** The index of the first id that sorts after `after` (binary search). */
function firstAfter(sorted: readonly string[], after: string): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sorted[middle] as string) <= after) low = middle + 1;
    else high = middle;
  }
  return low;
}
