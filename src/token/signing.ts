import { createPublicKey, hash } from 'node:crypto';
import { asBuffer } from '../core/bytes.js';
import { KeyspanError } from '../core/errors.js';
import { octetString, pointOf, rsaPartsOf } from '../core/spki.js';
import { CKA, CKK, CKM, CKO, CKR } from '../core/pkcs11.js';
import { attempt, ckrOf } from './ckr.js';
import { PARAMS, type Mechanism, type Template } from './cryptoki.js';
import { ED25519_PARAMETERS, EC_PARAMETERS, curveNamed } from './key-kind.js';
import { ECDSA, RSA_PKCS } from './mechanism.js';
import type { Handle, Token } from './token.js';

export type HashName = 'sha1' | 'sha224' | 'sha256' | 'sha384' | 'sha512';

export type SignMechanism =
  | { readonly name: 'rsa-pkcs' | 'ecdsa'; readonly hash: HashName }
  | {
      readonly name: 'rsa-pkcs-pss';
      readonly hash: HashName;
      readonly mgf: HashName;
      /** in bytes */
      readonly saltLength: number;
    }
  | { readonly name: 'ed25519' | 'ed25519ph' };

interface Hash {
  readonly bytes: number;
  readonly mechanism: number;
  /** PKCS #1 v1.5 with the hash, by the token */
  readonly rsaPkcs: Mechanism;
  /** CK_RSA_PKCS_MGF_TYPE */
  readonly mgf: number;
  /** what precedes the digest in a DigestInfo (RFC 8017, 9.2) */
  readonly prefix: Buffer;
}

const prefix = (hex: string): Buffer => Buffer.from(hex, 'hex');

/** The hashes that signatures are made with (FIPS 180-4). */
export const HASHES: Readonly<Record<HashName, Hash>> = {
  sha1: {
    bytes: 20,
    mechanism: CKM.SHA_1,
    rsaPkcs: { mechanism: CKM.SHA1_RSA_PKCS },
    mgf: 1,
    prefix: prefix('3021300906052b0e03021a05000414'),
  },
  sha224: {
    bytes: 28,
    mechanism: CKM.SHA224,
    rsaPkcs: { mechanism: CKM.SHA224_RSA_PKCS },
    mgf: 5,
    prefix: prefix('302d300d06096086480165030402040500041c'),
  },
  sha256: {
    bytes: 32,
    mechanism: CKM.SHA256,
    rsaPkcs: { mechanism: CKM.SHA256_RSA_PKCS },
    mgf: 2,
    prefix: prefix('3031300d060960864801650304020105000420'),
  },
  sha384: {
    bytes: 48,
    mechanism: CKM.SHA384,
    rsaPkcs: { mechanism: CKM.SHA384_RSA_PKCS },
    mgf: 3,
    prefix: prefix('3041300d060960864801650304020205000430'),
  },
  sha512: {
    bytes: 64,
    mechanism: CKM.SHA512,
    rsaPkcs: { mechanism: CKM.SHA512_RSA_PKCS },
    mgf: 4,
    prefix: prefix('3051300d060960864801650304020305000440'),
  },
};

const EDDSA: Mechanism = { mechanism: CKM.EDDSA };
/** of RSA-4096; EC and Ed25519 signatures are shorter */
const SIGNATURE_MAX_BYTES = 512;

/**
 * Signs in the token. Data is hashed here but for `rsa-pkcs`: the token has not all hashes for all
 * keys.
 * @param how `digested`: `data` is the digest; for `rsa-pkcs` the DigestInfo in DER, as CloudHSM
 * has it
 * @returns ECDSA: r and s, one behind the other, as PKCS #11 has it
 * @throws KeyspanError HsmDataInvalid for a digest of another length, HsmUsageRefused
 */
export function sign(
  token: Token,
  key: Handle,
  mechanism: SignMechanism,
  data: Uint8Array,
  how: { readonly digested: boolean },
): Buffer {
  const hashes = mechanism.name === 'rsa-pkcs' && !how.digested;
  const by = hashes ? HASHES[mechanism.hash].rsaPkcs : mechanismOf(mechanism);
  const input = hashes ? asBuffer(data) : inputOf(mechanism, data, how.digested);
  const { cryptoki, sessions } = token;
  const made = Buffer.allocUnsafe(SIGNATURE_MAX_BYTES);
  return sessions.operate(
    'C_Sign',
    (session) => cryptoki.C_SignInit(session, by, key),
    (session) => cryptoki.C_Sign(session, input, made),
  );
}

/** What the token signs. */
function inputOf(mechanism: SignMechanism, data: Uint8Array, digested: boolean): Buffer {
  if (!('hash' in mechanism)) {
    if (mechanism.name === 'ed25519') return asBuffer(data);
    throw new KeyspanError('HsmUsageRefused', 'the token has no Ed25519ph');
  }
  const { bytes, prefix: info } = HASHES[mechanism.hash];
  if (!digested) {
    const digest = hash(mechanism.hash, data, 'buffer');
    return mechanism.name === 'rsa-pkcs' ? Buffer.concat([info, digest]) : digest;
  }
  const given = asBuffer(data);
  const isInfo = mechanism.name === 'rsa-pkcs';
  const fits = isInfo
    ? given.length === info.length + bytes && given.subarray(0, info.length).equals(info)
    : given.length === bytes;
  if (fits) return given;
  const what = isInfo ? `DigestInfo of ${mechanism.hash}` : `digest of ${bytes} bytes`;
  throw new KeyspanError('HsmDataInvalid', `the data is no ${what}`);
}

function mechanismOf(mechanism: SignMechanism): Mechanism {
  if (mechanism.name === 'rsa-pkcs') return RSA_PKCS;
  if (mechanism.name === 'ecdsa') return ECDSA;
  if (mechanism.name !== 'rsa-pkcs-pss') return EDDSA;
  const { hash: hashName, mgf, saltLength } = mechanism;
  // SoftHSM has one hash for both, and another one would look like a failure of the token
  if (hashName !== mgf) throw new KeyspanError('HsmMechanismParamInvalid');
  const parameter = {
    type: PARAMS.RSA_PSS,
    hashAlg: HASHES[hashName].mechanism,
    mgf: HASHES[mgf].mgf,
    saltLen: saltLength,
  };
  return { mechanism: CKM.RSA_PKCS_PSS, parameter };
}

/** What a verification that fails answers: the session is as good as before. */
const NO_SIGNATURE: ReadonlySet<number> = new Set([CKR.SIGNATURE_INVALID, CKR.SIGNATURE_LEN_RANGE]);

/**
 * Whether a signature is that of a public key.
 * @param spki SubjectPublicKeyInfo in DER
 * @param how as `sign` takes it
 */
export function verifySignature(
  token: Token,
  spki: Uint8Array,
  mechanism: SignMechanism,
  given: { readonly data: Uint8Array; readonly signature: Uint8Array; readonly digested: boolean },
): boolean {
  const { data, signature, digested } = given;
  const input = inputOf(mechanism, data, digested);
  const key = importPublic(token, spki);
  const { cryptoki, sessions } = token;
  const by = mechanismOf(mechanism);
  let begun = false;
  try {
    return sessions.operate(
      'C_Verify',
      (session) => cryptoki.C_VerifyInit(session, by, key),
      (session) => {
        begun = true;
        return cryptoki.C_Verify(session, input, asBuffer(signature));
      },
      NO_SIGNATURE,
    );
  } catch (error) {
    const ckr = ckrOf(error);
    if (begun && ckr !== undefined && NO_SIGNATURE.has(ckr)) return false;
    throw error;
  } finally {
    token.destroy(key);
  }
}

/** A public key in memory: it verifies. */
export function importPublic(token: Token, spki: Uint8Array): Handle {
  return attempt('C_CreateObject', () =>
    token.cryptoki.C_CreateObject(token.anchor, [
      { type: CKA.CLASS, value: CKO.PUBLIC_KEY },
      { type: CKA.TOKEN, value: false },
      { type: CKA.PRIVATE, value: true },
      { type: CKA.VERIFY, value: true },
      ...publicParts(spki),
    ]),
  );
}

function publicParts(spki: Uint8Array): Template {
  const key = createPublicKey({ key: asBuffer(spki), format: 'der', type: 'spki' });
  if (key.asymmetricKeyType === 'rsa') {
    const { n, e } = rsaPartsOf(spki);
    return [
      { type: CKA.KEY_TYPE, value: CKK.RSA },
      { type: CKA.MODULUS, value: n },
      { type: CKA.PUBLIC_EXPONENT, value: e },
    ];
  }
  const isEdwards = key.asymmetricKeyType === 'ed25519';
  const curve = curveNamed(key.asymmetricKeyDetails?.namedCurve);
  const parameters = isEdwards ? ED25519_PARAMETERS : curve && EC_PARAMETERS[curve];
  if (!parameters) throw new KeyspanError('HsmUsageRefused', 'the token has no such curve');
  return [
    { type: CKA.KEY_TYPE, value: isEdwards ? CKK.EC_EDWARDS : CKK.EC },
    { type: CKA.EC_PARAMS, value: parameters },
    { type: CKA.EC_POINT, value: octetString(pointOf(spki)) },
  ];
}
