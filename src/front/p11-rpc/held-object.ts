import type { KeyFacts } from '../../protocol/hsm-key-frames.js';
import type { P11Value } from '../../protocol/p11-attributes.js';
import { hasFlag, type FlagName } from '../../protocol/objects.js';
import type { HsmKeyId } from '../../core/ids.js';
import type { KeyFamily } from './mechanism-table.js';

/** What an attribute is of an object that does not have it, or that keeps it for itself. */
export type Unreadable = 'absent' | 'sensitive' | 'content';

/** An object of the cluster as a connection sees it. */
export class HeldObject {
  readonly facts: KeyFacts;
  /** the C_ session that a session object belongs to, 0 for token objects */
  readonly session: number;
  /** attributes that were read before */
  readonly values = new Map<number, P11Value | Unreadable>();
  /** attributes that stand in the content of a certificate or data object, once it was read */
  content: ReadonlyMap<number, Uint8Array> | undefined;

  constructor(facts: KeyFacts, session = 0) {
    this.facts = facts;
    this.session = session;
  }

  get id(): HsmKeyId {
    return this.facts.id;
  }

  get isKey(): boolean {
    const { class: kind } = this.facts.object;
    return kind === 'secret-key' || kind === 'private-key' || kind === 'public-key';
  }

  has(flag: FlagName): boolean {
    return hasFlag(this.facts.object.flags, flag);
  }

  get family(): KeyFamily {
    const { type, curve } = this.facts.object;
    if (type === 'ec') return curve === 'ed25519' ? 'edwards' : 'ec';
    return this.isKey ? type : 'none';
  }
}
