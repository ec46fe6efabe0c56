import { KeyspanError, isKeyspanError } from '../../core/errors.js';
import { CKR, ckrName } from '../../core/pkcs11.js';

/** A PKCS #11 call that does not return CKR_OK. */
export class P11Failure extends Error {
  override readonly name = 'P11Failure';
  /** the return value */
  readonly rv: number;

  constructor(rv: number) {
    super(ckrName(rv));
    this.rv = rv;
  }
}

export const fail = (name: keyof typeof CKR): P11Failure => new P11Failure(CKR[name]);

/** What HSMs and the cluster answer, in PKCS #11's terms, where an operation has no better one. */
const CODES: Readonly<Record<string, keyof typeof CKR>> = {
  HsmAttributeRefused: 'ATTRIBUTE_VALUE_INVALID',
  HsmBusy: 'DEVICE_MEMORY',
  HsmCredentialsRefused: 'PIN_INCORRECT',
  HsmDataInvalid: 'DATA_INVALID',
  HsmDeadlineExceeded: 'DEVICE_ERROR',
  HsmKeyNotFound: 'OBJECT_HANDLE_INVALID',
  HsmMechanismInvalid: 'MECHANISM_INVALID',
  HsmMechanismParamInvalid: 'MECHANISM_PARAM_INVALID',
  HsmMfaRequired: 'FUNCTION_REJECTED',
  HsmNotLoggedIn: 'USER_NOT_LOGGED_IN',
  HsmQuorumRequired: 'ACTION_PROHIBITED',
  HsmRoleRefused: 'ACTION_PROHIBITED',
  HsmUsageRefused: 'KEY_FUNCTION_NOT_PERMITTED',
  HsmUserLocked: 'PIN_LOCKED',
  HsmUserNotFound: 'PIN_INCORRECT',
  VaultBusy: 'DEVICE_MEMORY',
  // the only HSM that had it is gone
  VaultKeyMissing: 'DEVICE_REMOVED',
  VaultNotDurable: 'DEVICE_ERROR',
  VaultTimeout: 'DEVICE_ERROR',
  VaultUnavailable: 'DEVICE_REMOVED',
};

/**
 * The return value of what a call threw; undefined for a mistake of ours.
 * @param own the better word that this operation has for some codes
 */
export function returnValue(
  error: unknown,
  own: Readonly<Record<string, keyof typeof CKR>> = {},
): number | undefined {
  if (error instanceof P11Failure) return error.rv;
  if (!isKeyspanError(error)) return undefined;
  const name = own[error.code] ?? CODES[error.code] ?? 'DEVICE_ERROR';
  return CKR[name];
}

/** Has the failures of some work say what this operation calls them. */
export async function inTermsOf<T>(
  own: Readonly<Record<string, keyof typeof CKR>>,
  work: Promise<T>,
): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof KeyspanError)) throw error;
    const name = own[error.code];
    throw name === undefined ? error : fail(name);
  }
}
