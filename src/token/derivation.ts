import { ECDH, createHash } from 'node:crypto';
import { asBuffer, wipe } from '../core/bytes.js';
import { KeyspanError } from '../core/errors.js';
import { CKA, CKK, CKM, CKO } from '../core/pkcs11.js';
import { octetString } from '../core/spki.js';
import { attempt } from './ckr.js';
import { PARAMS } from './cryptoki.js';
import type { EcCurve } from './key-kind.js';
import { destroyObject } from './objects.js';
import type { HashName } from './signing.js';
import type { Handle, Token } from './token.js';

/** The key derivation functions of ECDH (CKD_ numbers; X9.63, SEC 1 3.6.1), by their hashes. */
const KDF: Readonly<Record<number, HashName>> = {
  2: 'sha1',
  5: 'sha224',
  6: 'sha256',
  7: 'sha384',
  8: 'sha512',
};
const CKD_NULL = 1;

const OPENSSL_CURVE: Readonly<Record<EcCurve, string>> = {
  secp224r1: 'secp224r1',
  secp256r1: 'prime256v1',
  secp384r1: 'secp384r1',
  secp256k1: 'secp256k1',
  secp521r1: 'secp521r1',
};

export interface Agreement {
  readonly curve: EcCurve;
  /** CKD_ */
  readonly kdf: number;
  readonly sharedData?: Uint8Array | undefined;
  /** the other's point, raw or in a DER OCTET STRING */
  readonly publicData: Uint8Array;
  /** in bytes; the coordinate's without it */
  readonly length?: number | undefined;
}

/**
 * What two parties agree upon (CKM_ECDH1_DERIVE): the x-coordinate of the product, or what a KDF
 * makes of it. The caller wipes it.
 * @throws KeyspanError HsmMechanismParamInvalid for a point that is not on the curve, a KDF that is
 * none, or more bytes than there are
 */
export function agree(token: Token, key: Handle, agreement: Agreement): Buffer {
  const { kdf, sharedData, length } = agreement;
  const by = KDF[kdf];
  if (kdf !== CKD_NULL && !by) throw new KeyspanError('HsmMechanismParamInvalid');
  const shared = sharedSecret(token, key, pointOn(agreement));
  try {
    if (by) return x963(shared, by, length ?? shared.length, sharedData);
    const bytes = length ?? shared.length;
    if (bytes > shared.length) throw new KeyspanError('HsmMechanismParamInvalid');
    // PKCS #11 takes bytes away from the leading end
    return Buffer.from(shared.subarray(shared.length - bytes));
  } finally {
    wipe(shared);
  }
}

const UNCOMPRESSED = 0x04;

/** The point, uncompressed. */
function pointOn({ publicData, curve }: Agreement): Buffer {
  const given = asBuffer(publicData);
  const name = OPENSSL_CURVE[curve];
  for (const point of [given, inner(given)]) {
    try {
      const known = ECDH.convertKey(point, name, undefined, undefined, 'uncompressed') as Buffer;
      // the point at infinity is one of the curve, and has another form
      if (known[0] === UNCOMPRESSED) return known;
    } catch {
      // the other form
    }
  }
  throw new KeyspanError('HsmMechanismParamInvalid', 'the point is not on the curve');
}

/** What stands in a DER OCTET STRING of less than 256 bytes; all else as it is. */
function inner(der: Buffer): Buffer {
  const header = der[1] === 0x81 ? 3 : 2;
  const isString = der[0] === 0x04 && der[header - 1] === der.length - header;
  return isString ? der.subarray(header) : der;
}

function sharedSecret(token: Token, key: Handle, point: Buffer): Buffer {
  const { cryptoki, anchor } = token;
  // in its OCTET STRING: SoftHSM takes one raw point of 256 for such a string itself
  const publicData = octetString(point);
  const parameter = { type: PARAMS.ECDH, kdf: CKD_NULL, publicData };
  const handle = attempt('C_DeriveKey', () =>
    cryptoki.C_DeriveKey(anchor, { mechanism: CKM.ECDH1_DERIVE, parameter }, key, [
      { type: CKA.CLASS, value: CKO.SECRET_KEY },
      { type: CKA.KEY_TYPE, value: CKK.GENERIC_SECRET },
      { type: CKA.TOKEN, value: false },
      { type: CKA.PRIVATE, value: false },
      { type: CKA.SENSITIVE, value: false },
      { type: CKA.EXTRACTABLE, value: true },
    ]),
  );
  try {
    const [attribute] = attempt('C_GetAttributeValue', () =>
      cryptoki.C_GetAttributeValue(anchor, handle, [{ type: CKA.VALUE }]),
    );
    return attribute?.value as Buffer;
  } finally {
    destroyObject(token, handle);
  }
}

function x963(
  shared: Buffer,
  by: HashName,
  length: number,
  sharedData: Uint8Array = Buffer.alloc(0),
): Buffer {
  const blocks: Buffer[] = [];
  for (let made = 0, count = 1; made < length; count += 1) {
    const counter = Buffer.alloc(4);
    counter.writeUInt32BE(count);
    const block = createHash(by).update(shared).update(counter).update(sharedData).digest();
    blocks.push(block);
    made += block.length;
  }
  const all = Buffer.concat(blocks);
  const key = Buffer.from(all.subarray(0, length));
  wipe(all, ...blocks);
  return key;
}
