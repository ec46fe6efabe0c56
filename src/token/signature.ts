import { createHash } from 'node:crypto';
import { assert } from '../core/assert.js';
import { KeyspanError } from '../core/errors.js';
import { CKA, CKK, CKO } from '../core/pkcs11.js';
import { attempt } from './ckr.js';
import { EC_KEY_PAIR_GEN, ECDSA } from './mechanism.js';
import { findObjects, OWN_KEY_PREFIX, readAttributes, readIfWhole } from './objects.js';
import type { Handle, Token } from './token.js';

/** The key that an HSM is known by: it never leaves the token. */
export interface Identity {
  /** SubjectPublicKeyInfo, DER */
  readonly publicKey: Uint8Array;
  readonly handle: Handle;
}

const LABEL = 'identity';
const ID_PREFIX = Buffer.from(`${OWN_KEY_PREFIX}identity:`);
const P256_PARAMETERS = Buffer.from('06082a8648ce3d030107', 'hex');
/** what precedes the point in the SubjectPublicKeyInfo of a P-256 key (RFC 5480) */
const SPKI_PREFIX = Buffer.from('3059301306072a8648ce3d020106082a8648ce3d030107034200', 'hex');
const POINT_BYTES = 65;
const SCALAR_BYTES = 32;

/**
 * Makes the HSM's identity: a P-256 key, private, not extractable. Its public key rides in
 * CKA_ID of
 * the private one, so that there is one object and it is written once.
 */
export function makeIdentity(token: Token): Identity {
  const pair = attempt('C_GenerateKeyPair', () =>
    token.cryptoki.C_GenerateKeyPair(
      token.anchor,
      EC_KEY_PAIR_GEN,
      [
        { type: CKA.TOKEN, value: false },
        { type: CKA.PRIVATE, value: true },
        { type: CKA.EC_PARAMS, value: P256_PARAMETERS },
        { type: CKA.VERIFY, value: true },
      ],
      [
        { type: CKA.TOKEN, value: false },
        { type: CKA.PRIVATE, value: true },
        { type: CKA.SENSITIVE, value: true },
        { type: CKA.EXTRACTABLE, value: false },
        { type: CKA.SIGN, value: true },
        { type: CKA.LABEL, value: LABEL },
      ],
    ),
  );
  try {
    const publicKey = readPublicKey(token, pair.publicKey);
    const handle = attempt('C_CopyObject', () =>
      token.cryptoki.C_CopyObject(token.anchor, pair.privateKey, [
        { type: CKA.TOKEN, value: true },
        { type: CKA.ID, value: Buffer.concat([ID_PREFIX, publicKey]) },
      ]),
    );
    return { publicKey, handle };
  } finally {
    token.destroy(pair.privateKey);
    token.destroy(pair.publicKey);
  }
}

/**
 * The HSM's identity, after the user's login; `undefined` when the token has none. It is looked up
 * each time, because handles of private objects end with a login.
 * @throws KeyspanError HsmDeviceError when it has several
 */
export function findIdentity(token: Token): Identity | undefined {
  const template = [
    { type: CKA.CLASS, value: CKO.PRIVATE_KEY },
    { type: CKA.KEY_TYPE, value: CKK.EC },
    { type: CKA.TOKEN, value: true },
  ];
  const found: Identity[] = [];
  for (const handle of findObjects(token, template)) {
    const [id] = readIfWhole(token, handle, [CKA.ID]) ?? [];
    if (!id?.subarray(0, ID_PREFIX.length).equals(ID_PREFIX)) continue;
    found.push({ handle, publicKey: id.subarray(ID_PREFIX.length) });
  }
  if (found.length > 1) {
    throw new KeyspanError('HsmDeviceError', 'the token holds several identities');
  }
  return found[0];
}

/**
 * Signs with the HSM's identity: ECDSA over SHA-256.
 * @returns the signature in DER (ECDSA-Sig-Value, RFC 3279), as node:crypto's `verify` expects it
 * @throws KeyspanError HsmPhase when the token has no identity
 */
export function signAsIdentity(token: Token, message: Uint8Array): Uint8Array {
  const identity = findIdentity(token);
  if (!identity) throw new KeyspanError('HsmPhase', 'the token has no identity');
  const { cryptoki, sessions } = token;
  // SoftHSM has no ECDSA with SHA-256: hash here
  const digest = createHash('sha256').update(message).digest();
  const raw = Buffer.alloc(2 * SCALAR_BYTES);
  sessions.operate(
    'C_Sign',
    (session) => cryptoki.C_SignInit(session, ECDSA, identity.handle),
    (session) => cryptoki.C_Sign(session, digest, raw),
  );
  const r = derInteger(raw.subarray(0, SCALAR_BYTES));
  const s = derInteger(raw.subarray(SCALAR_BYTES));
  return Buffer.concat([Buffer.from([0x30, r.length + s.length]), r, s]);
}

function readPublicKey(token: Token, handle: Handle): Buffer {
  const [point] = readAttributes(token, handle, [CKA.EC_POINT]);
  // CKA_EC_POINT is the point in a DER OCTET STRING
  const isPoint = point?.length === POINT_BYTES + 2 && point[0] === 0x04 && point[2] === 0x04;
  assert(point && isPoint, 'the token made an uncompressed P-256 point');
  return Buffer.concat([SPKI_PREFIX, point.subarray(2)]);
}

/** An unsigned number of at most 32 bytes as a DER INTEGER. */
function derInteger(scalar: Buffer): Buffer {
  const first = scalar.findIndex((byte) => byte !== 0);
  const digits = first < 0 ? scalar.subarray(-1) : scalar.subarray(first);
  const sign = digits[0] !== undefined && digits[0] >= 0x80 ? Buffer.from([0]) : Buffer.alloc(0);
  return Buffer.concat([Buffer.from([0x02, sign.length + digits.length]), sign, digits]);
}
