import { createPublicKey, type KeyObject } from 'node:crypto';
import { asBuffer } from '../core/bytes.js';
import { KeyspanError } from '../core/errors.js';
import { isMaskingKeyId, type MaskingKeyId } from '../core/ids.js';
import { CKA, CKK, CKM, CKO } from '../core/pkcs11.js';
import { attempt } from './ckr.js';
import type { Template } from './cryptoki.js';
import { AES_KEY_GEN, RSA_KEY_PAIR_GEN, RSA_OAEP_SHA1 } from './mechanism.js';
import { findObjects, OWN_KEY_PREFIX, readAttributes, readIfWhole } from './objects.js';
import { allowedMechanisms, ofAes256 } from './template.js';
import type { Handle, Token } from './token.js';

/** The three keys that keys travel under (ARCHITECTURE §6). No key both wraps and decrypts. */
export interface MaskingKeys {
  readonly id: MaskingKeyId;
  /** trusted; AES key wrap with padding only */
  readonly wrap: Handle;
  /** AES-GCM only */
  readonly seal: Handle;
  /** AES-CMAC only */
  readonly auth: Handle;
}

/** The three keys, each wrapped under a joiner's RSA key. */
export interface WrappedMaskingKeys {
  readonly wrap: Uint8Array;
  readonly seal: Uint8Array;
  readonly auth: Uint8Array;
}

const ROLES = ['wrap', 'seal', 'auth'] as const;
type Role = (typeof ROLES)[number];
type Trio = Record<Role, Handle>;

/** What each may be used for; all else is false. */
const USES: Record<Role, readonly number[]> = {
  wrap: [CKA.WRAP, CKA.UNWRAP],
  seal: [CKA.ENCRYPT, CKA.DECRYPT],
  auth: [CKA.SIGN, CKA.VERIFY],
};
const MECHANISMS: Record<Role, Buffer> = {
  wrap: allowedMechanisms(CKM.AES_KEY_WRAP_PAD),
  seal: allowedMechanisms(CKM.AES_GCM),
  auth: allowedMechanisms(CKM.AES_CMAC),
};
const ALL_USES = [...Object.values(USES).flat(), CKA.DERIVE];

const JOIN_KEY_BITS = 2048;
const JOINER_KEY_BITS_MAX = 4096;
const PUBLIC_EXPONENT = Buffer.from([1, 0, 1]);

/**
 * The RSA key pair that a joiner receives the masking keys with. It lives in memory, as public
 * session objects, since an officer's session can make no others; its private half is sensitive and
 * cannot be extracted.
 */
export interface JoinKey {
  /** SubjectPublicKeyInfo, DER */
  readonly publicKey: Uint8Array;
  readonly publicHandle: Handle;
  readonly privateHandle: Handle;
}

/**
 * Makes a cluster's masking keys. It logs the officer in and then the user, so the user's private
 * session objects vanish: do it before service.
 */
export function foundMaskingKeys(
  token: Token,
  pins: { soPin: Uint8Array; userPin: Uint8Array },
  id: MaskingKeyId,
): MaskingKeys {
  token.loginOfficer(pins.soPin);
  const made = eachRole(token, (role) =>
    attempt('C_GenerateKey', () =>
      token.cryptoki.C_GenerateKey(token.anchor, AES_KEY_GEN, ofAes256(maskTemplate(role, id))),
    ),
  );
  return adopt(token, { made, userPin: pins.userPin, id });
}

/** Begins to join: the officer stays logged in until `finishJoin` or `abandonJoin`. */
export function beginJoin(token: Token, soPin: Uint8Array): JoinKey {
  token.loginOfficer(soPin);
  const pair = attempt('C_GenerateKeyPair', () =>
    token.cryptoki.C_GenerateKeyPair(
      token.anchor,
      RSA_KEY_PAIR_GEN,
      [
        { type: CKA.TOKEN, value: false },
        { type: CKA.PRIVATE, value: false },
        { type: CKA.WRAP, value: true },
        { type: CKA.MODULUS_BITS, value: JOIN_KEY_BITS },
        { type: CKA.PUBLIC_EXPONENT, value: PUBLIC_EXPONENT },
      ],
      [
        { type: CKA.TOKEN, value: false },
        { type: CKA.PRIVATE, value: false },
        { type: CKA.SENSITIVE, value: true },
        { type: CKA.EXTRACTABLE, value: false },
        { type: CKA.UNWRAP, value: true },
      ],
    ),
  );
  const parts = readAttributes(token, pair.publicKey, [CKA.MODULUS, CKA.PUBLIC_EXPONENT]);
  const [n, e] = parts.map((part) => part.toString('base64url'));
  const key = createPublicKey({ key: { kty: 'RSA', n, e }, format: 'jwk' });
  return {
    publicKey: key.export({ type: 'spki', format: 'der' }),
    publicHandle: pair.publicKey,
    privateHandle: pair.privateKey,
  };
}

/**
 * Takes over the masking keys that a member wrapped for `joinKey`, and logs the user in. The join
 * key is destroyed, whatever happens.
 * @throws KeyspanError HsmDataInvalid when a wrapped key was not made for this join key
 */
export function finishJoin(
  token: Token,
  joinKey: JoinKey,
  wrapped: WrappedMaskingKeys,
  userPin: Uint8Array,
  id: MaskingKeyId,
): MaskingKeys {
  let made: Trio;
  try {
    made = eachRole(token, (role) => unwrapMask(token, joinKey, wrapped[role], { role, id }));
  } finally {
    abandonJoin(token, joinKey);
  }
  return adopt(token, { made, userPin, id });
}

/** Gives up joining: destroys the join key. */
export function abandonJoin(token: Token, joinKey: JoinKey): void {
  token.destroy(joinKey.privateHandle);
  token.destroy(joinKey.publicHandle);
}

/**
 * The masking keys on the token, after the user's login; `undefined` unless all three are there
 * with one id.
 * @throws KeyspanError HsmDeviceError when there are several sets, or one that is not what it says
 */
export function findMaskingKeys(token: Token): MaskingKeys | undefined {
  const whole = [...foundSets(token)].filter(([, set]) => ROLES.every((role) => set[role]));
  if (whole.length > 1) {
    throw new KeyspanError('HsmDeviceError', 'the token holds several sets of masking keys');
  }
  const [only] = whole;
  if (!only) return undefined;
  const [id, set] = only;
  const trio = set as Trio;
  for (const role of ROLES) verifyMask(token, role, trio[role]);
  return { id, ...trio };
}

/**
 * Wraps the masking keys for a joiner. The caller has checked whose key it is.
 * @param publicKey SubjectPublicKeyInfo, DER: RSA of 2048 to 4096 bits
 * @throws KeyspanError HsmBadRecord when it is no such key
 */
export function wrapForJoiner(
  token: Token,
  keys: MaskingKeys,
  publicKey: Uint8Array,
): WrappedMaskingKeys {
  const joiner = importJoiner(token, readJoinerKey(publicKey));
  try {
    const wrap = (key: Handle): Uint8Array => {
      const blob = Buffer.alloc(JOINER_KEY_BITS_MAX / 8);
      return attempt('C_WrapKey', () =>
        token.cryptoki.C_WrapKey(token.anchor, RSA_OAEP_SHA1, joiner, key, blob),
      );
    };
    return { wrap: wrap(keys.wrap), seal: wrap(keys.seal), auth: wrap(keys.auth) };
  } finally {
    token.destroy(joiner);
  }
}

/** A masking key as the officer makes it: public, in memory. CKA_TRUSTED can only be set here. */
function maskTemplate(role: Role, id: MaskingKeyId): Template {
  const uses = ALL_USES.map((type) => ({ type, value: USES[role].includes(type) }));
  return [
    { type: CKA.CLASS, value: CKO.SECRET_KEY },
    { type: CKA.KEY_TYPE, value: CKK.AES },
    { type: CKA.TOKEN, value: false },
    { type: CKA.PRIVATE, value: false },
    { type: CKA.SENSITIVE, value: true },
    // to hand it to a joiner; nothing but a joiner's checked key is ever given it
    { type: CKA.EXTRACTABLE, value: true },
    { type: CKA.TRUSTED, value: role === 'wrap' },
    { type: CKA.ALLOWED_MECHANISMS, value: MECHANISMS[role] },
    { type: CKA.LABEL, value: `mask-${role}` },
    { type: CKA.ID, value: Buffer.from(nameOf(role, id)) },
    ...uses,
  ];
}

/** Makes all three, or none. */
function eachRole(token: Token, make: (role: Role) => Handle): Trio {
  const made: Partial<Trio> = {};
  try {
    for (const role of ROLES) made[role] = make(role);
    return made as Trio;
  } catch (error) {
    for (const handle of Object.values(made)) token.destroy(handle);
    throw error;
  }
}

/**
 * Logs the user in and copies the officer's public session objects to private token objects: public
 * ones would stand on the disk in clear. CKA_TRUSTED and the allowed mechanisms survive the copy.
 */
function adopt(
  token: Token,
  from: { made: Trio; userPin: Uint8Array; id: MaskingKeyId },
): MaskingKeys {
  try {
    token.loginUser(from.userPin);
    destroyPartialSets(token);
    const copies = eachRole(token, (role) =>
      attempt('C_CopyObject', () =>
        token.cryptoki.C_CopyObject(token.anchor, from.made[role], [
          { type: CKA.TOKEN, value: true },
          { type: CKA.PRIVATE, value: true },
        ]),
      ),
    );
    return { id: from.id, ...copies };
  } finally {
    for (const role of ROLES) token.destroy(from.made[role]);
  }
}

/** What a process that was killed while it copied has left. Such a set was never answered for. */
function destroyPartialSets(token: Token): void {
  for (const set of foundSets(token).values()) {
    if (ROLES.every((role) => set[role])) continue;
    for (const handle of Object.values(set)) token.destroy(handle);
  }
}

/**
 * Searched by what stands in clear: a search by a private attribute fails as a whole when one
 * object of the token is damaged. Users' keys are all to be wrapped by trusted keys alone.
 */
function foundSets(token: Token): Map<MaskingKeyId, Partial<Trio>> {
  const sets = new Map<MaskingKeyId, Partial<Trio>>();
  const template = [
    { type: CKA.CLASS, value: CKO.SECRET_KEY },
    { type: CKA.TOKEN, value: true },
    { type: CKA.WRAP_WITH_TRUSTED, value: false },
  ];
  for (const handle of findObjects(token, template)) {
    const [id] = readIfWhole(token, handle, [CKA.ID]) ?? [];
    // a user's key may carry the same label, but never this id
    const named = parseMaskName(id?.toString('latin1') ?? '');
    if (named) sets.set(named.id, { ...sets.get(named.id), [named.role]: handle });
  }
  return sets;
}

const nameOf = (role: Role, id: string): string => `${OWN_KEY_PREFIX}mask-${role}:${id}`;

function parseMaskName(name: string): { role: Role; id: MaskingKeyId } | undefined {
  for (const role of ROLES) {
    const prefix = nameOf(role, '');
    const id = name.slice(prefix.length);
    if (name.startsWith(prefix) && isMaskingKeyId(id)) return { role, id };
  }
  return undefined;
}

/** The pair of `maskTemplate`: what was made is what is used. */
function verifyMask(token: Token, role: Role, handle: Handle): void {
  const types = [CKA.TRUSTED, CKA.PRIVATE, CKA.SENSITIVE, CKA.ALLOWED_MECHANISMS, ...ALL_USES];
  const [trusted, isPrivate, sensitive, mechanisms, ...uses] = readAttributes(token, handle, types);
  const isTrue = (value: Buffer | undefined): boolean => value?.[0] === 1;
  const right =
    isTrue(trusted) === (role === 'wrap') &&
    isTrue(isPrivate) &&
    isTrue(sensitive) &&
    mechanisms?.equals(MECHANISMS[role]) === true &&
    ALL_USES.every((type, at) => isTrue(uses[at]) === USES[role].includes(type));
  if (!right) throw new KeyspanError('HsmDeviceError', `mask-${role} has wrong attributes`);
}

function unwrapMask(
  token: Token,
  joinKey: JoinKey,
  blob: Uint8Array,
  as: { role: Role; id: MaskingKeyId },
): Handle {
  // a blob of another length is refused by SoftHSM as an argument: say what it is
  if (blob.length !== JOIN_KEY_BITS / 8) throw new KeyspanError('HsmDataInvalid');
  try {
    return token.cryptoki.C_UnwrapKey(
      token.anchor,
      RSA_OAEP_SHA1,
      joinKey.privateHandle,
      asBuffer(blob),
      maskTemplate(as.role, as.id),
    );
  } catch (cause) {
    throw new KeyspanError('HsmDataInvalid', `mask-${as.role} cannot be unwrapped`, { cause });
  }
}

function readJoinerKey(publicKey: Uint8Array): KeyObject {
  try {
    const key = createPublicKey({ key: asBuffer(publicKey), format: 'der', type: 'spki' });
    const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
    const fits = bits >= JOIN_KEY_BITS && bits <= JOINER_KEY_BITS_MAX;
    if (key.asymmetricKeyType === 'rsa' && fits) return key;
  } catch (cause) {
    throw new KeyspanError('HsmBadRecord', "the joiner's key cannot be read", { cause });
  }
  throw new KeyspanError('HsmBadRecord', "the joiner's key is not RSA of 2048 to 4096 bits");
}

function importJoiner(token: Token, key: KeyObject): Handle {
  const { n = '', e = '' } = key.export({ format: 'jwk' });
  return attempt('C_CreateObject', () =>
    token.cryptoki.C_CreateObject(token.anchor, [
      { type: CKA.CLASS, value: CKO.PUBLIC_KEY },
      { type: CKA.KEY_TYPE, value: CKK.RSA },
      { type: CKA.TOKEN, value: false },
      { type: CKA.PRIVATE, value: true },
      { type: CKA.WRAP, value: true },
      { type: CKA.MODULUS, value: Buffer.from(n, 'base64url') },
      { type: CKA.PUBLIC_EXPONENT, value: Buffer.from(e, 'base64url') },
    ]),
  );
}
