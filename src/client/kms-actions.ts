import { parseBase64 } from '../core/bytes.js';
import { KeyspanError } from '../core/errors.js';
import type { Answer, CallOptions } from './requests.js';

/** Pairs that a ciphertext is bound to; not secret (KMS API, EncryptionContextType). */
export type EncryptionContext = Readonly<Record<string, string>>;

export interface KeyMetadata {
  readonly KeyId: string;
  readonly Arn: string;
  readonly KeyState: string;
  readonly Enabled: boolean;
  /** seconds since 1970 */
  readonly CreationDate: number;
  readonly [member: string]: unknown;
}

export interface CreateKeyRequest {
  readonly Description?: string;
  readonly KeySpec?: string;
  readonly KeyUsage?: string;
  readonly Policy?: string;
}

export interface EncryptRequest {
  readonly KeyId: string;
  /** 1 to 4096 bytes */
  readonly Plaintext: Uint8Array;
  readonly EncryptionContext?: EncryptionContext;
  readonly DryRun?: boolean;
}

export interface EncryptResponse {
  readonly CiphertextBlob: Uint8Array;
  readonly KeyId: string;
  readonly EncryptionAlgorithm?: string;
}

export interface DecryptRequest {
  readonly CiphertextBlob: Uint8Array;
  readonly EncryptionContext?: EncryptionContext;
  /** refuses ciphertexts of other keys */
  readonly KeyId?: string;
  readonly DryRun?: boolean;
}

export interface DecryptResponse {
  readonly Plaintext: Uint8Array;
  readonly KeyId: string;
  readonly EncryptionAlgorithm?: string;
  readonly KeyMaterialId?: string;
}

export interface ReEncryptRequest {
  readonly CiphertextBlob: Uint8Array;
  readonly DestinationKeyId: string;
  readonly SourceKeyId?: string;
  readonly SourceEncryptionContext?: EncryptionContext;
  readonly DestinationEncryptionContext?: EncryptionContext;
}

export interface ReEncryptResponse {
  readonly CiphertextBlob: Uint8Array;
  readonly KeyId: string;
  readonly SourceKeyId: string;
}

export interface GenerateDataKeyRequest {
  readonly KeyId: string;
  /** one of KeySpec and NumberOfBytes */
  readonly KeySpec?: 'AES_128' | 'AES_256';
  /** 1 to 1024 */
  readonly NumberOfBytes?: number;
  readonly EncryptionContext?: EncryptionContext;
}

export interface GenerateDataKeyResponse {
  /** the caller wipes it */
  readonly Plaintext: Uint8Array;
  readonly CiphertextBlob: Uint8Array;
  readonly KeyId: string;
}

export interface ListRequest {
  readonly Limit?: number;
  readonly Marker?: string;
}

export interface ListKeysResponse {
  readonly Keys: readonly { readonly KeyId: string; readonly KeyArn: string }[];
  readonly Truncated: boolean;
  readonly NextMarker?: string;
}

export interface AliasEntry {
  readonly AliasName: string;
  readonly AliasArn: string;
  readonly TargetKeyId?: string;
}

export interface ListAliasesResponse {
  readonly Aliases: readonly AliasEntry[];
  readonly Truncated: boolean;
  readonly NextMarker?: string;
}

/** What these actions stand on. */
interface Caller {
  call(action: string, params: object, options?: CallOptions): Promise<Answer>;
}

/**
 * The KMS API in types, with AWS's names. Blobs are Uint8Arrays under either subprotocol.
 * Every method throws what `KeyspanClient.call` throws.
 */
export class KmsActions {
  readonly #caller: Caller;

  constructor(caller: Caller) {
    this.#caller = caller;
  }

  async createKey(request: CreateKeyRequest = {}, options?: CallOptions): Promise<KeyMetadata> {
    return (await this.#call<{ KeyMetadata: KeyMetadata }>('CreateKey', request, options))
      .KeyMetadata;
  }

  async describeKey(keyId: string, options?: CallOptions): Promise<KeyMetadata> {
    const answer = this.#call<{ KeyMetadata: KeyMetadata }>(
      'DescribeKey',
      { KeyId: keyId },
      options,
    );
    return (await answer).KeyMetadata;
  }

  listKeys(request: ListRequest = {}, options?: CallOptions): Promise<ListKeysResponse> {
    return this.#call('ListKeys', request, options);
  }

  async enableKey(keyId: string, options?: CallOptions): Promise<void> {
    await this.#call('EnableKey', { KeyId: keyId }, options);
  }

  async disableKey(keyId: string, options?: CallOptions): Promise<void> {
    await this.#call('DisableKey', { KeyId: keyId }, options);
  }

  /** New encryptions use a new material; older ciphertexts go on decrypting. */
  async rotateKeyOnDemand(keyId: string, options?: CallOptions): Promise<void> {
    await this.#call('RotateKeyOnDemand', { KeyId: keyId }, options);
  }

  /** `alias.name` begins with `alias/`. */
  async createAlias(
    alias: { name: string; targetKeyId: string },
    options?: CallOptions,
  ): Promise<void> {
    const request = { AliasName: alias.name, TargetKeyId: alias.targetKeyId };
    await this.#call('CreateAlias', request, options);
  }

  async updateAlias(
    alias: { name: string; targetKeyId: string },
    options?: CallOptions,
  ): Promise<void> {
    const request = { AliasName: alias.name, TargetKeyId: alias.targetKeyId };
    await this.#call('UpdateAlias', request, options);
  }

  async deleteAlias(name: string, options?: CallOptions): Promise<void> {
    await this.#call('DeleteAlias', { AliasName: name }, options);
  }

  listAliases(
    request: ListRequest & { readonly KeyId?: string } = {},
    options?: CallOptions,
  ): Promise<ListAliasesResponse> {
    return this.#call('ListAliases', request, options);
  }

  async encrypt(request: EncryptRequest, options?: CallOptions): Promise<EncryptResponse> {
    const answer = await this.#call<EncryptResponse>('Encrypt', request, options);
    return { ...answer, CiphertextBlob: blobOf(answer.CiphertextBlob) };
  }

  async decrypt(request: DecryptRequest, options?: CallOptions): Promise<DecryptResponse> {
    const answer = await this.#call<DecryptResponse>('Decrypt', request, options);
    return { ...answer, Plaintext: blobOf(answer.Plaintext) };
  }

  /** Opens under one key and seals under another; the plaintext does not leave the HSM. */
  async reEncrypt(request: ReEncryptRequest, options?: CallOptions): Promise<ReEncryptResponse> {
    const answer = await this.#call<ReEncryptResponse>('ReEncrypt', request, options);
    return { ...answer, CiphertextBlob: blobOf(answer.CiphertextBlob) };
  }

  async generateDataKey(
    request: GenerateDataKeyRequest,
    options?: CallOptions,
  ): Promise<GenerateDataKeyResponse> {
    const answer = await this.#call<GenerateDataKeyResponse>('GenerateDataKey', request, options);
    return {
      ...answer,
      Plaintext: blobOf(answer.Plaintext),
      CiphertextBlob: blobOf(answer.CiphertextBlob),
    };
  }

  async generateDataKeyWithoutPlaintext(
    request: GenerateDataKeyRequest,
    options?: CallOptions,
  ): Promise<Omit<GenerateDataKeyResponse, 'Plaintext'>> {
    const answer = await this.#call<Omit<GenerateDataKeyResponse, 'Plaintext'>>(
      'GenerateDataKeyWithoutPlaintext',
      request,
      options,
    );
    return { ...answer, CiphertextBlob: blobOf(answer.CiphertextBlob) };
  }

  /** @param length 1 to 1024 bytes */
  async generateRandom(length: number, options?: CallOptions): Promise<Uint8Array> {
    const request = { NumberOfBytes: length };
    const answer = await this.#call<{ Plaintext: Uint8Array }>('GenerateRandom', request, options);
    return blobOf(answer.Plaintext);
  }

  async #call<T>(action: string, request: object, options?: CallOptions): Promise<T> {
    return (await this.#caller.call(action, request, options)).result as T;
  }
}

/** A blob of an answer: bytes with CBOR, base64 with JSON. */
export function blobOf(value: unknown): Uint8Array {
  if (value instanceof Uint8Array) return value;
  const bytes = typeof value === 'string' ? parseBase64(value) : undefined;
  if (!bytes) throw new KeyspanError('SerializationException', 'the answer holds no blob');
  return bytes;
}
