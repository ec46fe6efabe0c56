import type { Call } from '../../core/call.js';
import { HsmStream, inChunks, type InputBudget } from './hsm-stream.js';
import { HASH_BYTES, type MechanismFacts } from './mechanism-table.js';
import type { TokenView } from './token-view.js';
import { LIMITS } from '../../core/limits.js';

/** A digest that a session has begun; an HSM makes it. */
export class DigestOperation {
  readonly #view: TokenView;
  readonly #type: number;
  readonly #stream: HsmStream;
  /** bytes of the digest */
  readonly length: number;
  isMultiPart = false;

  constructor(view: TokenView, facts: MechanismFacts, budget: InputBudget) {
    this.#view = view;
    this.#type = facts.type;
    this.length = facts.hash === undefined ? 0 : HASH_BYTES[facts.hash];
    const open = { purpose: 'digest', mechanism: { type: facts.type } } as const;
    this.#stream = new HsmStream(() => view.line, open, budget);
  }

  async update(data: Uint8Array, call: Call): Promise<void> {
    this.isMultiPart = true;
    await this.#stream.push(data, call);
  }

  /** All that came, and then `data`. */
  async final(call: Call, data?: Uint8Array): Promise<Uint8Array> {
    if (data) for (const chunk of inChunks([data])) await this.#stream.push(chunk, call);
    const whole = this.#stream.whole();
    if (whole && whole.length <= LIMITS.p11_chunk_max_bytes) {
      const fields = { type: this.#type, data: whole };
      const { digest } = await this.#view.line.run('digest', fields, call);
      this.#stream.close();
      return digest;
    }
    const { value } = await this.#stream.finish(call);
    return value as Uint8Array;
  }

  close(): void {
    this.#stream.close();
  }
}
