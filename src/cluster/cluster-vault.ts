import type { Call } from '../core/call.js';
import type { CommitPart } from '../core/commit.js';
import { KeyspanError, isKeyspanError, type ErrorCode } from '../core/errors.js';
import type { ClusterId, HsmKeyId } from '../core/ids.js';
import type {
  DataKey,
  DataKeyInput,
  DecryptInput,
  EncryptInput,
  OpenStep,
  PreparedKey,
  SealStep,
  Sealed,
  Vault,
  VaultKeySpec,
  VaultTransfer,
} from '../core/vault.js';
import type { HsmFields, HsmOperation, HsmResults, SealedData } from '../protocol/hsm-frames.js';
import type { ClusterSession } from './cluster-session.js';
import type { KeyLedger } from './key-ledger.js';
import type { Replicator } from './replicator.js';

/** A key that an HSM made or took up, masked. */
type Made = HsmResults['generate'];

const TAG_BYTES = 16;

/**
 * What an HSM says, in the words of a vault. What is not here is a fault of ours or of the
 * token.
 */
const AS_VAULT: { readonly [code in ErrorCode]?: ErrorCode } = {
  HsmBusy: 'VaultBusy',
  HsmDataInvalid: 'VaultDataInvalid',
  HsmDeadlineExceeded: 'VaultTimeout',
  HsmKeyNotFound: 'VaultKeyMissing',
  HsmKeyUnproven: 'VaultKeyMissing',
  KeyspanDeadlineExceeded: 'VaultTimeout',
};

function asVaultError(error: unknown): unknown {
  if (!isKeyspanError(error) || error.code.startsWith('Vault')) return error;
  const code = AS_VAULT[error.code] ?? 'VaultUnavailable';
  return new KeyspanError(code, undefined, { cause: error });
}

function sealed({ iv, data }: SealedData): Sealed {
  const end = data.length - TAG_BYTES;
  return { iv, ciphertext: data.subarray(0, end), tag: data.subarray(end) };
}

/** A cluster as KMS sees it: one crypto-user's keys on all of its HSMs. */
export class ClusterVault implements Vault, VaultTransfer {
  readonly id: ClusterId;
  readonly #session: ClusterSession;
  readonly #replicator: Replicator;
  readonly #ledger: KeyLedger;
  readonly #stampAt: (revision: number) => number;

  constructor(options: {
    id: ClusterId;
    session: ClusterSession;
    replicator: Replicator;
    ledger: KeyLedger;
    /** how far the store has come at a revision, for the records of keys */
    stampAt: (revision: number) => number;
  }) {
    this.id = options.id;
    this.#session = options.session;
    this.#replicator = options.replicator;
    this.#ledger = options.ledger;
    this.#stampAt = options.stampAt;
  }

  createKey(_spec: VaultKeySpec, call: Call): Promise<PreparedKey> {
    return this.#make((named) => {
      return this.#session.run('generate', { ...named, kind: 'aes-256' }, call);
    }, call);
  }

  importKey(_spec: VaultKeySpec, material: Uint8Array, call: Call): Promise<PreparedKey> {
    return this.#make((named) => {
      return this.#session.run('import', { ...named, material }, call);
    }, call);
  }

  async #make(
    on: (named: { keyId: HsmKeyId; label: string; stamp: number }) => Promise<Made>,
    call: Call,
  ): Promise<PreparedKey> {
    const generate = (keyId: HsmKeyId): Promise<Made> => {
      // the intent, which stands before any copy does, takes a later revision than the present one
      const stamp = this.#stampAt(this.#ledger.revision + 1);
      return on({ keyId, label: 'kms', stamp });
    };
    try {
      return await this.#replicator.create('kms', generate, call);
    } catch (error) {
      throw asVaultError(error);
    }
  }

  async destroyKey(key: HsmKeyId): Promise<CommitPart> {
    await this.#ledger.current();
    return this.#ledger.tombstone(key);
  }

  async encrypt(key: HsmKeyId, input: EncryptInput, call: Call): Promise<Sealed> {
    const fields = { keyId: key, aad: input.aad, data: input.plaintext };
    try {
      return sealed(await this.#session.run('encrypt', fields, call, key));
    } catch (error) {
      throw asVaultError(error);
    }
  }

  async decrypt(key: HsmKeyId, input: DecryptInput, call: Call): Promise<Uint8Array> {
    const fields = { keyId: key, iv: input.iv, aad: input.aad, data: joined(input) };
    try {
      return (await this.#session.run('decrypt', fields, call, key)).data;
    } catch (error) {
      throw asVaultError(error);
    }
  }

  async reencrypt(from: OpenStep, to: SealStep, call: Call): Promise<Sealed> {
    const { iv, aad } = from.input;
    const source = { keyId: from.key, iv, aad, data: joined(from.input) };
    const fields = { ...source, toKeyId: to.key, toAad: to.aad };
    return sealed(await this.#run('reencrypt', fields, call, to.key, from.key));
  }

  async dataKey(key: HsmKeyId, input: DataKeyInput, call: Call): Promise<DataKey> {
    const { aad, length, withPlaintext } = input;
    const fields = { keyId: key, aad, length, withPlaintext };
    const { plaintext, ...data } = await this.#run('data-key', fields, call, key);
    return plaintext ? { ...sealed(data), plaintext } : sealed(data);
  }

  async random(length: number, call: Call): Promise<Uint8Array> {
    return (await this.#run('random', { length }, call)).data;
  }

  async #run<Op extends HsmOperation>(
    operation: Op,
    fields: HsmFields<Op>,
    call: Call,
    key?: HsmKeyId,
    second?: HsmKeyId,
  ): Promise<HsmResults[Op]> {
    try {
      return await this.#session.run(operation, fields, call, key, second);
    } catch (error) {
      throw asVaultError(error);
    }
  }
}

function joined({ ciphertext, tag }: Sealed): Uint8Array {
  return Buffer.concat([ciphertext, tag]);
}
