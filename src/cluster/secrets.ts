import { randomBytes } from 'node:crypto';
import type { CommitPart } from '../core/commit.js';
import { asBuffer, wipe } from '../core/bytes.js';
import { KeyspanError } from '../core/errors.js';
import type { ClusterId, HsmId } from '../core/ids.js';
import { KEYSPACE } from '../store/keyspace.js';
import type { Sealer } from '../store/sealed.js';
import type { Store } from '../store/store.js';
import type { KeyAndCertificate } from './certificates.js';

/**
 * The secrets that the installation itself keeps: in the store, and there only sealed (promise
 * 1).
 */
export class Secrets {
  readonly #store: Store;
  readonly #sealer: Sealer;

  constructor(store: Store, sealer: Sealer) {
    this.#store = store;
    this.#sealer = sealer;
  }

  /** The write of a secret, for a commit. */
  put(key: string, secret: Uint8Array): CommitPart {
    const value = this.#sealer.seal(secret, key);
    return { compares: [{ key, modRevision: null }], writes: [{ op: 'put', key, value }] };
  }

  /** The caller wipes it. @throws KeyspanError StoreCorrupt when it is not there or not ours */
  async get(key: string): Promise<Uint8Array> {
    const entry = await this.#store.get(key);
    if (!entry) throw new KeyspanError('StoreCorrupt', `${key} is missing`);
    return this.#sealer.open(entry.value, key);
  }

  newPins(cluster: ClusterId, hsm: HsmId): CommitPart {
    const pins = Buffer.from(`${newPassword()} ${newPassword()}`);
    try {
      return this.put(KEYSPACE.hsmSecret(cluster, hsm), pins);
    } finally {
      wipe(pins);
    }
  }

  async pins(cluster: ClusterId, hsm: HsmId): Promise<{ soPin: Buffer; userPin: Buffer }> {
    // a view of the same memory: there is one copy to wipe
    const pins = asBuffer(await this.get(KEYSPACE.hsmSecret(cluster, hsm)));
    const at = pins.indexOf(' ');
    return { soPin: pins.subarray(0, at), userPin: pins.subarray(at + 1) };
  }

  newPasswordOf(cluster: ClusterId, user: string): CommitPart {
    return this.put(KEYSPACE.userSecret(cluster, user), Buffer.from(newPassword()));
  }

  /** The operator gave a user of the installation another password. */
  async replacePassword(cluster: ClusterId, user: string, password: string): Promise<void> {
    const key = KEYSPACE.userSecret(cluster, user);
    const value = this.#sealer.seal(Buffer.from(password), key);
    await this.#store.commit({ compares: [], writes: [{ op: 'put', key, value }] });
  }

  async passwordOf(cluster: ClusterId, user: string): Promise<string> {
    return Buffer.from(await this.get(KEYSPACE.userSecret(cluster, user))).toString('utf8');
  }

  newAuthority(name: string, authority: KeyAndCertificate): CommitPart {
    const value = JSON.stringify({
      certificate: authority.certificate,
      privateKey: Buffer.from(authority.privateKey).toString('base64'),
    });
    return this.put(KEYSPACE.authority(name), Buffer.from(value));
  }

  async authority(name: string): Promise<KeyAndCertificate> {
    const text = Buffer.from(await this.get(KEYSPACE.authority(name))).toString('utf8');
    const value = JSON.parse(text) as { certificate: string; privateKey: string };
    return {
      certificate: value.certificate,
      privateKey: Buffer.from(value.privateKey, 'base64'),
    };
  }
}

/** 24 alphanumeric characters: 142 bits, and within what kmsuser's password may be. */
export function newPassword(): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
  let password = '';
  while (password.length < 24) {
    for (const byte of randomBytes(32)) {
      // bytes that would make some characters likelier than others are passed over
      if (byte < 248 && password.length < 24) password += alphabet[byte % 62];
    }
  }
  return password;
}
