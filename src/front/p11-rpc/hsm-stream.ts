import type { HsmLine } from '../../cluster/public-line.js';
import type { Call } from '../../core/call.js';
import { deadlineIn, hasPassed } from '../../core/deadline.js';
import { isKeyspanError } from '../../core/errors.js';
import type { HsmId } from '../../core/ids.js';
import { LIMITS } from '../../core/limits.js';
import type { HsmFields, HsmResults } from '../../protocol/hsm-frames.js';
import { fail } from './failure.js';

/** What all operations of one connection keep of their inputs, in bytes. */
export class InputBudget {
  #used = 0;

  /** @throws P11Failure DEVICE_MEMORY */
  take(bytes: number): void {
    if (this.#used + bytes > LIMITS.p11_connection_input_max_bytes) throw fail('DEVICE_MEMORY');
    this.#used += bytes;
  }

  give(bytes: number): void {
    this.#used -= bytes;
  }
}

/** Failures after which another HSM may do it all from the beginning. */
const LOST: ReadonlySet<string> = new Set([
  'KeyspanConnection',
  'VaultKeyMissing',
  'HsmNotLoggedIn',
  'HsmBusy',
  'HsmDeviceError',
  'HsmPhase',
]);

type Open = HsmFields<'stream-open'>;

/**
 * A digest or MAC of what comes in pieces. As long as one frame holds it all it waits here, and is
 * one whole operation in the end. From then on an HSM takes it piece by piece, while it is kept
 * here to begin again on another; what is longer than that keeps to its HSM.
 */
export class HsmStream {
  readonly #line: () => HsmLine;
  readonly #open: Open;
  readonly #budget: InputBudget;
  /** all that came, while it is kept */
  #kept: Uint8Array[] = [];
  #keptBytes = 0;
  #isKept = true;
  /** of `#kept`, what the HSM has not got yet */
  #unsent: Uint8Array[] = [];
  #unsentBytes = 0;
  #at: { readonly hsm: HsmId; readonly stream: number } | undefined;

  constructor(line: () => HsmLine, open: Open, budget: InputBudget) {
    this.#line = line;
    this.#open = open;
    this.#budget = budget;
  }

  /** All of it, when it is short enough for one operation. */
  whole(): Uint8Array | undefined {
    return this.#at ? undefined : Buffer.concat(this.#kept);
  }

  /** @param data is taken over */
  async push(data: Uint8Array, call: Call): Promise<void> {
    if (data.length === 0) return;
    this.#keep(data);
    this.#unsent.push(data);
    this.#unsentBytes += data.length;
    if (this.#unsentBytes > LIMITS.p11_chunk_max_bytes)
      await this.#retrying(() => this.#send(call), call);
  }

  /** The end of what an HSM took in pieces. */
  async finish(call: Call, signature?: Uint8Array): Promise<HsmResults['stream-final']> {
    const result = await this.#retrying(async () => {
      await this.#send(call);
      const { hsm, stream } = this.#at as { hsm: HsmId; stream: number };
      const fields = { stream, ...(signature && { signature }) };
      return await this.#line().runOn(hsm, 'stream-final', fields, call);
    }, call);
    this.#at = undefined;
    this.close();
    return result;
  }

  close(): void {
    const at = this.#at;
    this.#at = undefined;
    this.#forget();
    this.#unsent = [];
    this.#unsentBytes = 0;
    if (!at) return;
    const deadline = deadlineIn(LIMITS.request_timeout_ms);
    const call: Call = { requestId: 'stream-close', deadline };
    this.#line()
      .runOn(at.hsm, 'stream-close', { stream: at.stream }, call)
      .catch(() => undefined);
  }

  #keep(data: Uint8Array): void {
    if (!this.#isKept) return;
    if (this.#keptBytes + data.length > LIMITS.p11_replay_max_bytes) {
      this.#isKept = false;
      this.#forget();
      return;
    }
    this.#budget.take(data.length);
    this.#kept.push(data);
    this.#keptBytes += data.length;
  }

  #forget(): void {
    this.#budget.give(this.#keptBytes);
    this.#kept = [];
    this.#keptBytes = 0;
  }

  /** Whatever the HSM lacks goes to it. */
  async #send(call: Call): Promise<void> {
    if (!this.#at) await this.#begin(call);
    const { hsm, stream } = this.#at as { hsm: HsmId; stream: number };
    const chunks = this.#unsent;
    this.#unsent = [];
    this.#unsentBytes = 0;
    for (const data of inChunks(chunks)) {
      await this.#line().runOn(hsm, 'stream-update', { stream, data }, call);
    }
  }

  async #begin(call: Call): Promise<void> {
    const { keyId } = this.#open;
    const { stream } = await this.#line().run('stream-open', this.#open, call, keyId);
    if (call.servedBy === undefined) throw fail('DEVICE_ERROR');
    this.#at = { hsm: call.servedBy, stream };
  }

  async #retrying<T>(work: () => Promise<T>, call: Call): Promise<T> {
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await work();
      } catch (error) {
        if (!isKeyspanError(error) || !LOST.has(error.code)) throw error;
        const isSpent = attempt + 1 >= LIMITS.attempts_max || hasPassed(call.deadline);
        if (!this.#isKept || isSpent) throw fail('DEVICE_REMOVED');
        this.#at = undefined;
        this.#unsent = [...this.#kept];
        this.#unsentBytes = this.#keptBytes;
      }
    }
  }
}

/** Many small pieces as few larger ones, none longer than a frame holds. */
export function* inChunks(pieces: readonly Uint8Array[]): Generator<Uint8Array> {
  const max = LIMITS.p11_chunk_max_bytes;
  let waiting: Uint8Array[] = [];
  let bytes = 0;
  for (const piece of pieces) {
    for (let at = 0; at < piece.length; at += max) {
      const part = piece.subarray(at, at + max);
      if (bytes + part.length > max) {
        yield Buffer.concat(waiting);
        waiting = [];
        bytes = 0;
      }
      waiting.push(part);
      bytes += part.length;
    }
  }
  if (bytes > 0) yield Buffer.concat(waiting);
}
