import { createHash } from 'node:crypto';
import type { ClusterId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import { int, object, oneOf } from '../protocol/form.js';
import { changeValue } from '../store/change.js';
import { KEYSPACE } from '../store/keyspace.js';
import type { Store } from '../store/store.js';
import { decodeValue, encodeValue } from '../store/value.js';
import type { ClusterRecord } from './cluster.js';

const VERSION = 1;
const schema = object({ v: oneOf(VERSION), next: int({ min: 1, max: 2 ** 32 }) });

const RANGE_DIGITS = 6;
const ADOPTION_DIGITS = 2;
const NUMBER_DIGITS = 8;

const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, '0');

/**
 * The first digits of a cluster's references: those of its relatives differ, since keys travel
 * between them under the references that they have. A cluster that was made anew begins with
 * zeros, one from a backup with what its id says.
 */
function rangeOf({ id, sourceBackupId }: Pick<ClusterRecord, 'id' | 'sourceBackupId'>): string {
  if (sourceBackupId === null) return hex(0, RANGE_DIGITS);
  const digest = createHash('sha256').update(id).digest();
  return hex(0x400000 | (digest.readUIntBE(0, 3) & 0x3fffff), RANGE_DIGITS);
}

/**
 * Gives out key references: 16 hex digits, never one twice. A store that is an old copy may have
 * forgotten some, so each adoption begins a range of its own.
 */
export class KeyReferences {
  readonly #store: Store;
  readonly #key: string;
  readonly #record: () => ClusterRecord;
  #next = 0;
  #end = 0;
  #adoption = -1;
  #block: Promise<void> | undefined;

  constructor(store: Store, cluster: ClusterId, record: () => ClusterRecord) {
    this.#store = store;
    this.#key = KEYSPACE.keyReferences(cluster);
    this.#record = record;
  }

  async take(count: number): Promise<readonly string[]> {
    const taken: string[] = [];
    while (taken.length < count) taken.push(await this.#one());
    return taken;
  }

  async #one(): Promise<string> {
    const { adoption } = this.#record();
    while (this.#next >= this.#end || this.#adoption !== adoption) {
      this.#block ??= this.#reserve(adoption).finally(() => (this.#block = undefined));
      await this.#block;
    }
    const number = this.#next;
    this.#next += 1;
    const prefix = rangeOf(this.#record()) + hex(adoption % 256, ADOPTION_DIGITS);
    return `0x${prefix}${hex(number, NUMBER_DIGITS)}`;
  }

  /** Many at once: those that a daemon did not give out are left out. */
  async #reserve(adoption: number): Promise<void> {
    let first = 1;
    await changeValue(this.#store, this.#key, (entry) => {
      first = entry ? decodeValue(entry.value, schema).next : 1;
      const next = first + LIMITS.key_references_block;
      return encodeValue(VERSION, { v: VERSION, next });
    });
    this.#adoption = adoption;
    this.#next = first;
    this.#end = first + LIMITS.key_references_block;
  }
}
