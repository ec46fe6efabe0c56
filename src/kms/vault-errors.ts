import { AssertionError } from '../core/assert.js';
import { isKeyspanError, KeyspanError, type ErrorCode } from '../core/errors.js';

/** What an error that is not AWS's own happened to. */
export interface ErrorPlace {
  readonly action: string;
  /** the ARN of the key, when one was found */
  readonly resource?: string | undefined;
}

const INTERNAL = 'The request could not be completed; it can be tried again.';
export const THROTTLED =
  'You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls.';

/** Ours that are not AWS's begin with the name of the part that they come from. */
const FOREIGN = /^(Vault|Hsm|Store|Keyspan)/;
const DECRYPTING: ReadonlySet<string> = new Set(['Decrypt', 'ReEncrypt']);

/** AWS answers a ciphertext that does not open without a sentence. */
export const invalidCiphertext = (cause?: unknown): KeyspanError =>
  new KeyspanError('InvalidCiphertextException', '', { cause });

/**
 * The one place where what vaults and the store throw becomes what the KMS API answers. AWS's
 * own errors pass; a broken invariant does too, because a door must see it.
 */
export function toKmsError(error: unknown, place: ErrorPlace): KeyspanError | AssertionError {
  if (error instanceof AssertionError) return error;
  if (!isKeyspanError(error)) {
    return new KeyspanError('KMSInternalException', INTERNAL, { cause: error });
  }
  if (!FOREIGN.test(error.code)) return error;
  const { code, sentence } = translate(error, place);
  return new KeyspanError(code, sentence, { cause: error });
}

function translate(
  error: KeyspanError,
  { action, resource }: ErrorPlace,
): { code: ErrorCode; sentence?: string } {
  switch (error.code) {
    case 'VaultUnavailable':
      return { code: 'KeyUnavailableException', sentence: 'No HSM is active. Try again later.' };
    case 'VaultKeyMissing':
      return {
        code: 'KMSInvalidStateException',
        sentence: `${resource ?? 'The key'} is unavailable.`,
      };
    case 'VaultTimeout':
    case 'KeyspanDeadlineExceeded':
      return { code: 'DependencyTimeoutException' };
    case 'VaultBusy':
      return { code: 'ThrottlingException', sentence: THROTTLED };
    case 'VaultDataInvalid':
      return DECRYPTING.has(action)
        ? { code: 'InvalidCiphertextException', sentence: '' }
        : { code: 'KMSInternalException', sentence: INTERNAL };
    case 'VaultNotDurable':
      return {
        code: 'KMSInternalException',
        sentence: 'The key could not be put on enough HSMs. Try again later.',
      };
    default:
      return { code: 'KMSInternalException', sentence: INTERNAL };
  }
}
