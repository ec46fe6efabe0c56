import { createPrivateKey } from 'node:crypto';
import { KeyspanError, type ErrorCode } from '../core/errors.js';
import { CKR, ckrName } from '../core/pkcs11.js';

/** A PKCS#11 call that did not return CKR_OK: the cause that a KeyspanError of a token carries. */
export class CkrFailure extends Error {
  override readonly name = 'CkrFailure';
  /** the return value */
  readonly ckr: number;

  constructor(ckr: number, call: string) {
    super(`${call}: ${ckrName(ckr)}`);
    this.ckr = ckr;
  }
}

/**
 * How a return value reads to whoever asked the HSM; what is not here is a failure of the
 * token.
 */
const CODES: ReadonlyMap<number, ErrorCode> = new Map([
  [CKR.ENCRYPTED_DATA_INVALID, 'HsmDataInvalid'],
  [CKR.ENCRYPTED_DATA_LEN_RANGE, 'HsmDataInvalid'],
  [CKR.AEAD_DECRYPT_FAILED, 'HsmDataInvalid'],
  [CKR.DATA_INVALID, 'HsmDataInvalid'],
  [CKR.DATA_LEN_RANGE, 'HsmDataInvalid'],
  [CKR.SIGNATURE_INVALID, 'HsmDataInvalid'],
  [CKR.SIGNATURE_LEN_RANGE, 'HsmDataInvalid'],
  [CKR.WRAPPED_KEY_INVALID, 'HsmDataInvalid'],
  [CKR.WRAPPED_KEY_LEN_RANGE, 'HsmDataInvalid'],
  [CKR.KEY_HANDLE_INVALID, 'HsmKeyNotFound'],
  [CKR.OBJECT_HANDLE_INVALID, 'HsmKeyNotFound'],
  [CKR.WRAPPING_KEY_HANDLE_INVALID, 'HsmKeyNotFound'],
  [CKR.UNWRAPPING_KEY_HANDLE_INVALID, 'HsmKeyNotFound'],
  [CKR.KEY_FUNCTION_NOT_PERMITTED, 'HsmUsageRefused'],
  [CKR.KEY_NOT_WRAPPABLE, 'HsmUsageRefused'],
  [CKR.KEY_UNEXTRACTABLE, 'HsmUsageRefused'],
  [CKR.KEY_TYPE_INCONSISTENT, 'HsmUsageRefused'],
  [CKR.ACTION_PROHIBITED, 'HsmUsageRefused'],
  // SoftHSM's answer to a mechanism that CKA_ALLOWED_MECHANISMS does not name
  [CKR.MECHANISM_INVALID, 'HsmUsageRefused'],
  [CKR.SESSION_COUNT, 'HsmBusy'],
  [CKR.TOKEN_RESOURCE_EXCEEDED, 'HsmBusy'],
  [CKR.USER_NOT_LOGGED_IN, 'HsmPhase'],
]);

/**
 * The return value behind an error: one that the binding threw, a CkrFailure, or a KeyspanError
 * that `tokenError` made of one. `undefined` when no PKCS#11 call failed.
 */
export function ckrOf(error: unknown): number | undefined {
  if (error instanceof KeyspanError) return ckrOf(error.cause);
  if (error instanceof CkrFailure) return error.ckr;
  if (!(error instanceof Error)) return undefined;
  // The binding gives most errors a `code`; C_FindObjects throws the bare message CKR_NAME:number.
  if ('code' in error && typeof error.code === 'number' && error.code !== 0) return error.code;
  const match = /^CKR_\w+:(\d+)/.exec(error.message);
  return match ? Number(match[1]) : undefined;
}

/**
 * Turns what `call` threw into the KeyspanError to throw instead. What is no failure of PKCS#11
 * stays what it is: it is a mistake of ours.
 * @param call the C_ function or what it was for; no secrets
 */
export function tokenError(error: unknown, call: string): unknown {
  if (error instanceof KeyspanError) return error;
  const ckr = ckrOf(error);
  if (ckr === undefined) return error;
  forgetOpensslErrors();
  return new KeyspanError(CODES.get(ckr) ?? 'HsmDeviceError', undefined, {
    cause: new CkrFailure(ckr, call),
  });
}

const NO_KEY = Buffer.alloc(0);

/**
 * SoftHSM works with the OpenSSL of this process, and what fails there stays in the thread's queue
 * of errors: the next key that Node reads would then seem to be none. Reading one that is none
 * empties the queue.
 */
export function forgetOpensslErrors(): void {
  try {
    createPrivateKey({ key: NO_KEY, format: 'der', type: 'pkcs8' });
  } catch {
    // that was the point of it
  }
}

/** Runs one PKCS#11 call, its failure mapped. */
export function attempt<T>(call: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    throw tokenError(error, call);
  }
}
