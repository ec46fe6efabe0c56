import { verify } from 'node:crypto';
import { asBuffer } from '../core/bytes.js';
import { KeyspanError } from '../core/errors.js';
import type { BackupId, ClusterId, HsmId, HsmKeyId } from '../core/ids.js';
import { joinTranscript, type HandedOver } from '../protocol/hsm-frames.js';
import type { BackupContent, BackupHead } from './backup-file.js';
import type { Recovery } from './recovery.js';

/** An HSM that is new and makes an offer to join. */
export interface Joiner {
  readonly hsm: HsmId;
  readonly family: ClusterId;
  /** its identity key, SubjectPublicKeyInfo, DER */
  readonly identity: Uint8Array;
  /** the key that it wants the masking keys under, and its identity key's signature of that */
  readonly publicKey: Uint8Array;
  readonly signature: Uint8Array;
}

/** A backup that stands in for the member that a new HSM would be given everything by. */
export class OpenedBackup {
  readonly #content: BackupContent;
  readonly #recovery: Recovery;

  constructor(content: BackupContent, recovery: Recovery) {
    this.#content = content;
    this.#recovery = recovery;
  }

  get head(): BackupHead {
    return this.#content.head;
  }

  get keys(): BackupContent['keys'] {
    return this.#content.keys;
  }

  /** A key as it travels between HSMs. */
  masked(id: HsmKeyId): Uint8Array | undefined {
    return this.#content.keys.get(id)?.masked;
  }

  /**
   * As a member's `handover`. @throws KeyspanError HsmBadRecord when the joiner did not sign its
   * key, KeyspanBackupRefused when the backup is not this installation's
   */
  async handOver(joiner: Joiner): Promise<HandedOver> {
    const { hsm, family, identity, publicKey, signature } = joiner;
    const key = { key: asBuffer(identity), format: 'der', type: 'spki' } as const;
    if (!verify('sha256', joinTranscript(family, hsm, publicKey), key, signature)) {
      throw new KeyspanError('HsmBadRecord', 'the joiner did not sign its key');
    }
    const { maskingKeyId, users, wrapped } = this.head;
    return { maskingKeyId, users, wrapped: await this.#recovery.rewrap(wrapped, publicKey) };
  }
}

/** The backup that a cluster is being restored from; it is kept open while it is needed. */
export class RestoreSource {
  readonly #wanted: () => BackupId | null;
  readonly #read: (id: BackupId) => Promise<OpenedBackup>;
  #open: { readonly id: BackupId; readonly backup: Promise<OpenedBackup> } | undefined;

  constructor(wanted: () => BackupId | null, read: (id: BackupId) => Promise<OpenedBackup>) {
    this.#wanted = wanted;
    this.#read = read;
  }

  /** @throws KeyspanError KeyspanBackupRefused; the next call tries again */
  async open(): Promise<OpenedBackup | undefined> {
    const id = this.#wanted();
    if (id === null) {
      this.#open = undefined;
    } else if (this.#open?.id !== id) {
      const backup = this.#read(id);
      this.#open = { id, backup };
      backup.catch(() => (this.#open = undefined));
    }
    return await this.#open?.backup;
  }
}
