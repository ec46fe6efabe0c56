import {
  constants,
  createPublicKey,
  generateKeyPair,
  privateDecrypt,
  publicEncrypt,
  type KeyObject,
} from 'node:crypto';
import { promisify } from 'node:util';
import { asBuffer, wipe } from '../core/bytes.js';
import { KeyspanError, isKeyspanError } from '../core/errors.js';
import type { WrappedMaskingKeys } from '../protocol/hsm-frames.js';
import { KEYSPACE } from '../store/keyspace.js';
import type { Store } from '../store/store.js';
import type { KeyAndCertificate } from './certificates.js';
import type { Secrets } from './secrets.js';

const NAME = 'recovery';
const MODULUS_BITS = 2048;
const newKeyPair = promisify(generateKeyPair);

/** RSA-OAEP with SHA-1, which is what the tokens can do (ARCHITECTURE §5). */
const OAEP = { padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha1' } as const;
const ROLES = ['wrap', 'seal', 'auth'] as const;

/**
 * The key that an installation opens its backups with: HSMs wrap their masking keys for it, since
 * the emulated hardware certified it. Made when the first backup is taken.
 */
export class Recovery {
  readonly #store: Store;
  readonly #secrets: Secrets;
  #making: Promise<KeyAndCertificate> | undefined;

  constructor(store: Store, secrets: Secrets) {
    this.#store = store;
    this.#secrets = secrets;
  }

  /** The key's certificate and the one above it, PEM; the root is each HSM's own. */
  async certificates(): Promise<string[]> {
    const [own, hardware] = await Promise.all([this.#key(), this.#secrets.authority('hardware')]);
    return [own.certificate, hardware.certificate];
  }

  /**
   * Wraps for `publicKey` what was wrapped for this key. @param publicKey SubjectPublicKeyInfo,
   * DER: RSA of 2048 bits
   * @throws KeyspanError KeyspanBackupRefused when it was wrapped for another key
   */
  async rewrap(wrapped: WrappedMaskingKeys, publicKey: Uint8Array): Promise<WrappedMaskingKeys> {
    const to = createPublicKey({ key: asBuffer(publicKey), format: 'der', type: 'spki' });
    return await this.open(wrapped, (keys) => wrapFor(to, keys));
  }

  /** Lets `work` have the masking keys; they are wiped afterwards. @throws as `rewrap` */
  async open<T>(
    wrapped: WrappedMaskingKeys,
    work: (keys: WrappedMaskingKeys) => T | Promise<T>,
  ): Promise<T> {
    const { privateKey } = await this.#key();
    const key = { key: asBuffer(privateKey), format: 'der', type: 'pkcs8', ...OAEP } as const;
    const opened: Uint8Array[] = [];
    try {
      for (const role of ROLES) opened.push(privateDecrypt(key, wrapped[role]));
    } catch (cause) {
      wipe(...opened);
      throw new KeyspanError('KeyspanBackupRefused', undefined, { cause });
    }
    try {
      const [wrap, seal, auth] = opened as [Uint8Array, Uint8Array, Uint8Array];
      return await work({ wrap, seal, auth });
    } finally {
      wipe(...opened);
    }
  }

  /** Wraps masking keys that came from elsewhere for this key. */
  async wrap(keys: WrappedMaskingKeys): Promise<WrappedMaskingKeys> {
    const { certificate } = await this.#key();
    return wrapFor(createPublicKey(certificate), keys);
  }

  async #key(): Promise<KeyAndCertificate> {
    if (await this.#store.get(KEYSPACE.authority(NAME))) return await this.#secrets.authority(NAME);
    this.#making ??= this.#make().finally(() => (this.#making = undefined));
    return await this.#making;
  }

  async #make(): Promise<KeyAndCertificate> {
    const [{ certifyRecovery }, hardware, pair] = await Promise.all([
      import('./certificates.js'),
      this.#secrets.authority('hardware'),
      newKeyPair('rsa', {
        modulusLength: MODULUS_BITS,
        publicKeyEncoding: { format: 'der', type: 'spki' },
        privateKeyEncoding: { format: 'der', type: 'pkcs8' },
      }),
    ]);
    const certificate = await certifyRecovery({ hardware, publicKey: pair.publicKey });
    try {
      const made = { certificate, privateKey: pair.privateKey };
      await this.#store.commit(this.#secrets.newAuthority(NAME, made));
    } catch (error) {
      // another daemon made one at the same time: that one counts
      if (!isKeyspanError(error, 'StoreConflict')) throw error;
    }
    return await this.#secrets.authority(NAME);
  }
}

function wrapFor(key: KeyObject, keys: WrappedMaskingKeys): WrappedMaskingKeys {
  const wrapped = (secret: Uint8Array): Uint8Array => publicEncrypt({ key, ...OAEP }, secret);
  return { wrap: wrapped(keys.wrap), seal: wrapped(keys.seal), auth: wrapped(keys.auth) };
}
