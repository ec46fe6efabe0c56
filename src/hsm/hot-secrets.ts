import type { HsmKeyId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import type { Handle } from '../token/token.js';

/** Objects of memory for keys that are kept sealed: the oldest goes for a new one. */
export class HotSecrets {
  readonly #destroy: (handle: Handle) => void;
  readonly #handles = new Map<HsmKeyId, Handle>();

  constructor(destroy: (handle: Handle) => void) {
    this.#destroy = destroy;
  }

  get(id: HsmKeyId): Handle | undefined {
    return this.#handles.get(id);
  }

  put(id: HsmKeyId, handle: Handle): void {
    const [oldest] = this.#handles.size >= LIMITS.hsm_hot_secrets_max ? this.#handles.keys() : [];
    if (oldest !== undefined) this.drop(oldest);
    this.#handles.set(id, handle);
  }

  drop(id: HsmKeyId): void {
    const handle = this.#handles.get(id);
    if (!handle) return;
    this.#handles.delete(id);
    this.#destroy(handle);
  }
}
