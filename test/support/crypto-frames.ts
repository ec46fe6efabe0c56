import { createECDH } from 'node:crypto';
import { CKM } from '../../src/core/pkcs11.js';
import { newHsmKeyId } from '../../src/core/ids.js';
import type { HsmOperation } from '../../src/protocol/hsm-frames.js';
import type { FrameClient } from './hsm-host.js';
import { flippedBytes, type Dice, type Members } from './mutation.js';

/** Frames of PKCS #11's cryptography, of all mechanisms and others, for a fuzzer. */

export interface CryptoCorpus {
  /** keys of one user, of all kinds */
  readonly keyIds: readonly string[];
  /** a point of P-256 */
  readonly point: Uint8Array;
}

const USES = ['encrypt', 'decrypt', 'sign', 'verify', 'derive'];
const given = (...uses: string[]): Record<string, boolean> =>
  Object.fromEntries(uses.map((use) => [use, true]));

/** Keys of the user that the session is of. */
export async function makeCryptoCorpus(
  client: FrameClient,
  as: { readonly session: number; readonly epoch: number },
): Promise<CryptoCorpus> {
  let count = 0;
  const key = (...uses: string[]): Members & { keyId: string } => {
    count += 1;
    const reference = `0x${(4_096 + count).toString(16).padStart(16, '0')}`;
    return { keyId: newHsmKeyId(), reference, label: 'x', given: given(...uses), pkcs11: true };
  };
  const keyIds: string[] = [];
  const insert = async (masked: Uint8Array | undefined): Promise<void> => {
    await client.ask('insert', { masked }, as);
  };
  for (const spec of [
    { type: 'aes', length: 32 },
    { type: 'generic-secret', length: 20 },
  ]) {
    const fields = { key: key(...USES.slice(0, 4)), spec };
    await insert((await client.ask<'key-generate'>('key-generate', fields, as)).masked);
    keyIds.push(fields.key.keyId);
  }
  for (const spec of [
    { type: 'rsa', bits: 2_048 },
    { type: 'ec', curve: 'secp256r1' },
    { type: 'ec', curve: 'ed25519' },
  ]) {
    const isRsa = spec.type === 'rsa';
    const privateKey = key('sign', ...(isRsa ? ['decrypt'] : ['derive']));
    const publicKey = key('verify', ...(isRsa ? ['encrypt'] : []));
    const fields = { privateKey, publicKey, spec };
    const made = await client.ask<'key-pair-generate'>('key-pair-generate', fields, as);
    await insert(made.privateKey.masked);
    await insert(made.publicKey.masked);
    keyIds.push(privateKey.keyId, publicKey.keyId);
  }
  const peer = createECDH('prime256v1');
  return { keyIds, point: peer.generateKeys() };
}

const CIPHERS = [
  CKM.AES_ECB,
  CKM.AES_CBC,
  CKM.AES_CBC_PAD,
  CKM.AES_CTR,
  CKM.AES_GCM,
  CKM.RSA_PKCS,
  CKM.RSA_X_509,
  CKM.RSA_PKCS_OAEP,
  CKM.ECDSA,
];
const SIGNATURES = [
  CKM.RSA_PKCS,
  CKM.RSA_X_509,
  CKM.RSA_PKCS_PSS,
  CKM.SHA256_RSA_PKCS,
  CKM.SHA256_RSA_PKCS_PSS,
  CKM.SHA256_HMAC,
  CKM.SHA512_HMAC_GENERAL,
  CKM.ECDSA,
  CKM.ECDSA_SHA256,
  CKM.EDDSA,
  CKM.AES_CMAC,
  CKM.AES_CMAC_GENERAL,
  CKM.AES_GCM,
];
const DIGESTS = [CKM.SHA_1, CKM.SHA224, CKM.SHA256, CKM.SHA384, CKM.SHA512, CKM.AES_CMAC];

function mechanismOf(dice: Dice, types: readonly number[]): Members {
  return {
    type: dice.pick(types),
    ...(dice.chance(0.7) && { iv: dice.bytes(dice.pick([16, 12, 1, 128])) }),
    ...(dice.chance(0.5) && { counterBits: 1 + dice.below(128) }),
    ...(dice.chance(0.3) && { aad: dice.bytes(dice.below(40)) }),
    ...(dice.chance(0.3) && { tagBits: dice.pick([0, 32, 96, 128, 127]) }),
    ...(dice.chance(0.6) && { hash: dice.pick(DIGESTS), mgf: dice.below(7) }),
    ...(dice.chance(0.5) && { saltLength: dice.pick([0, 20, 32, 222, 223, 512]) }),
    ...(dice.chance(0.3) && { label: dice.bytes(8) }),
    ...(dice.chance(0.3) && { macLength: dice.below(65) }),
  };
}

/** Fields that are right in form. */
export function cryptoFields(
  dice: Dice,
  operation: HsmOperation,
  of: Pick<CryptoCorpus, 'keyIds' | 'point'> & { readonly key: Members },
): Members | undefined {
  const keyId = dice.pick(of.keyIds);
  const data = dice.bytes(dice.pick([0, 1, 16, 20, 32, 64, 256, 300]));
  const signature = dice.bytes(dice.pick([0, 16, 32, 64, 256]));
  const stream = 1 + dice.below(200);
  const made: { readonly [Op in HsmOperation]?: () => Members } = {
    'p11-cipher': () => ({
      keyId,
      direction: dice.pick(['encrypt', 'decrypt']),
      mechanism: mechanismOf(dice, CIPHERS),
      data,
    }),
    'p11-sign': () => ({ keyId, mechanism: mechanismOf(dice, SIGNATURES), data }),
    'p11-verify': () => ({ keyId, mechanism: mechanismOf(dice, SIGNATURES), data, signature }),
    'p11-derive': () => ({
      baseId: keyId,
      key: of.key,
      type: dice.pick(['aes', 'generic-secret']),
      length: dice.pick([16, 32, 64, 800]),
      kdf: dice.below(10),
      publicData: dice.chance(0.5) ? of.point : flippedBytes(dice, of.point),
    }),
    digest: () => ({ type: dice.pick(DIGESTS), data }),
    'stream-open': () => ({
      purpose: dice.pick(['digest', 'sign', 'verify']),
      mechanism: mechanismOf(dice, dice.chance(0.5) ? DIGESTS : SIGNATURES),
      ...(dice.chance(0.9) && { keyId }),
    }),
    'stream-update': () => ({ stream, data }),
    'stream-final': () => ({ stream, ...(dice.chance(0.5) && { signature }) }),
    'stream-close': () => ({ stream }),
    'object-find': () => ({ ids: [keyId], limit: 1 }),
    'object-copy': () => ({ fromId: keyId, key: of.key }),
    'object-reveal': () => ({ keyId }),
  };
  return made[operation]?.();
}
