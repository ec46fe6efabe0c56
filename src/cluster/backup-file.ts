import { open, readFile, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { formatHex } from '../core/bytes.js';
import { decodeCborItem, encodeCborItem } from '../core/cbor.js';
import { KeyspanError } from '../core/errors.js';
import type { ClusterId, HsmId, HsmKeyId, MaskingKeyId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import { bytes, int, list, named, object, oneOf, text, type FormOf } from '../protocol/form.js';
import type { Sealer } from '../store/sealed.js';
import { decodeLedgerEntry, encodeLedgerEntry, type LedgerEntry } from './key-ledger.js';

/**
 * The file of a backup: `KSBACKUP`, a version, 16 bytes of salt, then sealed pieces, each behind
 * its length in four bytes. The first piece is the head, the last one says how many keys there are.
 * A piece is sealed under the name and the salt of its file and its place in it: none can be left
 * out, moved, repeated or taken from another backup.
 */
const MAGIC = Buffer.from('KSBACKUP\u0001', 'latin1');
export const SALT_BYTES = 16;
const HEADER_BYTES = MAGIC.length + SALT_BYTES;
const LENGTH_BYTES = 4;
const KEYS_PER_PIECE = 128;

const pem = text({ max: 65_536 });
const blob = bytes({ max: LIMITS.frame_size_max_bytes });
const name = named<string>();

const head = object({
  piece: oneOf('head'),
  /** the cluster that it was taken of, and the family of that */
  cluster: named<ClusterId>(),
  family: named<ClusterId>(),
  hsmType: text({ max: 32 }),
  mode: oneOf('FIPS', 'NON_FIPS'),
  networkType: oneOf('IPV4', 'DUALSTACK'),
  retentionDays: int({ min: 7, max: 379 }),
  /** civil time of the taking, in milliseconds since 1970 */
  createdMs: int({ min: 0 }),
  founder: named<HsmId>(),
  /** no older than the epoch that comes with the users */
  epoch: int({ min: 1 }),
  maskingKeyId: named<MaskingKeyId>(),
  /** the masking keys under the RSA key of who can open the backup (OAEP) */
  wrapped: object({ wrap: blob, seal: blob, auth: blob }),
  /** the users and their epoch, under mask-seal */
  users: blob,
  /** without it nobody could bring an HSM with these users into service */
  appliancePassword: text({ max: LIMITS.hsm_password_max_chars }),
  clusterKey: named<HsmKeyId>(),
  certificate: pem,
  trustAnchor: pem,
  /** the store that the stamps of its keys' records count in, and how far that had come */
  store: name,
  stamp: int({ min: 0 }),
});
export type BackupHead = Omit<FormOf<typeof head>, 'piece'>;

const key = object({ id: named<HsmKeyId>(), entry: blob, masked: blob });
/** A key of a backup: what the ledger says of it, and the masked object. */
export interface BackupKey {
  readonly id: HsmKeyId;
  readonly entry: LedgerEntry;
  readonly masked: Uint8Array;
}
const keys = object({ piece: oneOf('keys'), keys: list(key, { max: KEYS_PER_PIECE }) });
const end = object({ piece: oneOf('end'), keys: int({ min: 0 }) });

/** What a backup holds. */
export interface BackupContent {
  readonly head: BackupHead;
  readonly keys: ReadonlyMap<HsmKeyId, BackupKey>;
}

/** How a file is sealed. `name` is bound to every piece. */
export interface Sealing {
  readonly sealer: Sealer;
  readonly name: string;
}

const refused = (cause?: unknown): KeyspanError =>
  new KeyspanError('KeyspanBackupRefused', undefined, { cause });

/** Writes a backup piece by piece; it is there under its path whole, or not at all. */
export class BackupWriter implements AsyncDisposable {
  readonly #path: string;
  readonly #file: FileHandle;
  readonly #sealing: Sealing;
  readonly #salt: Uint8Array;
  #pieces = 0;
  #keys = 0;
  #waiting: BackupKey[] = [];
  #isDone = false;

  private constructor(parts: {
    path: string;
    file: FileHandle;
    sealing: Sealing;
    salt: Uint8Array;
  }) {
    this.#path = parts.path;
    this.#file = parts.file;
    this.#sealing = parts.sealing;
    this.#salt = parts.salt;
  }

  /** @param salt of the passphrase's key; zeros where there is none */
  static async open(
    path: string,
    sealing: Sealing,
    what: BackupHead,
    salt: Uint8Array = new Uint8Array(SALT_BYTES),
  ): Promise<BackupWriter> {
    const file = await open(`${path}.new`, 'w', 0o600);
    const writer = new BackupWriter({ path, file, sealing, salt });
    try {
      await file.writeFile(Buffer.concat([MAGIC, salt]));
      await writer.#append({ piece: 'head', ...what });
      return writer;
    } catch (error) {
      await writer[Symbol.asyncDispose]();
      throw error;
    }
  }

  async add(more: readonly BackupKey[]): Promise<void> {
    this.#waiting.push(...more);
    while (this.#waiting.length >= KEYS_PER_PIECE) await this.#flush();
  }

  /** It is on the disk when this returns. */
  async finish(): Promise<void> {
    while (this.#waiting.length > 0) await this.#flush();
    await this.#append({ piece: 'end', keys: this.#keys });
    await this.#file.sync();
    await this.#file.close();
    this.#isDone = true;
    await rename(`${this.#path}.new`, this.#path);
  }

  async #flush(): Promise<void> {
    const some = this.#waiting.splice(0, KEYS_PER_PIECE);
    this.#keys += some.length;
    const packed = some.map((one) => ({ ...one, entry: encodeLedgerEntry(one.entry) }));
    await this.#append({ piece: 'keys', keys: packed });
  }

  async #append(piece: object): Promise<void> {
    const { sealer, name: of } = this.#sealing;
    const place = placeOf(of, this.#salt, this.#pieces);
    const sealed = sealer.seal(encodeCborItem(piece), place);
    this.#pieces += 1;
    const length = Buffer.alloc(LENGTH_BYTES);
    length.writeUInt32BE(sealed.length);
    await this.#file.writeFile(Buffer.concat([length, sealed]));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isDone) return;
    await this.#file.close().catch(() => undefined);
    await rm(`${this.#path}.new`, { force: true });
  }
}

const placeOf = (of: string, salt: Uint8Array, at: number): string =>
  `${of} ${formatHex(salt)} piece ${at}`;

/** The bytes of a backup's file. @throws KeyspanError KeyspanBackupRefused */
export async function readBackupFile(path: string): Promise<Buffer> {
  try {
    const { size } = await stat(path);
    if (size > LIMITS.backup_file_max_bytes) throw refused();
    const file = await readFile(path);
    if (file.length < HEADER_BYTES || !file.subarray(0, MAGIC.length).equals(MAGIC)) {
      throw refused();
    }
    return file;
  } catch (error) {
    throw error instanceof KeyspanError ? error : refused(error);
  }
}

/** The salt of a file that a passphrase opens. */
export const saltOf = (file: Buffer): Uint8Array => file.subarray(MAGIC.length, HEADER_BYTES);

/**
 * Opens a backup: all of it, or nothing.
 * @throws KeyspanError KeyspanBackupRefused when it is truncated, altered or sealed by another key
 */
export async function openBackup(file: Buffer, sealing: Sealing): Promise<BackupContent> {
  try {
    const pieces = piecesOf(file, sealing);
    const { piece: _, ...found } = head(pieces.next().value);
    const all = new Map<HsmKeyId, BackupKey>();
    for (const item of pieces) {
      // others have their turn between two pieces
      await new Promise((resolve) => setImmediate(resolve));
      if (isEnd(item)) {
        if (end(item).keys !== all.size || !pieces.next().done) throw refused();
        return { head: found, keys: all };
      }
      for (const one of keys(item).keys) {
        all.set(one.id, { ...one, entry: decodeLedgerEntry(one.entry) });
      }
    }
    throw refused();
  } catch (error) {
    throw refused(error);
  }
}

const isEnd = (item: unknown): boolean => (item as { piece?: unknown } | null)?.piece === 'end';

function* piecesOf(file: Buffer, { sealer, name: of }: Sealing): Generator<unknown, undefined> {
  const salt = saltOf(file);
  let at = HEADER_BYTES;
  for (let count = 0; at < file.length; count += 1) {
    const from = at + LENGTH_BYTES;
    const to = from + file.readUInt32BE(at);
    if (to > file.length) throw refused();
    yield decodeCborItem(sealer.open(file.subarray(from, to), placeOf(of, salt, count)));
    at = to;
  }
  return undefined;
}
