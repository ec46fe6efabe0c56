import { LIMITS } from '../../core/limits.js';
import { usage, type Context } from './context.js';
import { readSigned, writeUnsigned } from './token-files.js';
import { readText } from './user-files.js';

/** What the HSMs gave. */
type Tokens = Parameters<typeof writeUnsigned>[1];

/**
 * Writes the unsigned tokens and waits for the file with the signatures (CloudHSM CLI, "login
 * mfa-token-sign").
 */
export async function signedByUser(
  terminal: Context['terminal'],
  tokens: Tokens,
  path: string,
): Promise<{ token: string; signature: string }[]> {
  writeUnsigned(path, tokens);
  const question = 'Enter signed token file path (press enter if same as the unsigned token file):';
  const answer = (await terminal.question(question))?.trim();
  return readSigned(answer === undefined || answer === '' ? path : answer, tokens);
}

/** The public half of the key that signed, in PEM. */
export async function publicKeyOfUser(terminal: Context['terminal']): Promise<string> {
  const path = (await terminal.question('Enter public key PEM file path:'))?.trim();
  if (path === undefined || path === '') throw usage('No public key was given');
  return readText(path, LIMITS.pem_file_max_bytes);
}
