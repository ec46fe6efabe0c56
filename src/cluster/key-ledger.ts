import type { CommitPart, Put } from '../core/commit.js';
import { KeyspanError, isKeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { isHsmKeyId, type ClusterId, type HsmKeyId } from '../core/ids.js';
import { bytes, int, named, nullable, object, oneOf, type FormOf } from '../protocol/form.js';
import { KEYSPACE } from '../store/keyspace.js';
import { Snapshot } from '../store/snapshot.js';
import type { Entry, Store } from '../store/store.js';
import { decodeValue, encodeValue } from '../store/value.js';

/**
 * The life of a key (ARCHITECTURE §3): intent → live → tombstone, or intent → abandoned. Each
 * step is one commit, and the commit
 * is the decision; HSMs follow it.
 */
const VERSION = 2;
const masked = bytes({ max: LIMITS.frame_size_max_bytes });
const members = {
  state: oneOf('intent', 'live', 'abandoned', 'tombstone'),
  epoch: int({ min: 0 }),
  purpose: named<string>(),
  /** what a true copy proves itself with; there once the key is live */
  proof: nullable(bytes({ max: 64 })),
  /** of the key's record: 1 at the making, one more with each change */
  revision: int({ min: 0 }),
};
/**
 * The changed record of a key; null while it is the first one. `masked` is what HSMs take it up
 * from: whoever is there can be brought up to date, whichever HSM is lost. It holds nothing of the
 * key itself, and only an HSM can make one.
 */
const record = nullable(object({ digest: bytes({ max: 64 }), masked }));

const firstVersion = object({ v: oneOf(1), ...members });
const presentVersion = object({ v: oneOf(VERSION), ...members, record });
type Stored = FormOf<typeof presentVersion>;
export type LedgerEntry = Omit<Stored, 'v'>;
export type CommittedRecord = NonNullable<LedgerEntry['record']>;

/** What is read: version 1 knew no changes of records. Version 2 is what is written. */
function schema(value: unknown): Stored {
  if ((value as { v?: unknown } | null)?.v !== 1) return presentVersion(value);
  return { ...firstVersion(value), v: VERSION, record: null };
}

/** An entry as it stands in the store, and in a backup. */
export const encodeLedgerEntry = (entry: LedgerEntry): Uint8Array =>
  encodeValue(VERSION, { ...entry, v: VERSION });
export const decodeLedgerEntry = (value: Uint8Array): LedgerEntry => decodeValue(value, schema);
const encode = encodeLedgerEntry;
const decode = ({ value }: Entry): LedgerEntry => decodeLedgerEntry(value);

/** The write of an entry that another cluster of the family had. */
export const putEntry = (cluster: ClusterId, id: HsmKeyId, entry: LedgerEntry): Put => ({
  op: 'put',
  key: KEYSPACE.ledgerKey(cluster, id),
  value: encode(entry),
});

/** The entry of a key that lives, and which state of it was read. */
export interface LiveEntry {
  readonly id: HsmKeyId;
  readonly entry: LedgerEntry;
  readonly modRevision: number;
}

const FIRST = { revision: 1, record: null } as const;

/** An attempt to make a key that is written down. */
export interface Intent {
  readonly id: HsmKeyId;
  readonly modRevision: number;
  readonly epoch: number;
  readonly purpose: string;
}

/** Hears of keys whose entries changed, once the ledger shows it. It must not throw. */
type Listener = (ids: readonly HsmKeyId[]) => void;

/** The purpose of certificates and data: what is no key is not counted among them. */
export const OBJECT_PURPOSE = 'object';

export class KeyLedger implements AsyncDisposable {
  readonly #store: Store;
  readonly #cluster: ClusterId;
  readonly #entries: Snapshot<LedgerEntry>;
  readonly #listeners: Set<Listener>;
  /** all of them at one revision: a start compares each HSM with thousands */
  #all: { revision: number; entries: ReadonlyMap<HsmKeyId, LedgerEntry> } | undefined;

  private constructor(
    store: Store,
    cluster: ClusterId,
    entries: Snapshot<LedgerEntry>,
    listeners: Set<Listener>,
  ) {
    this.#store = store;
    this.#cluster = cluster;
    this.#entries = entries;
    this.#listeners = listeners;
  }

  /** @param changed the first to hear of changes */
  static async open(store: Store, cluster: ClusterId, changed?: Listener): Promise<KeyLedger> {
    const prefix = KEYSPACE.ledger(cluster);
    const listeners = new Set(changed ? [changed] : []);
    const onChange = (keys: readonly string[]): void => {
      const ids = keys.map((key) => key.slice(prefix.length)).filter(isHsmKeyId);
      for (const listener of listeners) listener(ids);
    };
    const entries = await Snapshot.open(store, prefix, decode, { onChange });
    return new KeyLedger(store, cluster, entries, listeners);
  }

  /** @returns what ends it */
  onChange(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  get(id: HsmKeyId): LedgerEntry | undefined {
    return this.#entries.get(this.#key(id))?.value;
  }

  /** the store's revision that this ledger shows */
  get revision(): number {
    return this.#entries.revision;
  }

  /** All entries in the order of their ids. */
  all(): ReadonlyMap<HsmKeyId, LedgerEntry> {
    const { revision } = this.#entries;
    // throws while the copy cannot be relied on
    this.#entries.get(KEYSPACE.ledger(this.#cluster));
    if (this.#all?.revision !== revision) this.#all = { revision, entries: this.#readAll() };
    return this.#all.entries;
  }

  #readAll(): Map<HsmKeyId, LedgerEntry> {
    const prefix = KEYSPACE.ledger(this.#cluster);
    const all = new Map<HsmKeyId, LedgerEntry>();
    for (const { key, value } of this.#entries.entries()) {
      const id = key.slice(prefix.length);
      if (isHsmKeyId(id)) all.set(id, value);
    }
    return all;
  }

  async intend(id: HsmKeyId, options: { epoch: number; purpose: string }): Promise<Intent> {
    const key = this.#key(id);
    const value = encode({ ...options, state: 'intent', ...FIRST, proof: null });
    const modRevision = await this.#store.commit({
      compares: [{ key, modRevision: null }],
      writes: [{ op: 'put', key, value }],
    });
    return { id, modRevision, ...options };
  }

  /**
   * Makes the key live, together with what its asker adds. It fails if the attempt was given up
   * in between.
   */
  live(intent: Intent, proof: Uint8Array): CommitPart {
    const key = this.#key(intent.id);
    const { epoch, purpose } = intent;
    const value = encode({ state: 'live', epoch, purpose, ...FIRST, proof });
    return {
      compares: [{ key, modRevision: intent.modRevision }],
      writes: [{ op: 'put', key, value }],
    };
  }

  /** Waits until this ledger shows what the store has. */
  async current(): Promise<void> {
    const { revision } = await this.#store.range(KEYSPACE.ledger(this.#cluster), { limit: 1 });
    await this.#entries.reached(revision);
  }

  /** Waits until this ledger shows what was committed then. */
  async reached(revision: number): Promise<void> {
    await this.#entries.reached(revision);
  }

  /** Gives an attempt up. @returns false when it became live before */
  async abandon(id: HsmKeyId): Promise<boolean> {
    for (;;) {
      const entry = await this.#store.get(this.#key(id));
      if (!entry) return true;
      const value = decode(entry);
      if (value.state !== 'intent') return value.state === 'abandoned';
      const part: CommitPart = {
        compares: [{ key: entry.key, modRevision: entry.modRevision }],
        writes: [{ op: 'put', key: entry.key, value: encode({ ...value, state: 'abandoned' }) }],
      };
      if (await this.#tryCommit(part)) return true;
    }
  }

  /** Forgets an attempt without a decision: copies of it are then unknown, and kept. */
  async drop(id: HsmKeyId): Promise<void> {
    const entry = await this.#store.get(this.#key(id));
    if (!entry || decode(entry).state !== 'intent') return;
    await this.#tryCommit({
      compares: [{ key: entry.key, modRevision: entry.modRevision }],
      writes: [{ op: 'delete', key: entry.key }],
    });
  }

  /** The part of a commit that ends a key's life. @throws VaultKeyMissing when it does not live */
  tombstone(id: HsmKeyId): CommitPart {
    const key = this.#key(id);
    const entry = this.#entries.get(key);
    if (!entry || entry.value.state !== 'live') throw new KeyspanError('VaultKeyMissing');
    const value = encode({ ...entry.value, state: 'tombstone' });
    return {
      compares: [{ key, modRevision: entry.modRevision }],
      writes: [{ op: 'put', key, value }],
    };
  }

  /** What a change of a key's record begins from. @throws VaultKeyMissing when it does not live */
  async liveEntry(id: HsmKeyId): Promise<LiveEntry> {
    await this.current();
    const found = this.#entries.get(this.#key(id));
    if (found?.value.state !== 'live') throw new KeyspanError('VaultKeyMissing');
    return { id, entry: found.value, modRevision: found.modRevision };
  }

  /**
   * Names another record of a live key: the decision, which HSMs follow. @returns false when
   * somebody else changed the entry since it was read
   */
  async amend(from: LiveEntry, to: CommittedRecord & { revision: number }): Promise<boolean> {
    const key = this.#key(from.id);
    const { revision, digest, masked } = to;
    const value = encode({ ...from.entry, revision, record: { digest, masked } });
    return await this.#tryCommit({
      compares: [{ key, modRevision: from.modRevision }],
      writes: [{ op: 'put', key, value }],
    });
  }

  /** Removes what every member has confirmed to be gone. */
  async forget(id: HsmKeyId): Promise<void> {
    const entry = await this.#store.get(this.#key(id));
    if (!entry) return;
    const { state } = decode(entry);
    if (state !== 'abandoned' && state !== 'tombstone') return;
    await this.#tryCommit({
      compares: [{ key: entry.key, modRevision: entry.modRevision }],
      writes: [{ op: 'delete', key: entry.key }],
    });
  }

  async #tryCommit(part: CommitPart): Promise<boolean> {
    try {
      await this.#entries.reached(await this.#store.commit(part));
      return true;
    } catch (error) {
      if (isKeyspanError(error, 'StoreConflict')) return false;
      throw error;
    }
  }

  #key(id: HsmKeyId): string {
    return KEYSPACE.ledgerKey(this.#cluster, id);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#entries[Symbol.asyncDispose]();
  }
}
