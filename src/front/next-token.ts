import { KeyspanError } from '../core/errors.js';

/** A token begins with the version of its form. */
const VERSION = '1:';
const TOKEN = /^[A-Za-z0-9_-]+$/;

/** What an answer gives, so that the next request goes on behind `last`. */
export const formatToken = (last: string): string =>
  Buffer.from(VERSION + last, 'utf8').toString('base64url');

/**
 * What the page before ended with.
 * @throws CloudHsmInvalidRequestException when the token is not one that was handed out
 */
export function readToken(token: string | undefined): string | undefined {
  if (token === undefined) return undefined;
  const text = TOKEN.test(token) ? Buffer.from(token, 'base64url').toString('utf8') : '';
  if (text.startsWith(VERSION)) return text.slice(VERSION.length);
  throw new KeyspanError('CloudHsmInvalidRequestException', 'The NextToken is not valid.');
}
