import { rootArn } from '../core/arn.js';
import { assert } from '../core/assert.js';
import { asBuffer } from '../core/bytes.js';
import type { CommitPart, Put } from '../core/commit.js';
import { KeyspanError } from '../core/errors.js';
import { KEYSPACE } from '../store/keyspace.js';
import type { Sealer } from '../store/sealed.js';
import { Snapshot } from '../store/snapshot.js';
import type { Store } from '../store/store.js';
import {
  decodeAccessKey,
  encodeAccessKey,
  INVALID_TOKEN,
  type AccessKey,
  type StoredAccessKey,
} from './credentials.js';
import { parsePrincipal } from './principal.js';

/** An access key as a client is given it. */
export interface AccessKeyPair {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

/** What every emulator is called with, so that examples work as they stand. */
const DEFAULT: AccessKeyPair = { accessKeyId: 'test', secretAccessKey: 'test' };

/** The access keys in the store, each sealed as a whole, unsealed in a copy that costs no I/O. */
export class StoredAccessKeys implements AsyncDisposable {
  readonly #store: Store;
  readonly #sealer: Sealer;
  readonly #snapshot: Snapshot<StoredAccessKey>;
  readonly #root: string;

  private constructor(parts: {
    store: Store;
    sealer: Sealer;
    snapshot: Snapshot<StoredAccessKey>;
    account: string;
  }) {
    this.#store = parts.store;
    this.#sealer = parts.sealer;
    this.#snapshot = parts.snapshot;
    this.#root = rootArn(parts.account);
  }

  /**
   * Reads the keys and follows them. The account's root gets one when it has none, and another
   * when the configuration names another.
   */
  static async open(options: {
    store: Store;
    sealer: Sealer;
    account: string;
    configured?: AccessKeyPair | undefined;
  }): Promise<StoredAccessKeys> {
    const { store, sealer, account, configured } = options;
    const snapshot = await Snapshot.open(store, KEYSPACE.accessKeys, ({ key, value }) =>
      decodeAccessKey(key.slice(KEYSPACE.accessKeys.length), sealer.open(value, key)),
    );
    const keys = new StoredAccessKeys({ store, sealer, snapshot, account });
    await keys.#ensureRoot(configured);
    return keys;
  }

  /**
   * The key that signs, if there is one.
   * @throws UnrecognizedClientException for one that was deactivated; KeyspanError while the copy
   * cannot be trusted: nobody is let in by an old one
   */
  find(id: string): AccessKey | undefined {
    const key = this.#snapshot.get(KEYSPACE.accessKey(id))?.value;
    if (key?.active === false) throw new KeyspanError('UnrecognizedClientException', INVALID_TOKEN);
    return key;
  }

  /** The key as it stands, active or not. @throws as `find` while the copy cannot be trusted */
  held(id: string): { readonly value: StoredAccessKey; readonly modRevision: number } | undefined {
    return this.#snapshot.get(KEYSPACE.accessKey(id));
  }

  /** Where a key stands in the store. */
  path(id: string): string {
    return KEYSPACE.accessKey(id);
  }

  /** What stores a key, under the seal. */
  put(key: StoredAccessKey): Put {
    const path = KEYSPACE.accessKey(key.id);
    return { op: 'put', key: path, value: this.#sealer.seal(encodeAccessKey(key), path) };
  }

  /** Waits until reading shows a commit. */
  async reached(revision: number): Promise<void> {
    await this.#snapshot.reached(revision);
  }

  /** The account root's access key. */
  root(): AccessKeyPair {
    const [key] = this.#rootKeys();
    assert(key !== undefined, 'the root has an access key');
    return pairOf(key.value);
  }

  #rootKeys(): { key: string; value: AccessKey; modRevision: number }[] {
    return this.#snapshot.entries().filter(({ value }) => value.principal.arn === this.#root);
  }

  async #ensureRoot(configured: AccessKeyPair | undefined): Promise<void> {
    const present = this.#rootKeys();
    const [first] = present;
    if (first && (!configured || isSame(pairOf(first.value), configured))) return;
    const { accessKeyId: id, secretAccessKey } = configured ?? DEFAULT;
    const key = KEYSPACE.accessKey(id);
    const secret = Buffer.from(secretAccessKey, 'utf8');
    const principal = parsePrincipal(this.#root);
    const part: CommitPart = {
      compares: [
        ...present.filter((one) => one.key !== key),
        { key, modRevision: this.#snapshot.get(key)?.modRevision ?? null },
      ].map(({ key: name, modRevision }) => ({ key: name, modRevision })),
      writes: [
        ...present
          .filter((one) => one.key !== key)
          .map((one) => ({ op: 'delete' as const, key: one.key })),
        this.put({ id, secret, principal, active: true, createdAt: 0 }),
      ],
    };
    await this.#snapshot.reached(await this.#store.commit(part));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#snapshot[Symbol.asyncDispose]();
  }
}

const pairOf = ({ id, secret }: AccessKey): AccessKeyPair => ({
  accessKeyId: id,
  secretAccessKey: asBuffer(secret).toString('utf8'),
});

const isSame = (a: AccessKeyPair, b: AccessKeyPair): boolean =>
  a.accessKeyId === b.accessKeyId && a.secretAccessKey === b.secretAccessKey;
