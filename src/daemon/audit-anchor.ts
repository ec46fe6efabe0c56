import { AuditLog, type AuditAnchor } from '../audit/audit-log.js';
import type { ChainHead } from '../core/audit-seal.js';
import { isKeyspanError } from '../core/errors.js';
import type { Home } from '../core/home.js';
import type { Logger } from '../core/log.js';
import { int, object, oneOf, text } from '../protocol/form.js';
import { KEYSPACE } from '../store/keyspace.js';
import type { Sealer } from '../store/sealed.js';
import type { Store } from '../store/store.js';
import { decodeValue, encodeValue } from '../store/value.js';

const VERSION = 1;
const form = object({ v: oneOf(VERSION), sequence: int({ min: 0 }), hash: text({ max: 64 }) });

/**
 * The audit log's newest seal in the store, sealed by the installation key: who can write in the
 * log's directory alone cannot make a shorter or another chain that fits it.
 */
export class StoredAnchor implements AuditAnchor {
  readonly #store: Store;
  readonly #sealer: Sealer;

  constructor(store: Store, sealer: Sealer) {
    this.#store = store;
    this.#sealer = sealer;
  }

  /** @throws StoreCorrupt when the value is not one that this installation kept */
  async read(): Promise<ChainHead | undefined> {
    const entry = await this.#store.get(KEYSPACE.auditSeal);
    if (!entry) return undefined;
    const value = this.#sealer.open(entry.value, KEYSPACE.auditSeal);
    const { sequence, hash } = decodeValue(value, form);
    return { sequence, hash };
  }

  /** @throws what the store says */
  async keep({ sequence, hash }: ChainHead): Promise<void> {
    const plain = encodeValue(VERSION, { sequence, hash });
    const value = this.#sealer.seal(plain, KEYSPACE.auditSeal);
    await this.#store.commit({
      compares: [],
      writes: [{ op: 'put', key: KEYSPACE.auditSeal, value }],
    });
  }
}

/** Opens the daemon's audit log. What is wrong with the kept seal does not keep a daemon down. */
export async function openAudit(parts: {
  readonly home: Home;
  readonly store: Store;
  readonly sealer: Sealer;
  readonly log: Logger;
}): Promise<AuditLog> {
  const { home, store, sealer, log } = parts;
  const kept = new StoredAnchor(store, sealer);
  const anchor: AuditAnchor = {
    keep: (head) => kept.keep(head),
    read: async () => {
      try {
        return await kept.read();
      } catch (error) {
        if (!isKeyspanError(error, 'StoreCorrupt')) throw error;
        log.error({ err: error }, 'the kept seal of the audit log cannot be read');
        return undefined;
      }
    },
  };
  const audit = await AuditLog.open(home.audit, { anchor });
  if (audit.isBroken) log.error('the audit log does not hold what it held: keyspan audit verify');
  return audit;
}
