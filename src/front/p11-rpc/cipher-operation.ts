import type { Call } from '../../core/call.js';
import { LIMITS } from '../../core/limits.js';
import { CKM } from '../../core/pkcs11.js';
import { fail } from './failure.js';
import type { HeldObject } from './held-object.js';
import type { InputBudget } from './hsm-stream.js';
import { keyBytes } from './key-use.js';
import type { MechanismFacts } from './mechanism-table.js';
import type { FrameMechanism } from './parameters.js';
import type { TokenView } from './token-view.js';

const BLOCK = 16;
const EMPTY = new Uint8Array(0);
/** Whole blocks that one frame holds. */
const CHUNK = LIMITS.p11_chunk_max_bytes - (LIMITS.p11_chunk_max_bytes % BLOCK);

export interface CipherGiven {
  readonly view: TokenView;
  readonly key: HeldObject;
  readonly facts: MechanismFacts;
  readonly mechanism: FrameMechanism;
  readonly direction: 'encrypt' | 'decrypt';
  readonly budget: InputBudget;
}

/**
 * An encryption or decryption that a session has begun. Modes that go block after block are done in
 * whole operations of an HSM, one after the other, each with what the one before left (the last
 * block of CBC, the counter of CTR): so each can be done by any HSM, and none keeps anything.
 */
export class CipherOperation {
  readonly #given: CipherGiven;
  #iv: Uint8Array | undefined;
  /** what is no whole block yet, or may be the last; all of GCM's data */
  #held: Uint8Array[] = [];
  #heldBytes = 0;
  #isOver = false;
  isMultiPart = false;
  /** of an operation that ended, for a caller whose buffer was too small */
  #result: Uint8Array | undefined;

  constructor(given: CipherGiven) {
    this.#given = given;
    this.#iv = given.mechanism.iv;
  }

  /** it gave everything, and nothing more can come of it */
  get isDrained(): boolean {
    return this.#isOver;
  }

  /** At most so many bytes come of `bytes` more, and of the end. */
  lengthOf(bytes: number): number {
    const { facts, key, mechanism, direction } = this.#given;
    if (this.#result) return this.#result.length;
    if (facts.family === 'rsa') return keyBytes(key);
    const all = this.#heldBytes + bytes;
    const tag = (mechanism.tagBits ?? 0) / 8;
    if (facts.type === CKM.AES_GCM) {
      return direction === 'encrypt' ? all + tag : Math.max(0, all - tag);
    }
    if (facts.type !== CKM.AES_CBC_PAD) return all;
    return direction === 'encrypt' ? all - (all % BLOCK) + BLOCK : all;
  }

  /** At most so many bytes come of an update with `bytes` more. */
  lengthOfUpdate(bytes: number): number {
    const { facts } = this.#given;
    if (facts.pieces === 'gathered') return 0;
    const all = this.#heldBytes + bytes;
    const back = this.#holdsBack && all % BLOCK === 0 && all > 0 ? BLOCK : 0;
    return all - (all % BLOCK) - back;
  }

  /** The last block of a padded text is known to be the last at the end alone. */
  get #holdsBack(): boolean {
    const { facts, direction } = this.#given;
    return facts.type === CKM.AES_CBC_PAD && direction === 'decrypt';
  }

  /** One whole operation. */
  async whole(data: Uint8Array, call: Call): Promise<Uint8Array> {
    this.#result ??= await this.#whole(data, call);
    return this.#result;
  }

  /** What an HSM takes at once: a tag comes with what it was made of. */
  get #most(): number {
    const { facts, direction, mechanism } = this.#given;
    const isTagged = facts.type === CKM.AES_GCM && direction === 'decrypt';
    return isTagged ? CHUNK + (mechanism.tagBits ?? 0) / 8 : CHUNK;
  }

  async #whole(data: Uint8Array, call: Call): Promise<Uint8Array> {
    const { facts } = this.#given;
    if (data.length <= this.#most) return await this.#run(this.#given.mechanism, data, call);
    if (facts.pieces !== 'blocks') throw this.#lengthFailure();
    const first = await this.update(data, call);
    return Buffer.concat([first, await this.final(call)]);
  }

  /**
   * Takes more in, and gives what is known by now.
   * @throws P11Failure FUNCTION_NOT_SUPPORTED for a mechanism that takes the data as a whole
   */
  async update(data: Uint8Array, call: Call): Promise<Uint8Array> {
    const { facts } = this.#given;
    if (facts.pieces === 'never') throw fail('FUNCTION_NOT_SUPPORTED');
    this.isMultiPart = true;
    const ready = this.lengthOfUpdate(data.length);
    this.#hold(data);
    if (ready === 0) return EMPTY;
    const all = Buffer.concat(this.#held);
    this.#release();
    this.#hold(all.subarray(ready));
    return await this.#blocks(all.subarray(0, ready), call);
  }

  /** The end: what is left, padded or checked. */
  async final(call: Call): Promise<Uint8Array> {
    if (this.#isOver) return EMPTY;
    this.#result ??= await this.#final(call);
    return this.#result;
  }

  async #final(call: Call): Promise<Uint8Array> {
    const { facts, mechanism, direction } = this.#given;
    const rest = Buffer.concat(this.#held);
    this.#release();
    if (facts.pieces === 'gathered') return await this.#run(mechanism, rest, call);
    if (facts.type === CKM.AES_CBC_PAD) {
      const isPadded = direction === 'decrypt' && rest.length !== BLOCK;
      if (isPadded) throw fail('ENCRYPTED_DATA_LEN_RANGE');
      return await this.#run({ ...mechanism, iv: this.#iv }, rest, call);
    }
    if (rest.length === 0) return EMPTY;
    if (facts.type !== CKM.AES_CTR) throw this.#lengthFailure();
    return await this.#run({ ...mechanism, iv: this.#iv }, rest, call);
  }

  /** The result has been given. */
  over(): void {
    this.#isOver = true;
    this.#result = undefined;
  }

  close(): void {
    this.#release();
    this.#result = undefined;
  }

  /** Whole blocks, in as many operations as it takes. */
  async #blocks(data: Buffer, call: Call): Promise<Uint8Array> {
    const { mechanism, facts, direction } = this.#given;
    // padding is for the end alone
    const type = facts.type === CKM.AES_CBC_PAD ? CKM.AES_CBC : facts.type;
    const made: Uint8Array[] = [];
    for (let at = 0; at < data.length; at += CHUNK) {
      const part = data.subarray(at, at + CHUNK);
      const by = { ...mechanism, type, ...(this.#iv && { iv: this.#iv }) };
      const out = await this.#run(by, part, call);
      made.push(out);
      if (type === CKM.AES_CTR) this.#count(part.length / BLOCK);
      if (type === CKM.AES_CBC) {
        const chained = direction === 'encrypt' ? out : part;
        this.#iv = Uint8Array.from(chained.subarray(chained.length - BLOCK));
      }
    }
    return made.length === 1 ? (made[0] as Uint8Array) : Buffer.concat(made);
  }

  /** The counter goes on by so many blocks; the rest of its block stays. */
  #count(blocks: number): void {
    const { counterBits = 128 } = this.#given.mechanism;
    const now = BigInt(`0x${Buffer.from(this.#iv ?? EMPTY).toString('hex')}`);
    const mask = (1n << BigInt(counterBits)) - 1n;
    const next = (now & ~mask) | ((now + BigInt(blocks)) & mask);
    this.#iv = Buffer.from(next.toString(16).padStart(2 * BLOCK, '0'), 'hex');
  }

  async #run(mechanism: FrameMechanism, data: Uint8Array, call: Call): Promise<Uint8Array> {
    const { view, key, direction } = this.#given;
    const fields = { keyId: key.id, direction, mechanism, data };
    return (await view.line.run('p11-cipher', fields, call, key.id)).data;
  }

  #hold(data: Uint8Array): void {
    if (data.length === 0) return;
    if (this.#given.facts.pieces === 'gathered' && this.#heldBytes + data.length > this.#most) {
      throw this.#lengthFailure();
    }
    this.#given.budget.take(data.length);
    this.#held.push(data);
    this.#heldBytes += data.length;
  }

  #release(): void {
    this.#given.budget.give(this.#heldBytes);
    this.#held = [];
    this.#heldBytes = 0;
  }

  #lengthFailure(): Error {
    const isOut = this.#given.direction === 'encrypt';
    return fail(isOut ? 'DATA_LEN_RANGE' : 'ENCRYPTED_DATA_LEN_RANGE');
  }
}
