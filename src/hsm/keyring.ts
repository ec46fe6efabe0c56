import { equalConstantTime } from '../core/bytes.js';
import { KeyspanError, isKeyspanError } from '../core/errors.js';
import type { HsmKeyId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import { proveKey } from '../token/mac.js';
import {
  copyToSession,
  destroyObject,
  listKeys,
  type DataByApplication,
} from '../token/objects.js';
import type { Handle, Token } from '../token/token.js';
import { DataShelf } from './data-shelf.js';
import { decodeKeyRecord, encodeKeyRecord, type KeyRecord } from './records.js';

/** A key on this token. */
export interface KeyEntry {
  /** the newest one that is here: each decision reads it anew, so that a change binds at once */
  record: KeyRecord;
  /** the token object */
  readonly handle: Handle;
  /** a copy counts only after its proof; a failed one is kept as evidence and never served */
  proof: 'due' | 'good' | 'failed';
  /** the session-object copy that serves; at most LIMITS.hsm_hot_keys_max entries have one */
  hot?: Handle;
}

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
  /** least recently used first */
  readonly #hot = new Map<HsmKeyId, KeyEntry>();
  readonly #unproven: HsmKeyId[] = [];
  #sorted: HsmKeyId[] | undefined;
  /** objects whose record cannot be read: kept, counted, never served */
  readonly unreadable: number;

  private constructor(token: Token, found?: DataByApplication) {
    this.#token = token;
    this.#records = DataShelf.load(token, 'keyspan-record', found);
    let unreadable = 0;
    for (const { handle, recordBytes } of listKeys(token)) {
      const record = readRecord(recordBytes);
      const twin = record && this.#entries.get(record.id);
      if (!record) unreadable += 1;
      else if (!twin) this.add(record, handle, 'due');
      else this.#keepBetter(twin, { record, handle, proof: 'due' });
    }
    this.unreadable = unreadable;
  }

  /** @param found the token's data objects, where they are known */
  static load(token: Token, found?: DataByApplication): Keyring {
    return new Keyring(token, found);
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
    return this.#entries.size;
  }

  get hotSize(): number {
    return this.#hot.size;
  }

  get(id: HsmKeyId): KeyEntry | undefined {
    return this.#entries.get(id);
  }

  add(record: KeyRecord, handle: Handle, proof: KeyEntry['proof']): KeyEntry {
    const entry: KeyEntry = { record: this.#newest(record), handle, proof };
    this.#entries.set(record.id, entry);
    this.#sorted = undefined;
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
    const entry = this.#entries.get(id);
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
    let newest = 0;
    for (const { record } of this.#entries.values()) newest = Math.max(newest, record.stamp ?? 0);
    return newest;
  }

  /** Ids in their order, from the first after `after`. */
  page(after: string, limit: number): { ids: HsmKeyId[]; more: boolean } {
    this.#sorted ??= [...this.#entries.keys()].sort();
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
      return equalConstantTime(proveKey(this.#token, handle, record.id), record.proof);
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
    if (entry.hot === undefined) return this.#warm(entry);
    if (this.#hot.size === LIMITS.hsm_hot_keys_max) {
      this.#hot.delete(entry.record.id);
      this.#hot.set(entry.record.id, entry);
    }
    return entry.hot;
  }

  #warm(entry: KeyEntry): Handle {
    if (this.#hot.size >= LIMITS.hsm_hot_keys_max) {
      const [oldest] = this.#hot.values();
      if (oldest) this.#cool(oldest);
    }
    entry.hot = copyToSession(this.#token, entry.handle);
    this.#hot.set(entry.record.id, entry);
    return entry.hot;
  }

  #cool(entry: KeyEntry): void {
    if (entry.hot === undefined) return;
    destroyObject(this.#token, entry.hot);
    delete entry.hot;
    this.#hot.delete(entry.record.id);
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
