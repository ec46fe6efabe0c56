/** Curves that this token has, by OpenSSL's names (`secp256r1` is P-256). */
export type EcCurve = 'secp224r1' | 'secp256r1' | 'secp384r1' | 'secp256k1' | 'secp521r1';

/** What a key is to the token: keys that are none of these are kept as bytes. */
export type KeyKind =
  | { readonly class: 'secret-key'; readonly type: 'aes'; readonly lengthBytes: 16 | 24 | 32 }
  | { readonly class: 'private-key'; readonly type: 'rsa' }
  | { readonly class: 'private-key'; readonly type: 'ec'; readonly curve: EcCurve };

export const AES_256: KeyKind = { class: 'secret-key', type: 'aes', lengthBytes: 32 };

/** CKA_EC_PARAMS of each curve: its object identifier in DER (RFC 5480, SEC 2). */
export const EC_PARAMETERS: Readonly<Record<EcCurve, Buffer>> = {
  secp224r1: Buffer.from('06052b81040021', 'hex'),
  secp256r1: Buffer.from('06082a8648ce3d030107', 'hex'),
  secp384r1: Buffer.from('06052b81040022', 'hex'),
  secp256k1: Buffer.from('06052b8104000a', 'hex'),
  secp521r1: Buffer.from('06052b81040023', 'hex'),
};

/** CKA_EC_PARAMS of Ed25519, as SoftHSM knows it: the curve's name as a PrintableString. */
export const ED25519_PARAMETERS = Buffer.from('130c656477617264733235353139', 'hex');

/** OpenSSL's names of curves, where they are not ours. */
const NAMES: Readonly<Record<string, EcCurve>> = {
  secp224r1: 'secp224r1',
  prime256v1: 'secp256r1',
  secp384r1: 'secp384r1',
  secp256k1: 'secp256k1',
  secp521r1: 'secp521r1',
};

/** The curve of what node:crypto calls so. */
export const curveNamed = (name: string | undefined): EcCurve | undefined =>
  name === undefined ? undefined : NAMES[name];
