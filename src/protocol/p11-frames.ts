import { LIMITS } from '../core/limits.js';
import { P11WireError } from './p11-wire.js';

/** One frame of either direction. */
export interface P11Frame {
  /** chosen by the client for each call, never 0; the reply bears it too */
  readonly code: number;
  /** the name of the client's module; empty in replies */
  readonly options: Buffer;
  readonly body: Buffer;
}

const HEAD_BYTES = 12;

/**
 * Cuts a stream into frames: what follows the byte of the version. Frames that are whole in one
 * chunk share its memory; others are gathered in memory that grows with what arrives, not with what
 * is claimed, so that a large body is copied a few times at most however small its pieces.
 */
export class P11FrameReader {
  #held: Buffer = Buffer.alloc(0);
  #length = 0;
  /** bytes from which there is something to do: a head, or the whole frame behind it */
  #needed = HEAD_BYTES;

  /** whether a frame has begun that is not whole */
  get partial(): boolean {
    return this.#length > 0;
  }

  /**
   * The frames that `chunk` ends.
   * @throws P11WireError a length is over its bound or a code is 0: the stream cannot be read on
   */
  push(chunk: Buffer): P11Frame[] {
    let bytes = chunk;
    if (this.#length > 0) {
      this.#hold(chunk);
      if (this.#length < this.#needed) return [];
      bytes = this.#held.subarray(0, this.#length);
    }
    const frames: P11Frame[] = [];
    let at = 0;
    let needed = HEAD_BYTES;
    while (bytes.length - at >= HEAD_BYTES) {
      needed = frameLength(bytes, at);
      if (bytes.length - at < needed) break;
      frames.push(frameAt(bytes, at, needed));
      at += needed;
      needed = HEAD_BYTES;
    }
    this.#keep(bytes, at, needed);
    return frames;
  }

  /** What is left of `bytes` waits for more. Memory that frames share is not written to again. */
  #keep(bytes: Buffer, at: number, needed: number): void {
    this.#needed = needed;
    if (at === 0 && this.#length > 0) return;
    this.#held = Buffer.alloc(0);
    this.#length = 0;
    if (at < bytes.length) this.#hold(bytes.subarray(at));
  }

  #hold(chunk: Buffer): void {
    const length = this.#length + chunk.length;
    if (length > this.#held.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(length, this.#held.length * 2));
      grown.set(this.#held.subarray(0, this.#length));
      this.#held = grown;
    }
    this.#held.set(chunk, this.#length);
    this.#length = length;
  }
}

/** The length of the frame whose head stands at `at`, its head included. */
function frameLength(bytes: Buffer, at: number): number {
  const options = bytes.readUInt32BE(at + 4);
  const body = bytes.readUInt32BE(at + 8);
  if (bytes.readUInt32BE(at) === 0) throw new P11WireError('a call has the code 0');
  if (options > LIMITS.p11_options_max_bytes) {
    throw new P11WireError(`options of ${options} bytes are over the bound`);
  }
  if (body > LIMITS.p11_body_max_bytes) {
    throw new P11WireError(`a body of ${body} bytes is over the bound`);
  }
  return HEAD_BYTES + options + body;
}

function frameAt(bytes: Buffer, at: number, length: number): P11Frame {
  const bodyAt = at + HEAD_BYTES + bytes.readUInt32BE(at + 4);
  return {
    code: bytes.readUInt32BE(at),
    options: bytes.subarray(at + HEAD_BYTES, bodyAt),
    body: bytes.subarray(bodyAt, at + length),
  };
}
