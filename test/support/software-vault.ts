import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import type { Call } from '../../src/core/call.js';
import type { CommitPart } from '../../src/core/commit.js';
import { KeyspanError, type ErrorCode } from '../../src/core/errors.js';
import { newHsmKeyId, type HsmKeyId } from '../../src/core/ids.js';
import type {
  DataKey,
  DataKeyInput,
  DecryptInput,
  EncryptInput,
  OpenStep,
  PreparedKey,
  Sealed,
  SealStep,
  Vault,
  VaultDirectory,
  VaultTransfer,
} from '../../src/core/vault.js';

interface SoftwareKey {
  readonly secret: Uint8Array;
  state: 'prepared' | 'live' | 'abandoned';
}

/**
 * A stand-in for the foreign peer behind KMS: a vault whose keys are in memory. It keeps count of
 * what it was asked and fails on demand. Only for tests of what KMS decides; real vaults have
 * their own tests.
 */
export class SoftwareVault implements Vault, VaultTransfer {
  readonly id: string;
  readonly keys = new Map<HsmKeyId, SoftwareKey>();
  /** the operations asked for, in order */
  readonly asked: string[] = [];
  #failure: ErrorCode | undefined;
  /** joined to the part of the next key: a test makes it fail */
  extraPart: CommitPart = { compares: [], writes: [] };
  /** called within createKey and importKey, before they answer */
  whileCreating: () => Promise<void> = async () => undefined;

  constructor(id = 'cluster-software234') {
    this.id = id;
  }

  /** Every operation from now on fails with `code`; `undefined` ends that. */
  failWith(code: ErrorCode | undefined): void {
    this.#failure = code;
  }

  states(): string[] {
    return Array.from(this.keys.values(), (key) => key.state);
  }

  createKey(_spec: 'AES_256', call: Call): Promise<PreparedKey> {
    return this.#prepare('createKey', () => randomBytes(32), call);
  }

  importKey(_spec: 'AES_256', material: Uint8Array, call: Call): Promise<PreparedKey> {
    return this.#prepare('importKey', () => Buffer.from(material), call);
  }

  async #prepare(asked: string, secretOf: () => Uint8Array, call: Call): Promise<PreparedKey> {
    this.#note(asked, call);
    await this.whileCreating();
    const id = newHsmKeyId();
    const key: SoftwareKey = { secret: secretOf(), state: 'prepared' };
    this.keys.set(id, key);
    const end = (state: 'live' | 'abandoned') => (): void => {
      if (key.state !== 'prepared') throw new Error(`ended twice: ${key.state}, then ${state}`);
      key.state = state;
    };
    const path = `ledger/${this.id}/${id}`;
    const part: CommitPart = {
      compares: [{ key: path, modRevision: null }, ...this.extraPart.compares],
      writes: [{ op: 'put', key: path, value: Buffer.from('live') }],
    };
    return { id, part, committed: end('live'), abandon: end('abandoned') };
  }

  async destroyKey(key: HsmKeyId): Promise<CommitPart> {
    return { compares: [], writes: [{ op: 'delete', key: `ledger/${this.id}/${key}` }] };
  }

  async encrypt(key: HsmKeyId, input: EncryptInput, call: Call): Promise<Sealed> {
    this.#note('encrypt', call);
    return seal(this.#secret(key), input);
  }

  async decrypt(key: HsmKeyId, input: DecryptInput, call: Call): Promise<Uint8Array> {
    this.#note('decrypt', call);
    return open(this.#secret(key), input);
  }

  async reencrypt(from: OpenStep, to: SealStep, call: Call): Promise<Sealed> {
    this.#note('reencrypt', call);
    const plaintext = open(this.#secret(from.key), from.input);
    return seal(this.#secret(to.key), { plaintext, aad: to.aad });
  }

  async dataKey(key: HsmKeyId, input: DataKeyInput, call: Call): Promise<DataKey> {
    this.#note('dataKey', call);
    const plaintext = randomBytes(input.length);
    const sealed = seal(this.#secret(key), { plaintext, aad: input.aad });
    return input.withPlaintext ? { ...sealed, plaintext } : sealed;
  }

  async random(length: number, call: Call): Promise<Uint8Array> {
    this.#note('random', call);
    return randomBytes(length);
  }

  #note(operation: string, call: Call): void {
    this.asked.push(operation);
    if (this.#failure) throw new KeyspanError(this.#failure);
    call.servedBy = 'hsm-software2345' as NonNullable<Call['servedBy']>;
  }

  #secret(id: HsmKeyId): Uint8Array {
    const key = this.keys.get(id);
    if (key?.state !== 'live') throw new KeyspanError('VaultKeyMissing');
    return key.secret;
  }
}

function seal(secret: Uint8Array, { plaintext, aad }: EncryptInput): Sealed {
  const iv = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', secret, iv).setAAD(aad);
  const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()]);
  return { iv, ciphertext, tag: cipher.getAuthTag() };
}

function open(secret: Uint8Array, { iv, ciphertext, tag, aad }: DecryptInput): Uint8Array {
  const decipher = createDecipheriv('aes-256-gcm', secret, iv).setAAD(aad);
  decipher.setAuthTag(tag);
  try {
    return Buffer.concat([decipher.update(ciphertext), decipher.final()]);
  } catch (cause) {
    throw new KeyspanError('VaultDataInvalid', undefined, { cause });
  }
}

/** Vaults by id; the first is KMS's own, which a test may change. */
export class SoftwareVaults implements VaultDirectory {
  readonly #vaults: SoftwareVault[];

  constructor(...vaults: SoftwareVault[]) {
    this.#vaults = vaults;
  }

  /** New keys go to this vault from now on. */
  prefer(vault: SoftwareVault): void {
    const others = this.#vaults.filter((other) => other !== vault);
    this.#vaults.splice(0, this.#vaults.length, vault, ...others);
  }

  own(): SoftwareVault {
    const [own] = this.#vaults;
    if (!own) throw new KeyspanError('VaultUnavailable');
    return own;
  }

  byId(id: string): SoftwareVault {
    const vault = this.#vaults.find((one) => one.id === id);
    if (!vault) throw new KeyspanError('VaultUnavailable');
    return vault;
  }
}
