import pkcs11js from 'pkcs11js';
import { KeyspanError } from '../core/errors.js';

/** A loaded PKCS#11 module: its C_ functions, all synchronous. */
export type Cryptoki = pkcs11js.PKCS11;
/**
 * An object, session or slot handle: 8 bytes in the machine's order. It is valid in every thread of
 * the process.
 */
export type Handle = Buffer;
/** Attributes for making or copying an object. */
export type Template = pkcs11js.Template;
export type Mechanism = pkcs11js.Mechanism;

/** What names a structure of mechanism parameters to the binding. */
export const PARAMS = {
  GCM: pkcs11js.CK_PARAMS_AES_GCM_v240,
  RSA_OAEP: pkcs11js.CK_PARAMS_RSA_OAEP,
  RSA_PSS: pkcs11js.CK_PARAMS_RSA_PSS,
  ECDH: pkcs11js.CK_PARAMS_EC_DH,
} as const;

/**
 * Loads a module's shared library.
 * @throws KeyspanError KeyspanConfig when it is no library that can be loaded here
 */
export function loadCryptoki(library: string): Cryptoki {
  try {
    return new pkcs11js.PKCS11(library);
  } catch (cause) {
    throw new KeyspanError('KeyspanConfig', `${library} cannot be loaded as a PKCS#11 module`, {
      cause,
    });
  }
}
