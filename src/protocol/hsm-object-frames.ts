import { LIMITS } from '../core/limits.js';
import { bytes, flag, int, list, object, oneOf, optional } from './form.js';
import { keyId, stamp } from './hsm-frame-forms.js';
import { keyMaking, keyReference, type KeyFacts, type MadeKey } from './hsm-key-frames.js';

/**
 * The part of an HSM's frames that is PKCS #11's objects: keys with attributes as PKCS #11 has
 * them, and certificates and data objects beside them.
 */
const content = object({
  kind: oneOf('secret-key', 'private-key', 'public-key', 'certificate', 'data'),
  /** of a secret key */
  type: optional(oneOf('aes', 'generic-secret')),
  /**
   * Secret key, certificate, data: its bytes as they are; private key: PKCS #8 in DER; public key:
   * SubjectPublicKeyInfo in DER
   */
  value: bytes({ max: LIMITS.p11_object_max_bytes }),
});

/** The fields of each operation. */
export const objectFields = {
  /** what the login may see, of all classes, in the order of references; or those of `ids` */
  objectFind: object({
    /** an object that is not there, or not to be seen, is left out */
    ids: optional(list(keyId, { max: LIMITS.p11_object_page_max })),
    after: optional(keyReference),
    limit: int({ min: 1, max: LIMITS.p11_object_page_max }),
  }),
  objectCreate: object({ key: keyMaking, content, isSession: optional(flag), stamp }),
  /**
   * Another object with the same key or content. `given`, `extra`, `id` and the templates of `key`
   * name what is not as it was.
   */
  objectCopy: object({ fromId: keyId, key: keyMaking, isSession: optional(flag), stamp }),
  /**
   * The bytes of an object, as `content.value`: of a key only when it is extractable and not
   * sensitive
   */
  objectReveal: object({ keyId }),
} as const;

/** What each operation answers. */
export interface ObjectResults {
  /** a page ends where it was asked to, or where the answer would be too long */
  'object-find': { readonly objects: readonly KeyFacts[]; readonly more: boolean };
  'object-create': MadeKey;
  'object-copy': MadeKey;
  'object-reveal': { readonly value: Uint8Array };
}
