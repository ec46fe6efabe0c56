import {
  createCipheriv,
  createDecipheriv,
  hkdfSync,
  randomBytes,
  scrypt,
  type ScryptOptions,
} from 'node:crypto';
import { link, mkdir, open, readFile, stat, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { wipe } from '../core/bytes.js';
import { isKeyspanError, KeyspanError } from '../core/errors.js';

const KEY_BYTES = 32;
const IV_BYTES = 12;
const TAG_BYTES = 16;
const SALT_BYTES = 16;

/** The first byte of the key's file: what follows is the key, or is sealed by a passphrase. */
const FILE_CLEAR = 1;
const FILE_SEALED = 2;
/** the first byte of a sealed value */
const VALUE_VERSION = 1;
/** RFC 7914; 32 MiB of memory for each try */
const SCRYPT: ScryptOptions = { N: 1 << 15, r: 8, p: 1, maxmem: 64 << 20 };

const FILE_SIZE = {
  [FILE_CLEAR]: 1 + KEY_BYTES,
  [FILE_SEALED]: 1 + SALT_BYTES + IV_BYTES + KEY_BYTES + TAG_BYTES,
};

/** AES-256-GCM (NIST SP 800-38D): IV, ciphertext, tag. */
function encrypt(key: Uint8Array, plaintext: Uint8Array, aad: Uint8Array): Buffer {
  const iv = randomBytes(IV_BYTES);
  const cipher = createCipheriv('aes-256-gcm', key, iv).setAAD(aad);
  return Buffer.concat([iv, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
}

/** @throws when the tag does not fit */
function decrypt(key: Uint8Array, sealed: Uint8Array, aad: Uint8Array): Buffer {
  const iv = sealed.subarray(0, IV_BYTES);
  const options = { authTagLength: TAG_BYTES };
  const decipher = createDecipheriv('aes-256-gcm', key, iv, options).setAAD(aad);
  decipher.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
  const plaintext = decipher.update(sealed.subarray(IV_BYTES, sealed.length - TAG_BYTES));
  decipher.final();
  return plaintext;
}

function passphraseKey(passphrase: string, salt: Uint8Array): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    scrypt(passphrase, salt, KEY_BYTES, SCRYPT, (error, key) => {
      if (error) reject(error);
      else resolve(key);
    });
  });
}

/**
 * The root of trust of one installation (ARCHITECTURE §3, promise 1). The key itself is never
 * used; each purpose has its own, derived from it.
 */
export class InstallationKey {
  readonly #key: Uint8Array;

  /** Takes over the 32 bytes. */
  constructor(key: Uint8Array) {
    this.#key = key;
  }

  /** 32 bytes for one purpose (HKDF-SHA-256, RFC 5869); the caller wipes them. */
  derive(purpose: string): Uint8Array {
    const info = Buffer.from(`keyspan ${purpose}`, 'utf8');
    return new Uint8Array(hkdfSync('sha256', this.#key, new Uint8Array(), info, KEY_BYTES));
  }
}

/** A sealer whose key comes from a passphrase (scrypt, RFC 7914), for what leaves the home. */
export async function sealerOfPassphrase(passphrase: string, salt: Uint8Array): Promise<Sealer> {
  const key = await passphraseKey(passphrase, salt);
  try {
    return new Sealer(new InstallationKey(key));
  } finally {
    wipe(key);
  }
}

/** Seals the few secrets that the store must give back, each bound to its store key. */
export class Sealer {
  readonly #key: Uint8Array;

  constructor(key: InstallationKey) {
    this.#key = key.derive('store values 1');
  }

  /** Version, IV, ciphertext, tag: 29 bytes longer than `plaintext`. */
  seal(plaintext: Uint8Array, storeKey: string): Uint8Array {
    const aad = Buffer.from(storeKey, 'utf8');
    return Buffer.concat([Buffer.of(VALUE_VERSION), encrypt(this.#key, plaintext, aad)]);
  }

  /**
   * The caller wipes the plaintext.
   * @throws StoreCorrupt when the value was sealed by another installation, for another store key,
   * or was changed
   */
  open(sealed: Uint8Array, storeKey: string): Uint8Array {
    if (sealed[0] !== VALUE_VERSION || sealed.length < 1 + IV_BYTES + TAG_BYTES) {
      throw new KeyspanError('StoreCorrupt', `The value of ${storeKey} is not a sealed one.`);
    }
    try {
      return decrypt(this.#key, sealed.subarray(1), Buffer.from(storeKey, 'utf8'));
    } catch (cause) {
      const message = `The value of ${storeKey} cannot be unsealed with this installation's key.`;
      throw new KeyspanError('StoreCorrupt', message, { cause });
    }
  }
}

async function sealFile(key: Uint8Array, passphrase: string): Promise<Uint8Array> {
  const head = Buffer.concat([Buffer.of(FILE_SEALED), randomBytes(SALT_BYTES)]);
  const wrapping = await passphraseKey(passphrase, head.subarray(1));
  try {
    return Buffer.concat([head, encrypt(wrapping, key, head)]);
  } finally {
    wipe(wrapping);
  }
}

async function openFile(file: Uint8Array, path: string, passphrase: string): Promise<Uint8Array> {
  const head = file.subarray(0, 1 + SALT_BYTES);
  const wrapping = await passphraseKey(passphrase, head.subarray(1));
  try {
    return decrypt(wrapping, file.subarray(head.length), head);
  } catch (cause) {
    const message = `KEYSPAN_PASSPHRASE does not open the installation key in ${path}.`;
    throw new KeyspanError('KeyspanConfig', message, { cause });
  } finally {
    wipe(wrapping);
  }
}

/** Makes the file whole or not at all; one that exists stays as it is. */
async function createFile(path: string, passphrase: string | undefined): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const key = randomBytes(KEY_BYTES);
  const content =
    passphrase === undefined
      ? Buffer.concat([Buffer.of(FILE_CLEAR), key])
      : await sealFile(key, passphrase);
  const draft = `${path}.${randomBytes(6).toString('hex')}`;
  const handle = await open(draft, 'wx', 0o600);
  try {
    await handle.writeFile(content);
    await handle.sync();
    // a link never replaces a key that another process has made in the meantime
    await link(draft, path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
    });
  } finally {
    wipe(key, content);
    await handle.close();
    await unlink(draft);
  }
}

async function readKeyFile(path: string): Promise<Buffer | undefined> {
  try {
    const { mode } = await stat(path);
    if ((mode & 0o077) !== 0) {
      throw new KeyspanError(
        'KeyspanConfig',
        `Others may read the installation key in ${path}. Run: chmod 600 ${path}`,
      );
    }
    return await readFile(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function assertForm(file: Uint8Array, path: string): void {
  const size = FILE_SIZE[file[0] as keyof typeof FILE_SIZE];
  if (size === undefined || size !== file.length) {
    const message = `The installation key in ${path} is damaged or of a newer Keyspan.`;
    throw new KeyspanError('KeyspanConfig', message);
  }
}

async function unlock(file: Buffer, path: string, passphrase?: string): Promise<InstallationKey> {
  assertForm(file, path);
  if (file[0] === FILE_CLEAR) {
    if (passphrase !== undefined) {
      const message =
        `KEYSPAN_PASSPHRASE is set, but the installation key in ${path} has no passphrase. ` +
        'Unset it, or start with a new home.';
      throw new KeyspanError('KeyspanConfig', message);
    }
    return new InstallationKey(new Uint8Array(file.subarray(1)));
  }
  if (passphrase === undefined) {
    const message = `The installation key in ${path} needs a passphrase: set KEYSPAN_PASSPHRASE.`;
    throw new KeyspanError('KeyspanConfig', message);
  }
  return new InstallationKey(await openFile(file, path, passphrase));
}

/**
 * Reads the installation key, or makes it: a file of 0600 in a directory of 0700, sealed by scrypt
 * when there is a passphrase.
 * @throws KeyspanConfig when the file cannot be used, or the passphrase is wrong, missing or one
 * too many
 */
export async function loadInstallationKey(options: {
  path: string;
  passphrase?: string | undefined;
}): Promise<InstallationKey> {
  // an empty variable is one that is not set
  const { path, passphrase = '' } = options;
  const given = passphrase === '' ? undefined : passphrase;
  const file = await readOrCreate(path, given).catch((cause: unknown) => {
    if (isKeyspanError(cause)) throw cause;
    const message = `The installation key in ${path} can be neither read nor made.`;
    throw new KeyspanError('KeyspanConfig', message, { cause });
  });
  try {
    return await unlock(file, path, given);
  } finally {
    wipe(file);
  }
}

async function readOrCreate(path: string, passphrase: string | undefined): Promise<Buffer> {
  const found = await readKeyFile(path);
  if (found) return found;
  await createFile(path, passphrase);
  const made = await readKeyFile(path);
  if (made) return made;
  throw new KeyspanError('KeyspanConfig', `The installation key in ${path} vanished.`);
}
