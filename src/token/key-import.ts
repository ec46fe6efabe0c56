import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';
import { asBuffer, wipe } from '../core/bytes.js';
import { KeyspanError } from '../core/errors.js';
import { CKA, CKK, CKO } from '../core/pkcs11.js';
import { attempt } from './ckr.js';
import { ED25519_PARAMETERS, curveNamed, type KeyKind } from './key-kind.js';
import type { Handle, Token } from './token.js';

/** What a private key in PKCS #8 is; Ed25519 keys are kept as their seeds. */
export type FoundKey =
  | Extract<KeyKind, { class: 'private-key' }>
  | { readonly class: 'private-key'; readonly type: 'ec'; readonly curve: 'ed25519'; seed: Buffer };

const RSA_BITS = { min: 2_048, max: 4_096, step: 256 };

function parse(pkcs8: Uint8Array): KeyObject {
  try {
    return createPrivateKey({ key: asBuffer(pkcs8), format: 'der', type: 'pkcs8' });
  } catch {
    // no cause: it might tell of the key
    throw new KeyspanError('HsmDataInvalid', 'the data holds no private key');
  }
}

/** @throws KeyspanError HsmDataInvalid for what is no private key that an HSM may hold */
export function kindOfPrivate(pkcs8: Uint8Array): FoundKey {
  const key = parse(pkcs8);
  const { modulusLength = 0, namedCurve } = key.asymmetricKeyDetails ?? {};
  if (key.asymmetricKeyType === 'ed25519') {
    const { d = '' } = key.export({ format: 'jwk' });
    const seed = Buffer.from(d, 'base64url');
    return { class: 'private-key', type: 'ec', curve: 'ed25519', seed };
  }
  const curve = key.asymmetricKeyType === 'ec' ? curveNamed(namedCurve) : undefined;
  if (curve) return { class: 'private-key', type: 'ec', curve };
  const { min, max, step } = RSA_BITS;
  const fits = modulusLength >= min && modulusLength <= max && modulusLength % step === 0;
  if (key.asymmetricKeyType === 'rsa' && fits) return { class: 'private-key', type: 'rsa' };
  throw new KeyspanError('HsmDataInvalid', 'the private key is of no type that an HSM holds');
}

/** SubjectPublicKeyInfo in DER. */
export function spkiOf(pkcs8: Uint8Array): Buffer {
  return createPublicKey(parse(pkcs8)).export({ format: 'der', type: 'spki' });
}

/** What precedes the seed in the PKCS #8 of an Ed25519 key (RFC 8410). */
const ED25519_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex');

/** The PKCS #8 of an Ed25519 key, from its seed of 32 bytes; the caller wipes it. */
export const ed25519Pkcs8 = (seed: Uint8Array): Buffer => Buffer.concat([ED25519_PREFIX, seed]);

/** The public half of an Ed25519 key, from its seed. */
export function ed25519FromSeed(seed: Uint8Array): { readonly spki: Buffer } {
  const pkcs8 = ed25519Pkcs8(seed);
  try {
    return { spki: spkiOf(pkcs8) };
  } finally {
    pkcs8.fill(0);
  }
}

/** An Ed25519 key in memory, from its seed: it signs. */
export function importSeed(token: Token, seed: Uint8Array): Handle {
  return attempt('C_CreateObject', () =>
    token.cryptoki.C_CreateObject(token.anchor, [
      { type: CKA.CLASS, value: CKO.PRIVATE_KEY },
      { type: CKA.KEY_TYPE, value: CKK.EC_EDWARDS },
      { type: CKA.TOKEN, value: false },
      { type: CKA.PRIVATE, value: true },
      { type: CKA.SENSITIVE, value: true },
      { type: CKA.EXTRACTABLE, value: false },
      { type: CKA.SIGN, value: true },
      { type: CKA.EC_PARAMS, value: ED25519_PARAMETERS },
      { type: CKA.VALUE, value: asBuffer(seed) },
    ]),
  );
}

/** The least that HMACs pad their keys to, with zeros (FIPS 198-1). */
const HMAC_BLOCK_BYTES = 64;

/**
 * A generic secret in memory: it makes HMACs. SoftHSM takes no key that is shorter than the hash:
 * such a one is given as HMACs pad it.
 */
export function importSecret(token: Token, secret: Uint8Array): Handle {
  const value = Buffer.alloc(Math.max(HMAC_BLOCK_BYTES, secret.length));
  value.set(secret);
  try {
    return createSecret(token, value);
  } finally {
    wipe(value);
  }
}

function createSecret(token: Token, value: Buffer): Handle {
  return attempt('C_CreateObject', () =>
    token.cryptoki.C_CreateObject(token.anchor, [
      { type: CKA.CLASS, value: CKO.SECRET_KEY },
      { type: CKA.KEY_TYPE, value: CKK.GENERIC_SECRET },
      { type: CKA.TOKEN, value: false },
      { type: CKA.PRIVATE, value: true },
      { type: CKA.SENSITIVE, value: true },
      { type: CKA.EXTRACTABLE, value: false },
      { type: CKA.SIGN, value: true },
      { type: CKA.VERIFY, value: true },
      { type: CKA.VALUE, value },
    ]),
  );
}
