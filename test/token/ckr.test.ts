import { expect, test } from 'vitest';
import { isKeyspanError, KeyspanError } from '../../src/core/errors.js';
import { CKR } from '../../src/core/pkcs11.js';
import { attempt, CkrFailure, ckrOf, tokenError } from '../../src/token/ckr.js';

/** What the binding throws: an error with a code, or from C_FindObjects a bare message. */
const thrown = (code: number): Error => Object.assign(new Error('CKR_SOMETHING'), { code });

test.each([
  [CKR.ENCRYPTED_DATA_INVALID, 'HsmDataInvalid'],
  [CKR.WRAPPED_KEY_INVALID, 'HsmDataInvalid'],
  [CKR.KEY_HANDLE_INVALID, 'HsmKeyNotFound'],
  [CKR.OBJECT_HANDLE_INVALID, 'HsmKeyNotFound'],
  [CKR.KEY_FUNCTION_NOT_PERMITTED, 'HsmUsageRefused'],
  [CKR.KEY_NOT_WRAPPABLE, 'HsmUsageRefused'],
  [CKR.SESSION_COUNT, 'HsmBusy'],
  [CKR.USER_NOT_LOGGED_IN, 'HsmPhase'],
  [CKR.GENERAL_ERROR, 'HsmDeviceError'],
  [CKR.DEVICE_REMOVED, 'HsmDeviceError'],
  [CKR.PIN_INCORRECT, 'HsmDeviceError'],
  [0x8000_0001, 'HsmDeviceError'],
])('return value %i reads as %s', (ckr, code) => {
  const error = tokenError(thrown(ckr), 'C_Encrypt');
  expect(isKeyspanError(error) && error.code).toBe(code);
  expect(ckrOf(error)).toBe(ckr);
});

test('the cause names the call and the return value, the public sentence does not', () => {
  const error = tokenError(thrown(CKR.DEVICE_ERROR), 'C_Encrypt') as KeyspanError;
  expect((error.cause as Error).message).toBe('C_Encrypt: CKR_DEVICE_ERROR');
  expect(error.message).toBe('the token failed');
});

test('a bare message of the binding is understood', () => {
  expect(ckrOf(new Error('CKR_SESSION_HANDLE_INVALID:179'))).toBe(CKR.SESSION_HANDLE_INVALID);
});

test('what is no failure of PKCS#11 stays what it is', () => {
  for (const mistake of [new TypeError('Argument 1 has wrong type'), 'text', undefined]) {
    expect(ckrOf(mistake)).toBeUndefined();
    expect(tokenError(mistake, 'C_Encrypt')).toBe(mistake);
  }
  const own = new KeyspanError('HsmBusy');
  expect(tokenError(own, 'C_Encrypt')).toBe(own);
});

test('attempt passes results through and maps failures', () => {
  expect(attempt('C_Sign', () => 7)).toBe(7);
  expect(() =>
    attempt('C_Sign', () => {
      throw new CkrFailure(CKR.SESSION_COUNT, 'C_OpenSession');
    }),
  ).toThrow(expect.objectContaining({ code: 'HsmBusy' }));
});
