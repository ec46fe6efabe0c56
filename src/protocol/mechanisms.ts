/** What signs, and what wraps keys, by CloudHSM's names (CloudHSM CLI, `crypto`, `key wrap`). */
export const HASHES = ['sha1', 'sha224', 'sha256', 'sha384', 'sha512'] as const;
export type Hash = (typeof HASHES)[number];

export const SIGN_MECHANISMS = [
  'rsa-pkcs',
  'rsa-pkcs-pss',
  'ecdsa',
  'ed25519',
  'ed25519ph',
] as const;

export const WRAP_MECHANISMS = [
  'aes-gcm',
  'aes-no-pad',
  'aes-pkcs5-pad',
  'aes-zero-pad',
  'cloudhsm-aes-gcm',
  'rsa-aes',
  'rsa-oaep',
  'rsa-pkcs',
] as const;

/** What a key that is unwrapped is to be (CloudHSM CLI, `--key-type-class`). */
export const UNWRAP_KINDS = ['aes', 'generic-secret', 'rsa-private', 'ec-private'] as const;
export type UnwrapKind = (typeof UNWRAP_KINDS)[number];
