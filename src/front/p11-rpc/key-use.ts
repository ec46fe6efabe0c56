import { CKA } from '../../core/pkcs11.js';
import type { FlagName } from '../../protocol/objects.js';
import { attributeOf } from './attribute-values.js';
import { fail } from './failure.js';
import type { HeldObject } from './held-object.js';
import { CKF_MECHANISM, type MechanismFacts } from './mechanism-table.js';
import type { TokenView } from './token-view.js';

/** What operations with keys are called in a mechanism's facts and in a key's attributes. */
const USES = {
  encrypt: { flag: CKF_MECHANISM.ENCRYPT, classes: ['secret-key', 'public-key'] },
  decrypt: { flag: CKF_MECHANISM.DECRYPT, classes: ['secret-key', 'private-key'] },
  sign: { flag: CKF_MECHANISM.SIGN, classes: ['secret-key', 'private-key'] },
  verify: { flag: CKF_MECHANISM.VERIFY, classes: ['secret-key', 'public-key'] },
  wrap: { flag: CKF_MECHANISM.WRAP, classes: ['secret-key', 'public-key'] },
  unwrap: { flag: CKF_MECHANISM.UNWRAP, classes: ['secret-key', 'private-key'] },
  derive: { flag: CKF_MECHANISM.DERIVE, classes: ['secret-key', 'private-key'] },
} as const satisfies Partial<Record<FlagName, { flag: number; classes: readonly string[] }>>;

export type KeyUse = keyof typeof USES;

/** What is wrong with a key, as the functions for wrapping have it. */
const WORDS = {
  wrap: { handle: 'WRAPPING_KEY_HANDLE_INVALID', type: 'WRAPPING_KEY_TYPE_INCONSISTENT' },
  unwrap: { handle: 'UNWRAPPING_KEY_HANDLE_INVALID', type: 'UNWRAPPING_KEY_TYPE_INCONSISTENT' },
} as const;

/**
 * The key of a handle, fit for a mechanism. An HSM decides once more when the key is used: this
 * says early, and in PKCS #11's words, what it would refuse.
 * @throws P11Failure KEY_HANDLE_INVALID, KEY_TYPE_INCONSISTENT, KEY_FUNCTION_NOT_PERMITTED,
 * MECHANISM_INVALID
 */
export function keyFor(
  view: TokenView,
  handle: number,
  facts: MechanismFacts,
  use: KeyUse,
): HeldObject {
  const { flag, classes } = USES[use];
  const words = use === 'wrap' || use === 'unwrap' ? WORDS[use] : undefined;
  const key = view.objectAt(handle);
  if (!key?.isKey) throw fail(words?.handle ?? 'KEY_HANDLE_INVALID');
  if ((facts.flags & flag) === 0) throw fail('MECHANISM_INVALID');
  const kinds: readonly string[] = classes;
  if (facts.family !== key.family || !kinds.includes(key.facts.object.class)) {
    throw fail(words?.type ?? 'KEY_TYPE_INCONSISTENT');
  }
  if (!key.has(use)) throw fail('KEY_FUNCTION_NOT_PERMITTED');
  const allowed = attributeOf(key, CKA.ALLOWED_MECHANISMS) as readonly number[];
  if (allowed.length > 0 && !allowed.includes(facts.type)) throw fail('MECHANISM_INVALID');
  return key;
}

const CURVE_BYTES: Readonly<Record<string, number>> = {
  secp224r1: 28,
  secp256r1: 32,
  secp384r1: 48,
  secp256k1: 32,
  secp521r1: 66,
  ed25519: 32,
};

/** Bytes of the modulus of an RSA key, of one coordinate of a curve, or of a secret. */
export function keyBytes(key: HeldObject): number {
  const { type, curve, length } = key.facts.object;
  if (type === 'ec') return CURVE_BYTES[curve ?? ''] ?? 0;
  if (type !== 'rsa') return length;
  const modulus = attributeOf(key, CKA.MODULUS);
  return modulus instanceof Uint8Array ? modulus.length : length;
}
