import { createCipheriv, createDecipheriv } from 'node:crypto';
import { wipe } from '../core/bytes.js';
import { KeyspanError } from '../core/errors.js';
import { CKA, CKK, CKO } from '../core/pkcs11.js';
import { attempt } from './ckr.js';
import type { KeyKind } from './key-kind.js';
import { destroyObject } from './objects.js';
import { openly, storedKey } from './template.js';
import type { Handle, Token } from './token.js';
import { unwrapInMemory, wrapKey } from './wrapping.js';

/**
 * How key bytes come into the token and out of it, within this process: under a key that is made
 * for it, is known to the token and to the process alone, and ends with both. The token takes and
 * gives private keys in no other form that is whole (PKCS #8).
 */
interface Carrier {
  readonly bytes: Buffer;
  readonly handle: Handle;
}

const carriers = new WeakMap<Token, Carrier>();
const CARRIER_BYTES = 32;

function carrierOf(token: Token): Carrier {
  const known = carriers.get(token);
  if (known) return known;
  const bytes = token.random(CARRIER_BYTES);
  const template = [
    { type: CKA.CLASS, value: CKO.SECRET_KEY },
    { type: CKA.KEY_TYPE, value: CKK.AES },
    { type: CKA.TOKEN, value: false },
    { type: CKA.PRIVATE, value: true },
    { type: CKA.SENSITIVE, value: true },
    { type: CKA.EXTRACTABLE, value: false },
    { type: CKA.WRAP, value: true },
    { type: CKA.UNWRAP, value: true },
    { type: CKA.VALUE, value: bytes },
  ];
  const handle = attempt('C_CreateObject', () =>
    token.cryptoki.C_CreateObject(token.anchor, template),
  );
  const carrier = { bytes, handle };
  carriers.set(token, carrier);
  return carrier;
}

const KWP = 'id-aes256-wrap-pad';
/** The alternative initial value of RFC 5649. */
const KWP_IV = Buffer.from('a65959a6', 'hex');

/**
 * An object of the token's memory from the bytes of a key, with the attributes that it will have on
 * the token.
 * @param bytes AES: the key; RSA and EC: PKCS #8 in DER
 * @throws KeyspanError HsmDataInvalid when they are no key of this kind
 */
export function importKey(token: Token, kind: KeyKind, bytes: Uint8Array): Handle {
  const { bytes: by, handle } = carrierOf(token);
  const cipher = createCipheriv(KWP, by, KWP_IV);
  const blob = Buffer.concat([cipher.update(bytes), cipher.final()]);
  return unwrapInMemory(token, handle, blob, storedKey(kind, { place: 'session' }));
}

/**
 * The bytes of a key, for this process alone; the caller wipes them. The key itself stays as it is.
 * @param maskWrap the trusted key that every user's key may be wrapped with
 * @returns as `importKey` takes them
 */
export function exposeKey(token: Token, maskWrap: Handle, key: Handle, kind: KeyKind): Buffer {
  const { bytes: by, handle } = carrierOf(token);
  const masked = wrapKey(token, maskWrap, key);
  const template = openly(storedKey(kind, { place: 'session' }));
  const open = unwrapInMemory(token, maskWrap, masked, template);
  try {
    const decipher = createDecipheriv(KWP, by, KWP_IV);
    const first = decipher.update(wrapKey(token, handle, open));
    try {
      return Buffer.concat([first, decipher.final()]);
    } finally {
      wipe(first);
    }
  } catch (cause) {
    if (cause instanceof KeyspanError) throw cause;
    throw new KeyspanError('HsmDeviceError', undefined, { cause });
  } finally {
    destroyObject(token, open);
  }
}
