import { KeyspanError } from '../core/errors.js';
import type { HsmKeyId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import type { PieceWise } from '../token/data-signature.js';

/** A digest or MAC under way. */
export interface Stream {
  readonly session: number;
  readonly purpose: 'digest' | 'sign' | 'verify';
  readonly work: PieceWise;
  /** of a MAC, which keeps a session of the token */
  readonly keyId?: HsmKeyId | undefined;
}

/** What logins digest in pieces. A stream ends with its login. */
export class Streams {
  readonly #streams = new Map<number, Stream>();
  #next = 1;

  get size(): number {
    return this.#streams.size;
  }

  /**
   * @param begin begins the work, once there is room for it
   * @throws KeyspanError HsmBusy when there are as many as there may be
   */
  open(about: Pick<Stream, 'session' | 'purpose' | 'keyId'>, begin: () => PieceWise): number {
    const { session } = about;
    const isMac = about.keyId !== undefined;
    const all = [...this.#streams.values()];
    const own = all.filter((one) => one.session === session).length;
    const macs = all.filter((one) => one.keyId !== undefined).length;
    const isFull =
      all.length >= LIMITS.p11_streams_total_max ||
      own >= LIMITS.p11_streams_max ||
      (isMac && macs >= LIMITS.p11_mac_streams_max);
    if (isFull) throw new KeyspanError('HsmBusy', 'there are as many streams as there may be');
    const id = this.#next;
    this.#next += 1;
    this.#streams.set(id, { ...about, work: begin() });
    return id;
  }

  /** @throws KeyspanError HsmKeyNotFound for one that is not the login's */
  get(session: number, id: number): Stream {
    const stream = this.#streams.get(id);
    if (stream?.session === session) return stream;
    throw new KeyspanError('HsmKeyNotFound', 'there is no such stream');
  }

  /** It came to its end. @throws as `get` */
  take(session: number, id: number): Stream {
    const stream = this.get(session, id);
    this.#streams.delete(id);
    return stream;
  }

  /** The login is over. */
  end(session: number): void {
    for (const [id, stream] of this.#streams) {
      if (stream.session !== session) continue;
      this.#streams.delete(id);
      stream.work.close();
    }
  }
}
