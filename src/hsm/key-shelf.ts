import type { HsmKeyId } from '../core/ids.js';
import { decodeCbor, encodeCbor } from '../protocol/frame-codec.js';
import { isKeyClass } from '../protocol/objects.js';
import type { DataShelf } from './data-shelf.js';
import { decodeKeyRecord, encodeKeyRecord, type DataObject, type KeyRecord } from './records.js';

/** A key with what stands for it: sealed, or empty where there is no secret. */
export interface ShelvedKey {
  readonly record: KeyRecord;
  /** IV, ciphertext and tag under mask-seal; empty for a public key, and for data without bytes */
  readonly blob: Uint8Array;
}

/**
 * Whether a key is kept as a data object: what the token cannot wrap (the cluster's own key,
 * Ed25519 keys, secrets of any length), public keys, which its record holds as a whole, and what is
 * no key.
 */
export function isShelved({ kind, object }: Pick<KeyRecord, 'kind' | 'object'>): boolean {
  if (kind === 'cluster-key') return true;
  if (!object) return false;
  const { class: keyClass, type, curve } = object;
  const isOpen = keyClass === 'public-key' || !isKeyClass(keyClass);
  return isOpen || type === 'generic-secret' || curve === 'ed25519';
}

const isKey = ({ record: { object } }: ShelvedKey): boolean => !object || isKeyClass(object.class);

/** The keys of an HSM that are data objects of its token, and what stands beside keys. */
export class KeyShelf {
  readonly #shelf: DataShelf;
  readonly #read = new Map<HsmKeyId, ShelvedKey>();
  /** undefined since something was put or taken away */
  #keyCount: number | undefined;

  constructor(shelf: DataShelf) {
    this.#shelf = shelf;
  }

  /** how many are keys, and no certificates or data */
  get keyCount(): number {
    this.#keyCount ??= [...this.keys()].filter(isKey).length;
    return this.#keyCount;
  }

  get(id: HsmKeyId): ShelvedKey | undefined {
    const known = this.#read.get(id);
    if (known) return known;
    const body = this.#shelf.get(id);
    if (!body) return undefined;
    const [record, blob] = decodeCbor(body, 'HsmBadRecord') as [Uint8Array, Uint8Array];
    const key = { record: decodeKeyRecord(record), blob };
    this.#read.set(id, key);
    return key;
  }

  /** All of them, in no order. */
  keys(): Iterable<ShelvedKey> {
    if (this.#read.size < this.#shelf.size) {
      for (const { id } of this.#shelf.entries()) this.get(id as HsmKeyId);
    }
    return this.#read.values();
  }

  put(record: KeyRecord, blob: Uint8Array): void {
    this.#shelf.put(record.id, encodeCbor([encodeKeyRecord(record), blob]));
    this.#read.delete(record.id);
    this.#keyCount = undefined;
  }

  /** A newer record of a key that is here. */
  amend(record: KeyRecord): void {
    const key = this.get(record.id);
    if (key) this.put(record, key.blob);
  }

  delete(id: HsmKeyId): void {
    this.#shelf.delete(id);
    this.#read.delete(id);
    this.#keyCount = undefined;
  }

  /** As they stand on the token, for a manifest. */
  entries(): DataObject[] {
    return this.#shelf.entries();
  }
}
