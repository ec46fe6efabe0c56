import { createHash } from 'node:crypto';
import { LIMITS } from '../../core/limits.js';
import type { Hash } from '../../protocol/mechanisms.js';
import { bytesOf, piecesOf, type Given } from './user-files.js';

/** What precedes a digest in its DigestInfo (RFC 8017, 9.2). */
const DIGEST_INFO: Readonly<Record<Hash, string>> = {
  sha1: '3021300906052b0e03021a05000414',
  sha224: '302d300d06096086480165030402040500041c',
  sha256: '3031300d060960864801650304020105000420',
  sha384: '3041300d060960864801650304020205000430',
  sha512: '3051300d060960864801650304020305000440',
};

const MAX_BYTES = LIMITS.hsm_data_max_bytes;

/** What an HSM is given to sign, or to verify a signature of. */
export interface SignedData {
  /** base64 */
  readonly data: string;
  readonly digested: boolean;
}

/**
 * An HSM takes so many bytes; of more, CloudHSM's clients make the digest themselves, and so it is
 * done here.
 * @param how `hash`: where the mechanism has one; `digested`: the data is the digest already
 * @throws KeyspanError KeyspanUsage
 */
export function signedData(
  given: Given,
  how: { readonly mechanism: string; readonly hash?: Hash | undefined; readonly digested: boolean },
): SignedData {
  const { mechanism, hash, digested } = how;
  if (hash === undefined || digested) {
    return { data: bytesOf(given, '--data', MAX_BYTES), digested };
  }
  const digest = createHash(hash);
  const pieces: Uint8Array[] = [];
  let length = 0;
  for (const piece of piecesOf(given, '--data')) {
    digest.update(piece);
    length += piece.length;
    if (length <= MAX_BYTES) pieces.push(piece);
  }
  if (length <= MAX_BYTES) {
    return { data: Buffer.concat(pieces).toString('base64'), digested: false };
  }
  const info = Buffer.from(mechanism === 'rsa-pkcs' ? DIGEST_INFO[hash] : '', 'hex');
  return { data: Buffer.concat([info, digest.digest()]).toString('base64'), digested: true };
}
