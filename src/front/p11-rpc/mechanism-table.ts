import { CKM, CKR } from '../../core/pkcs11.js';

/** Flags of CK_MECHANISM_INFO (PKCS #11 2.40, 3.4). */
export const CKF_MECHANISM = {
  HW: 0x1,
  ENCRYPT: 0x100,
  DECRYPT: 0x200,
  DIGEST: 0x400,
  SIGN: 0x800,
  VERIFY: 0x2000,
  GENERATE: 0x8000,
  GENERATE_KEY_PAIR: 0x1_0000,
  WRAP: 0x2_0000,
  UNWRAP: 0x4_0000,
  DERIVE: 0x8_0000,
  EC_F_P: 0x10_0000,
  EC_NAMED: 0x80_0000,
  EC_UNCOMPRESSED: 0x100_0000,
} as const;

export type HashName = 'sha1' | 'sha224' | 'sha256' | 'sha384' | 'sha512';

/** Which keys a mechanism works with. */
export type KeyFamily = 'aes' | 'rsa' | 'ec' | 'edwards' | 'generic-secret' | 'none';

/** How a mechanism takes what comes in pieces. */
export type Pieces =
  /** it does not: one whole operation only */
  | 'never'
  /** the data is hashed or goes into a MAC */
  | 'hashed'
  /** block after block */
  | 'blocks'
  /** all at the end, since only then is it known to be right */
  | 'gathered';

export interface MechanismFacts {
  readonly type: number;
  readonly family: KeyFamily;
  /** bits of CKF_MECHANISM */
  readonly flags: number;
  /** sizes of keys, in the unit that the standard names for the mechanism */
  readonly min: number;
  readonly max: number;
  /** of the parameter; `none`: it has none */
  readonly parameter: 'none' | 'iv' | 'ctr' | 'gcm' | 'oaep' | 'pss' | 'length' | 'ecdh';
  readonly pieces: Pieces;
  /** the hash of the data, or of the MAC */
  readonly hash?: HashName | undefined;
}

const {
  HW,
  ENCRYPT,
  DECRYPT,
  DIGEST,
  SIGN,
  VERIFY,
  GENERATE,
  GENERATE_KEY_PAIR,
  WRAP,
  UNWRAP,
  DERIVE,
  EC_F_P,
  EC_NAMED,
  EC_UNCOMPRESSED,
} = CKF_MECHANISM;
const CIPHER = ENCRYPT | DECRYPT;
const SIGNS = SIGN | VERIFY;
const WRAPS = WRAP | UNWRAP;
const CURVE = EC_F_P | EC_NAMED | EC_UNCOMPRESSED;
const RSA = { family: 'rsa', min: 2_048, max: 4_096 } as const;
const EC = { family: 'ec', min: 224, max: 521 } as const;
const EDWARDS = { family: 'edwards', min: 255, max: 255 } as const;
const AES = { family: 'aes', min: 16, max: 32 } as const;
const SECRET = { family: 'generic-secret', min: 1, max: 800 } as const;
const NO_KEY = { family: 'none', min: 0, max: 0 } as const;

type Rest = Partial<Pick<MechanismFacts, 'parameter' | 'pieces' | 'hash'>>;
const one = (
  type: number,
  keys: Pick<MechanismFacts, 'family' | 'min' | 'max'>,
  flags: number,
  rest: Rest = {},
): MechanismFacts => ({
  type,
  ...keys,
  flags: flags | HW,
  parameter: 'none',
  pieces: 'never',
  ...rest,
});

const HASHES = ['sha1', 'sha224', 'sha256', 'sha384', 'sha512'] as const;
const DIGESTS = [CKM.SHA_1, CKM.SHA224, CKM.SHA256, CKM.SHA384, CKM.SHA512];
const RSA_SIGNATURES = [
  CKM.SHA1_RSA_PKCS,
  CKM.SHA224_RSA_PKCS,
  CKM.SHA256_RSA_PKCS,
  CKM.SHA384_RSA_PKCS,
  CKM.SHA512_RSA_PKCS,
];
const PSS_SIGNATURES = [
  CKM.SHA1_RSA_PKCS_PSS,
  CKM.SHA224_RSA_PKCS_PSS,
  CKM.SHA256_RSA_PKCS_PSS,
  CKM.SHA384_RSA_PKCS_PSS,
  CKM.SHA512_RSA_PKCS_PSS,
];
const EC_SIGNATURES = [
  CKM.ECDSA_SHA1,
  CKM.ECDSA_SHA224,
  CKM.ECDSA_SHA256,
  CKM.ECDSA_SHA384,
  CKM.ECDSA_SHA512,
];
const HMACS = [CKM.SHA_1_HMAC, CKM.SHA224_HMAC, CKM.SHA256_HMAC, CKM.SHA384_HMAC, CKM.SHA512_HMAC];
const GENERAL_HMACS = [
  CKM.SHA_1_HMAC_GENERAL,
  CKM.SHA224_HMAC_GENERAL,
  CKM.SHA256_HMAC_GENERAL,
  CKM.SHA384_HMAC_GENERAL,
  CKM.SHA512_HMAC_GENERAL,
];

const HASHED = 'hashed';
/** The five mechanisms that differ in their hash. */
const five = (
  types: readonly number[],
  make: (type: number, hash: HashName) => MechanismFacts,
): readonly MechanismFacts[] => HASHES.map((hash, at) => make(types[at] ?? 0, hash));

/** What an HSM can do, as applications see it. */
const ALL: readonly MechanismFacts[] = [
  one(CKM.RSA_PKCS_KEY_PAIR_GEN, RSA, GENERATE_KEY_PAIR),
  one(CKM.RSA_PKCS, RSA, CIPHER | SIGNS | WRAPS),
  one(CKM.RSA_X_509, RSA, CIPHER | SIGNS),
  one(CKM.RSA_PKCS_OAEP, RSA, CIPHER | WRAPS, { parameter: 'oaep' }),
  one(CKM.RSA_PKCS_PSS, RSA, SIGNS, { parameter: 'pss' }),
  ...five(RSA_SIGNATURES, (type, hash) => one(type, RSA, SIGNS, { pieces: HASHED, hash })),
  ...five(PSS_SIGNATURES, (type, hash) =>
    one(type, RSA, SIGNS, { parameter: 'pss', pieces: HASHED, hash }),
  ),
  one(CKM.EC_KEY_PAIR_GEN, EC, GENERATE_KEY_PAIR | CURVE),
  one(CKM.ECDSA, EC, SIGNS | CURVE),
  ...five(EC_SIGNATURES, (type, hash) => one(type, EC, SIGNS | CURVE, { pieces: HASHED, hash })),
  one(CKM.ECDH1_DERIVE, EC, DERIVE | CURVE, { parameter: 'ecdh' }),
  one(CKM.EC_EDWARDS_KEY_PAIR_GEN, EDWARDS, GENERATE_KEY_PAIR),
  one(CKM.EDDSA, EDWARDS, SIGNS),
  one(CKM.GENERIC_SECRET_KEY_GEN, SECRET, GENERATE),
  one(CKM.AES_KEY_GEN, AES, GENERATE),
  one(CKM.AES_ECB, AES, CIPHER, { pieces: 'blocks' }),
  one(CKM.AES_CBC, AES, CIPHER, { pieces: 'blocks', parameter: 'iv' }),
  one(CKM.AES_CBC_PAD, AES, CIPHER, { pieces: 'blocks', parameter: 'iv' }),
  one(CKM.AES_CTR, AES, CIPHER, { pieces: 'blocks', parameter: 'ctr' }),
  one(CKM.AES_GCM, AES, CIPHER, { pieces: 'gathered', parameter: 'gcm' }),
  one(CKM.AES_CMAC, AES, SIGNS, { pieces: HASHED }),
  one(CKM.AES_CMAC_GENERAL, AES, SIGNS, { pieces: HASHED, parameter: 'length' }),
  one(CKM.AES_KEY_WRAP, AES, WRAPS),
  one(CKM.AES_KEY_WRAP_PAD, AES, WRAPS),
  ...five(DIGESTS, (type, hash) => one(type, NO_KEY, DIGEST, { pieces: HASHED, hash })),
  ...five(HMACS, (type, hash) => one(type, SECRET, SIGNS, { pieces: HASHED, hash })),
  ...five(GENERAL_HMACS, (type, hash) =>
    one(type, SECRET, SIGNS, { parameter: 'length', pieces: HASHED, hash }),
  ),
];

export const MECHANISMS: ReadonlyMap<number, MechanismFacts> = new Map(
  ALL.map((facts) => [facts.type, facts]),
);

/** Bytes of each hash (FIPS 180-4). */
export const HASH_BYTES: Readonly<Record<HashName, number>> = {
  sha1: 20,
  sha224: 28,
  sha256: 32,
  sha384: 48,
  sha512: 64,
};

/** What AWS's client SDK 5 has (AWS CloudHSM User Guide, "Supported mechanisms"). */
const NOT_IN_CLOUDHSM: ReadonlySet<number> = new Set([
  CKM.AES_CMAC_GENERAL,
  CKM.EC_EDWARDS_KEY_PAIR_GEN,
  CKM.EDDSA,
  ...GENERAL_HMACS,
]);

export type Profile = 'pkcs11' | 'cloudhsm';

/** Calls that AWS's client SDK 5 does not have (User Guide, "Supported API operations"). */
export const CALLS_NOT_IN_CLOUDHSM: ReadonlySet<string> = new Set([
  'C_CopyObject',
  'C_DigestKey',
  'C_GetObjectSize',
  'C_LoginUser',
  'C_SeedRandom',
  'C_SessionCancel',
  'C_SetAttributeValue',
  'C_SetPIN',
]);

/** The mechanisms of a profile that a client can carry. */
export const mechanismsFor = (
  profile: Profile,
  carried: ReadonlySet<number>,
): readonly MechanismFacts[] =>
  ALL.filter(
    ({ type }) => carried.has(type) && !(profile === 'cloudhsm' && NOT_IN_CLOUDHSM.has(type)),
  );

export const OK = CKR.OK;
