import type { Call } from './call.js';
import type { CommitPart } from './commit.js';
import type { HsmKeyId } from './ids.js';

/** What kind of key a vault is asked to make. */
export type VaultKeySpec = 'AES_256';

/** What AES-256-GCM with a 12-byte IV and a 16-byte tag made (NIST SP 800-38D). */
export interface Sealed {
  readonly iv: Uint8Array;
  readonly ciphertext: Uint8Array;
  readonly tag: Uint8Array;
}

/**
 * A key that is on as many HSMs as the key-availability rule asks for, but not yet live. The
 * caller commits `part`
 * together with its own facts, and then says how that ended: exactly one of the two calls,
 * exactly once.
 */
export interface PreparedKey {
  readonly id: HsmKeyId;
  /** makes the key live in the ledger */
  readonly part: CommitPart;
  /** the commit succeeded: the key may be used */
  committed(): void;
  /** the commit failed: the attempt is given up and its copies are destroyed */
  abandon(): void;
}

/**
 * What can hold HSM keys for KMS and work with them. Failures are KeyspanErrors whose code
 * begins with `Vault`.
 * Every call ends by `call.deadline` and notes the HSM that served it in `call.servedBy`.
 */
export interface Vault {
  /** the cluster's or the external key store's id */
  readonly id: string;

  /** @throws VaultNotDurable, VaultUnavailable, VaultTimeout */
  createKey(spec: VaultKeySpec, call: Call): Promise<PreparedKey>;
  /**
   * the part of a commit that turns the key into a tombstone; HSMs destroy their copies
   * afterwards
   */
  destroyKey(key: HsmKeyId): Promise<CommitPart>;

  /** AES-256-GCM with an IV from the token; `plaintext` is 1 to 4096 bytes. */
  encrypt(key: HsmKeyId, input: EncryptInput, call: Call): Promise<Sealed>;
  /** @throws VaultDataInvalid when the tag does not fit the data, the IV, the AAD or the key */
  decrypt(key: HsmKeyId, input: DecryptInput, call: Call): Promise<Uint8Array>;
  /**
   * Opens under one key and seals under another inside one HSM: the plaintext does not leave
   * it.
   */
  reencrypt(from: OpenStep, to: SealStep, call: Call): Promise<Sealed>;
  /** Makes `length` random bytes in an HSM and seals them; `plaintext` only when asked for. */
  dataKey(key: HsmKeyId, input: DataKeyInput, call: Call): Promise<DataKey>;
  /** `length` random bytes (1 to 1024) from a token. */
  random(length: number, call: Call): Promise<Uint8Array>;
}

/** What a vault may be able to do besides: take up key material that was made elsewhere. */
export interface VaultTransfer {
  /**
   * As `createKey`, of a key with these bytes, as many as the spec says. They stay the caller's,
   * who wipes them.
   * @throws VaultNotDurable, VaultUnavailable, VaultTimeout
   */
  importKey(spec: VaultKeySpec, material: Uint8Array, call: Call): Promise<PreparedKey>;
}

export const canImport = (vault: Vault): vault is Vault & VaultTransfer => 'importKey' in vault;

export interface EncryptInput {
  readonly plaintext: Uint8Array;
  readonly aad: Uint8Array;
}

export interface DecryptInput extends Sealed {
  readonly aad: Uint8Array;
}

export interface OpenStep {
  readonly key: HsmKeyId;
  readonly input: DecryptInput;
}

export interface SealStep {
  readonly key: HsmKeyId;
  readonly aad: Uint8Array;
}

export interface DataKeyInput {
  /** bytes, 1 to 1024 */
  readonly length: number;
  readonly aad: Uint8Array;
  readonly withPlaintext: boolean;
}

export interface DataKey extends Sealed {
  readonly plaintext?: Uint8Array;
}

/** Finds vaults. */
export interface VaultDirectory {
  /** the vault that new keys of KMS's own key store go to */
  own(): Vault;
  /** @throws VaultUnavailable when no vault has this id */
  byId(id: string): Vault;
}
