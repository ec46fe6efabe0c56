import { createPublicKey, type KeyObject as CryptoKey } from 'node:crypto';
import { asBuffer, wipe } from '../core/bytes.js';
import { KeyspanError } from '../core/errors.js';
import type { HsmFields } from '../protocol/hsm-frames.js';
import { AES_LENGTHS, RSA_BITS, SECRET_LENGTH_MAX, type Curve } from '../protocol/objects.js';
import { ed25519Pkcs8, kindOfPrivate, spkiOf } from '../token/key-import.js';
import { exposeKey, importKey } from '../token/key-transport.js';
import type { Handle } from '../token/token.js';
import { wrapKey } from '../token/wrapping.js';
import { openShelved, workingHandle, type HeldKey } from './held-keys.js';
import type { Machine } from './machine.js';
import { sealSecret } from './masking.js';
import { mayInFips } from './object-authority.js';
import { checkOf, publicKey, sealedKey, takeOver, type NewKey } from './object-making.js';
import { kindOf, proofOfSecret, proveCopy } from './proofs.js';
import type { KeyRecord } from './records.js';
import { refuse } from './user-operations.js';

/** Bytes that become keys, certificates or data, and what such an object is when it leaves. */
type Content = HsmFields<'object-create'>['content'];

const NOTHING = new Uint8Array(0);

/**
 * The bytes of an object, within this process; the caller wipes them. A private key is PKCS #8,
 * whatever it is kept as, a public key SubjectPublicKeyInfo.
 * @throws KeyspanError HsmUsageRefused for a key that has none
 */
export function contentOf(machine: Machine, held: HeldKey): Buffer {
  const { object } = held.record;
  if (object?.class === 'public-key') return Buffer.from(object.public ?? NOTHING);
  const kind = kindOf(held.record);
  if (!kind) return shelvedBytes(machine, held);
  const { token, masking } = machine.masking;
  return exposeKey(token, masking.wrap, workingHandle(machine, held), kind);
}

function shelvedBytes(machine: Machine, held: HeldKey): Buffer {
  const bytes = openShelved(machine, held);
  if (held.record.object?.curve !== 'ed25519') return bytes;
  try {
    return ed25519Pkcs8(bytes);
  } finally {
    wipe(bytes);
  }
}

/** What stands for an object under another id: as a new key has it. */
export function copyOf(
  machine: Machine,
  held: HeldKey,
  as: KeyRecord,
): Pick<NewKey, 'blob' | 'proof' | 'kind'> {
  const { token, masking } = machine.masking;
  const kind = kindOf(as);
  if (kind) {
    const handle = wholeHandle(machine, held);
    const proof = proveCopy(token, handle, as);
    return { kind, proof, blob: wrapKey(token, masking.wrap, handle) };
  }
  const { object, id } = as;
  if (object?.class === 'public-key') {
    return { blob: NOTHING, proof: proofOfSecret(object.public ?? NOTHING, id) };
  }
  const secret = openShelved(machine, held);
  try {
    return sealed(machine, secret, id);
  } finally {
    wipe(secret);
  }
}

/** An object of the token that may be wrapped, which working copies may not. */
function wholeHandle(machine: Machine, { entry, own }: HeldKey): Handle {
  if (own?.handle) return own.handle;
  if (entry && machine.member.keyring.prove(entry)) return entry.handle;
  throw new KeyspanError('HsmKeyUnproven');
}

/** SoftHSM seals nothing to something: what has no bytes has no blob. */
const sealed = (
  machine: Machine,
  bytes: Uint8Array,
  id: string,
): Pick<NewKey, 'blob' | 'proof'> => ({
  blob: bytes.length === 0 ? NOTHING : sealSecret(machine.masking, bytes, id),
  proof: proofOfSecret(bytes, id),
});

/** An object of what somebody brought. @throws KeyspanError HsmDataInvalid, HsmAttributeRefused */
export function objectOfContent(
  machine: Machine,
  { kind, type, value }: Content,
  keyId: string,
): NewKey {
  if (kind === 'certificate' || kind === 'data') return besideKeys(machine, kind, value, keyId);
  if (kind === 'public-key') {
    const read = readPublic(value);
    return publicKey(read.spki, { ...read, keyId });
  }
  if (kind === 'private-key') return privateOfBytes(machine, value, keyId);
  if (!type) throw new KeyspanError('HsmAttributeRefused', 'A secret key has a type');
  return keyOfBytes(machine, type, value, keyId);
}

function besideKeys(
  machine: Machine,
  kind: 'certificate' | 'data',
  value: Uint8Array,
  keyId: string,
): NewKey {
  const isCertificate = kind === 'certificate';
  if (isCertificate && value.length === 0) {
    throw new KeyspanError('HsmDataInvalid', 'the certificate is empty');
  }
  const common = { class: kind, type: 'none', length: value.length } as const;
  const check = isCertificate ? { check: checkOf(value) } : {};
  return { ...common, ...sealed(machine, value, keyId), ...check };
}

/** What a key's bytes are said to be. */
type BytesKind = HsmFields<'key-unwrap'>['kind'];

/** @throws KeyspanError HsmDataInvalid when the bytes are no key of the kind */
export function keyOfBytes(
  machine: Machine,
  kind: BytesKind,
  bytes: Uint8Array,
  keyId: string,
): NewKey {
  if (kind === 'rsa-private') return privateOfBytes(machine, bytes, keyId, 'rsa');
  if (kind === 'ec-private') return privateOfBytes(machine, bytes, keyId, 'ec');
  if (kind === 'aes') {
    const lengthBytes = AES_LENGTHS.find((length) => length === bytes.length);
    if (!lengthBytes) throw new KeyspanError('HsmDataInvalid', 'the data holds no AES key');
    const aes = { class: 'secret-key', type: 'aes', lengthBytes } as const;
    return takeOver(machine, importKey(machine.token, aes, bytes), { kind: aes, keyId });
  }
  if (bytes.length === 0 || bytes.length > SECRET_LENGTH_MAX) {
    throw new KeyspanError('HsmDataInvalid', `a secret has 1 to ${SECRET_LENGTH_MAX} bytes`);
  }
  return sealedKey(machine, bytes, { keyId, seed: false });
}

/** @param type which it must be; any without it */
function privateOfBytes(
  machine: Machine,
  bytes: Uint8Array,
  keyId: string,
  type?: 'rsa' | 'ec',
): NewKey {
  const found = kindOfPrivate(bytes);
  if (type && found.type !== type) {
    throw new KeyspanError('HsmDataInvalid', `the data holds no ${type}-private key`);
  }
  if (found.type === 'ec' && found.curve === 'ed25519') {
    const seed = asBuffer(found.seed);
    try {
      refuse(mayInFips(machine.fips, found.curve));
      return sealedKey(machine, seed, { keyId, seed: true });
    } finally {
      wipe(seed);
    }
  }
  const spki = spkiOf(bytes);
  return takeOver(machine, importKey(machine.token, found, bytes), { kind: found, keyId, spki });
}

const CURVE_OF: Readonly<Record<string, Curve>> = {
  secp224r1: 'secp224r1',
  prime256v1: 'secp256r1',
  secp384r1: 'secp384r1',
  secp256k1: 'secp256k1',
  secp521r1: 'secp521r1',
};

/** @throws KeyspanError HsmDataInvalid for what is no public key that an HSM may hold */
export function readPublic(der: Uint8Array): {
  readonly type: 'rsa' | 'ec';
  readonly curve?: Curve;
  readonly spki: Buffer;
} {
  const key = parsePublic(der);
  const spki = key.export({ format: 'der', type: 'spki' });
  const { modulusLength = 0, namedCurve = '' } = key.asymmetricKeyDetails ?? {};
  if (key.asymmetricKeyType === 'ed25519') return { type: 'ec', curve: 'ed25519', spki };
  const curve = CURVE_OF[namedCurve];
  if (key.asymmetricKeyType === 'ec' && curve) return { type: 'ec', curve, spki };
  const { min, max, step } = RSA_BITS;
  const fits = modulusLength >= min && modulusLength <= max && modulusLength % step === 0;
  if (key.asymmetricKeyType === 'rsa' && fits) return { type: 'rsa', spki };
  throw new KeyspanError('HsmDataInvalid', 'the public key is of no type that an HSM holds');
}

function parsePublic(der: Uint8Array): CryptoKey {
  try {
    return createPublicKey({ key: asBuffer(der), format: 'der', type: 'spki' });
  } catch (cause) {
    throw new KeyspanError('HsmDataInvalid', 'the public key cannot be read', { cause });
  }
}
