import { constants, createHash, createPublicKey, verify } from 'node:crypto';
import { asBuffer } from '../core/bytes.js';
import { KeyspanError } from '../core/errors.js';
import type { HsmSignedToken } from '../protocol/quorum-frames.js';
import type { Session } from './authority.js';
import type { HeldToken, QuorumTokens } from './quorum-tokens.js';
import type { UserRecord } from './records.js';

/** Keys of users: of second factors, and to approve with. Their private halves are elsewhere. */
const MODULUS_BITS = 2_048;
/** with a smaller one a signature may be made without the key */
const EXPONENT_MIN = 65_537n;

/**
 * The key in the one form that it is kept in.
 * @throws KeyspanError HsmFactorRefused when it is no RSA-2048 key
 */
export function readUserKey(der: Uint8Array): Uint8Array {
  try {
    const key = createPublicKey({ key: asBuffer(der), format: 'der', type: 'spki' });
    const { modulusLength, publicExponent = 0n } = key.asymmetricKeyDetails ?? {};
    const isRsa = key.asymmetricKeyType === 'rsa' && modulusLength === MODULUS_BITS;
    if (isRsa && publicExponent >= EXPONENT_MIN) return key.export({ format: 'der', type: 'spki' });
  } catch {
    // no key at all
  }
  throw new KeyspanError('HsmFactorRefused', 'The public key is not an RSA key of 2048 bits');
}

/** Names a key where it is compared with that of another HSM. */
export const hashOfKey = (publicKey: Uint8Array): string =>
  createHash('sha256').update(publicKey).digest('hex');

/**
 * Whether the key signed the data: SHA-256, PKCS #1 v1.5, as `openssl pkeyutl -sign -pkeyopt
 * digest:sha256` makes it of the data's hash.
 */
export function signed(publicKey: Uint8Array, data: Uint8Array, signature: Uint8Array): boolean {
  try {
    const key = createPublicKey({ key: asBuffer(publicKey), format: 'der', type: 'spki' });
    const padding = constants.RSA_PKCS1_PADDING;
    return verify('sha256', data, { key, padding }, signature);
  } catch {
    return false;
  }
}

/**
 * A token of this login that the key signed: whoever registers it has its other half. It is not
 * used up yet.
 * @throws KeyspanError HsmFactorRefused
 */
export function proofOfKey(
  tokens: QuorumTokens,
  session: Session,
  publicKey: Uint8Array,
  proof: HsmSignedToken | undefined,
): HeldToken {
  const held = proof && tokens.find(session, proof.token);
  if (!proof || held?.service !== 'registration') {
    const told = 'The token is no registration token of this login, or its time is over';
    throw new KeyspanError('HsmFactorRefused', told);
  }
  if (signed(publicKey, held.token, proof.signature)) return held;
  throw new KeyspanError('HsmFactorRefused', 'InvalidQuorumSignature');
}

/** Whether the second factor that a login came with is the user's. One without any needs none. */
export function hasFactor(
  tokens: QuorumTokens,
  user: UserRecord | null,
  factor: HsmSignedToken | undefined,
): boolean {
  if (!user?.mfa || !user.publicKey) return true;
  if (!factor || !tokens.isChallenge(user.username, factor.token)) return false;
  return signed(user.publicKey, factor.token, factor.signature);
}
