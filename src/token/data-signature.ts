import { createHash, hash } from 'node:crypto';
import { asBuffer } from '../core/bytes.js';
import { KeyspanError } from '../core/errors.js';
import { CKM } from '../core/pkcs11.js';
import { rsaPartsOf } from '../core/spki.js';
import { attempt } from './ckr.js';
import { PARAMS, type Mechanism } from './cryptoki.js';
import { rawBlock } from './data-cipher.js';
import { addressed } from './mechanism.js';
import type { HashName } from './signing.js';
import { HASHES } from './signing.js';
import type { Handle, Token } from './token.js';

/** Signatures and MACs with users' keys, as PKCS #11 has them. */

/** A mechanism with its parameter; numbers are the standard's. */
export interface SignatureMechanism {
  /** CKM_ */
  readonly type: number;
  /** CKM_ of a hash */
  readonly hash?: number | undefined;
  /** CKG_ */
  readonly mgf?: number | undefined;
  /** in bytes */
  readonly saltLength?: number | undefined;
  /** in bytes */
  readonly macLength?: number | undefined;
}

type Kind = 'rsa' | 'pss' | 'ecdsa' | 'eddsa' | 'mac';

interface Facts {
  readonly kind: Kind;
  /** of the data; the token hashes for PKCS #1 v1.5 and MACs itself */
  readonly hash?: HashName | undefined;
  /** the mechanism of the token, where it is another */
  readonly by?: number;
  /** bytes of a MAC */
  readonly mac?: number;
}

const wrongParameter = (): KeyspanError => new KeyspanError('HsmMechanismParamInvalid');

const NAMES = ['sha1', 'sha224', 'sha256', 'sha384', 'sha512'] as const;
const hashed = (types: readonly number[], make: (hash: HashName) => Facts): [number, Facts][] =>
  types.map((type, at) => [type, make(NAMES[at] as HashName)]);

/** HMACs, whole and general, by their hashes. */
const HMACS: readonly (readonly [whole: number, general: number, hash: HashName])[] = [
  [CKM.SHA_1_HMAC, CKM.SHA_1_HMAC_GENERAL, 'sha1'],
  [CKM.SHA224_HMAC, CKM.SHA224_HMAC_GENERAL, 'sha224'],
  [CKM.SHA256_HMAC, CKM.SHA256_HMAC_GENERAL, 'sha256'],
  [CKM.SHA384_HMAC, CKM.SHA384_HMAC_GENERAL, 'sha384'],
  [CKM.SHA512_HMAC, CKM.SHA512_HMAC_GENERAL, 'sha512'],
];
const CMAC_BYTES = 16;

const FACTS: ReadonlyMap<number, Facts> = new Map<number, Facts>([
  [CKM.RSA_PKCS, { kind: 'rsa' }],
  [CKM.RSA_X_509, { kind: 'rsa' }],
  [CKM.SHA1_RSA_PKCS, { kind: 'rsa' }],
  [CKM.SHA224_RSA_PKCS, { kind: 'rsa' }],
  [CKM.SHA256_RSA_PKCS, { kind: 'rsa' }],
  [CKM.SHA384_RSA_PKCS, { kind: 'rsa' }],
  [CKM.SHA512_RSA_PKCS, { kind: 'rsa' }],
  [CKM.RSA_PKCS_PSS, { kind: 'pss' }],
  ...hashed(
    [
      CKM.SHA1_RSA_PKCS_PSS,
      CKM.SHA224_RSA_PKCS_PSS,
      CKM.SHA256_RSA_PKCS_PSS,
      CKM.SHA384_RSA_PKCS_PSS,
      CKM.SHA512_RSA_PKCS_PSS,
    ],
    (name) => ({ kind: 'pss', hash: name }),
  ),
  [CKM.ECDSA, { kind: 'ecdsa' }],
  ...hashed(
    [CKM.ECDSA_SHA1, CKM.ECDSA_SHA224, CKM.ECDSA_SHA256, CKM.ECDSA_SHA384, CKM.ECDSA_SHA512],
    (name) => ({ kind: 'ecdsa', hash: name }),
  ),
  [CKM.EDDSA, { kind: 'eddsa' }],
  [CKM.AES_CMAC, { kind: 'mac' }],
  [CKM.AES_CMAC_GENERAL, { kind: 'mac', by: CKM.AES_CMAC, mac: CMAC_BYTES }],
  ...HMACS.flatMap(([whole, general, name]): [number, Facts][] => [
    [general, { kind: 'mac', by: whole, mac: HASHES[name].bytes }],
    [whole, { kind: 'mac' }],
  ]),
]);

/** What a mechanism is. @throws KeyspanError HsmMechanismInvalid */
export function signatureKind(type: number): Kind {
  return factsOf(type).kind;
}

function factsOf(type: number): Facts {
  const facts = FACTS.get(type);
  if (!facts) throw new KeyspanError('HsmMechanismInvalid');
  return facts;
}

/** Whether a MAC is made with AES, and not with a secret. */
export const isCmac = (type: number): boolean =>
  type === CKM.AES_CMAC || type === CKM.AES_CMAC_GENERAL;

/** The key that signs. */
export interface SigningKey {
  readonly handle: Handle;
  /** of its public half */
  readonly spki?: Uint8Array | undefined;
  /** of one coordinate of its curve */
  readonly curveBytes?: number | undefined;
}

const SIGNATURE_MAX_BYTES = 512;
const NONE = Buffer.alloc(0);

/**
 * Signs data, or makes its MAC, in the token.
 * @throws KeyspanError HsmDataInvalid for data of a length that the mechanism does not take,
 * HsmMechanismParamInvalid
 */
export function signAs(
  token: Token,
  key: SigningKey,
  mechanism: SignatureMechanism,
  data: Uint8Array,
): Buffer {
  const by = tokenMechanism(mechanism);
  const input = inputOf(mechanism, data, key);
  const { cryptoki, sessions } = token;
  const made = Buffer.allocUnsafe(SIGNATURE_MAX_BYTES);
  const signature = sessions.operate(
    'C_Sign',
    (session) => cryptoki.C_SignInit(session, by, key.handle),
    (session) => cryptoki.C_Sign(session, addressed(input), made),
  );
  return signature.subarray(0, mechanism.macLength);
}

/** The data as the token takes it: hashed, or as long as it must be. */
export function inputOf(
  mechanism: SignatureMechanism,
  data: Uint8Array,
  key: Pick<SigningKey, 'spki' | 'curveBytes'>,
): Buffer {
  const { type } = mechanism;
  const facts = factsOf(type);
  const given = facts.hash ? hash(facts.hash, data, 'buffer') : asBuffer(data);
  switch (facts.kind) {
    case 'ecdsa':
      if (given.length === 0) throw new KeyspanError('HsmDataInvalid', 'there is no digest');
      // the leftmost bits count (FIPS 186-4, 6.4)
      return given.subarray(0, key.curveBytes);
    case 'pss':
      return pssInput(mechanism, given, key.spki);
    case 'rsa':
      return rsaInput(type, given, key.spki);
    case 'eddsa':
    case 'mac':
      return given;
  }
}

function pssInput(
  { hash: digestType, saltLength = 0 }: SignatureMechanism,
  digest: Buffer,
  spki: Uint8Array | undefined,
): Buffer {
  const name = hashNamed(digestType);
  if (!name) throw wrongParameter();
  const { bytes } = HASHES[name];
  const { n } = rsaPartsOf(spki ?? NONE);
  // a longer one does not fit (RFC 8017, 9.1.1), and the token would say that it failed
  if (saltLength > n.length - bytes - 2) throw wrongParameter();
  if (digest.length === bytes) return digest;
  throw new KeyspanError('HsmDataInvalid', 'the data is no digest of this hash');
}

const PKCS1_OVERHEAD = 11;

function rsaInput(type: number, data: Buffer, spki: Uint8Array | undefined): Buffer {
  const isRaw = type === CKM.RSA_X_509;
  if (!isRaw && type !== CKM.RSA_PKCS) return data;
  const { n } = rsaPartsOf(spki ?? NONE);
  if (isRaw) return rawBlock(data, n);
  if (data.length <= n.length - PKCS1_OVERHEAD) return data;
  throw new KeyspanError('HsmDataInvalid', 'the data is too long');
}

const HASH_NUMBERS: ReadonlyMap<number, HashName> = new Map(
  NAMES.map((name) => [HASHES[name].mechanism, name]),
);
/** The hash of a CKM_ number. */
export const hashNamed = (type: number | undefined): HashName | undefined =>
  type === undefined ? undefined : HASH_NUMBERS.get(type);

/** The mechanism of the token. @throws KeyspanError HsmMechanismParamInvalid */
export function tokenMechanism(mechanism: SignatureMechanism): Mechanism {
  const { type, hash: digest, mgf, saltLength = 0 } = mechanism;
  const { kind, by, hash: own } = factsOf(type);
  checkMacLength(mechanism);
  if (kind === 'ecdsa') return { mechanism: CKM.ECDSA };
  if (kind !== 'pss') return { mechanism: by ?? type };
  const name = hashNamed(digest);
  const fits = name !== undefined && (own === undefined || own === name);
  // SoftHSM has one hash for both
  if (!fits || HASHES[name].mgf !== mgf) throw wrongParameter();
  const parameter = { type: PARAMS.RSA_PSS, hashAlg: digest ?? 0, mgf, saltLen: saltLength };
  return { mechanism: CKM.RSA_PKCS_PSS, parameter };
}

/** General MACs alone are cut off, and a MAC of no bytes would prove nothing. */
function checkMacLength({ type, macLength }: SignatureMechanism): void {
  const { kind, by, mac } = factsOf(type);
  const isGeneral = kind === 'mac' && by !== undefined;
  if (!isGeneral && macLength === undefined) return;
  if (isGeneral && macLength && macLength <= (mac ?? 0)) return;
  throw wrongParameter();
}

/** One digest (FIPS 180-4). @throws KeyspanError HsmMechanismInvalid */
export function digestOf(type: number, data: Uint8Array): Buffer {
  return hash(digestName(type), data, 'buffer');
}

function digestName(type: number): HashName {
  const name = hashNamed(type);
  if (!name) throw new KeyspanError('HsmMechanismInvalid');
  return name;
}

/** A digest or MAC of what comes in pieces. */
export interface PieceWise {
  update(data: Uint8Array): void;
  /** Ends it. */
  final(): Buffer;
  /** Ends it without a result. */
  close(): void;
}

export function digestInPieces(type: number): PieceWise {
  const digest = createHash(digestName(type));
  return {
    update: (data) => void digest.update(data),
    final: () => digest.digest(),
    close: () => undefined,
  };
}

/**
 * A MAC in a session of the token that it keeps until it ends. After a failure it is over.
 * @throws KeyspanError HsmBusy, HsmMechanismParamInvalid
 */
export function macInPieces(
  token: Token,
  handle: Handle,
  mechanism: SignatureMechanism,
): PieceWise {
  const by = tokenMechanism(mechanism);
  const { cryptoki, sessions } = token;
  let session: Handle | undefined = sessions.take();
  const run = <T>(call: string, work: (own: Handle) => T): T => {
    const own = session;
    if (!own) throw new KeyspanError('HsmDeviceError', 'the MAC is over');
    try {
      return attempt(call, () => work(own));
    } catch (error) {
      session = undefined;
      sessions.retire(own);
      throw error;
    }
  };
  const final = (): Buffer => {
    const made = run('C_SignFinal', (own) =>
      cryptoki.C_SignFinal(own, Buffer.alloc(SIGNATURE_MAX_BYTES)),
    );
    if (session) sessions.give(session);
    session = undefined;
    return made.subarray(0, mechanism.macLength);
  };
  run('C_SignInit', (own) => cryptoki.C_SignInit(own, by, handle));
  return {
    update: (data) => {
      if (data.length > 0) run('C_SignUpdate', (own) => cryptoki.C_SignUpdate(own, asBuffer(data)));
    },
    final,
    close: () => {
      if (!session) return;
      sessions.retire(session);
      session = undefined;
    },
  };
}
