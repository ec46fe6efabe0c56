import { isKeyspanError, KeyspanError } from '../core/errors.js';
import type { Sealer } from '../store/sealed.js';

/** What a token is sealed for: no other value that was sealed is taken for one. */
const PURPOSE = 'kms/grant-token';
/** the first byte of what is sealed */
const VERSION = 1;

/**
 * Grant tokens: each names one grant, is another every time, and only this installation can make
 * one. None is stored, so a grant has any number of them.
 */
export class GrantTokens {
  readonly #sealer: Sealer;

  constructor(sealer: Sealer) {
    this.#sealer = sealer;
  }

  /** @param path where the grant stands in the store */
  issue(path: string): string {
    const content = Buffer.concat([Buffer.of(VERSION), Buffer.from(path, 'utf8')]);
    return Buffer.from(this.#sealer.seal(content, PURPOSE)).toString('base64');
  }

  /**
   * Where the grant stands, or stood.
   * @throws InvalidGrantTokenException
   */
  read(token: string): string {
    const content = this.#open(token);
    if (content?.[0] === VERSION) return content.toString('utf8', 1);
    throw new KeyspanError('InvalidGrantTokenException');
  }

  #open(token: string): Buffer | undefined {
    try {
      return Buffer.from(this.#sealer.open(Buffer.from(token, 'base64'), PURPOSE));
    } catch (error) {
      if (isKeyspanError(error, 'StoreCorrupt')) return undefined;
      throw error;
    }
  }
}
