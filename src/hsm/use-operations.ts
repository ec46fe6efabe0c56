import { KeyspanError } from '../core/errors.js';
import { pointOf, rsaPartsOf } from '../core/spki.js';
import { wipe } from '../core/bytes.js';
import type { HsmFields, HsmResults } from '../protocol/hsm-frames.js';
import { signEd25519ph, verifyEd25519ph } from '../token/ed25519ph.js';
import type { KeyObject } from './records.js';
import { sign as signOnToken, verifySignature, type SignMechanism } from '../token/signing.js';
import type { Session } from './authority.js';
import { heldKey, openShelved, workingHandle } from './held-keys.js';
import { needKeyApproval } from './key-approval.js';
import type { Machine } from './machine.js';
import { mayUseObject, objectOf } from './object-authority.js';
import { refuse } from './user-operations.js';

type Asked = HsmFields<'key-sign'>['mechanism'];

/** Which keys a mechanism works with. */
const FITS: Readonly<Record<Asked['name'], (key: KeyObject) => boolean>> = {
  'rsa-pkcs': ({ type }) => type === 'rsa',
  'rsa-pkcs-pss': ({ type }) => type === 'rsa',
  ecdsa: ({ type, curve }) => type === 'ec' && curve !== 'ed25519',
  ed25519: ({ curve }) => curve === 'ed25519',
  ed25519ph: ({ curve }) => curve === 'ed25519',
};

/** The mechanism with what it needs. @throws KeyspanError HsmUsageRefused */
function mechanismFor(asked: Asked, key: KeyObject | undefined): SignMechanism {
  const { name, hash = 'sha256', mgf = hash, saltLength } = asked;
  if (!key || !FITS[name](key)) {
    throw new KeyspanError('HsmUsageRefused', `the key is not for the mechanism ${name}`);
  }
  if (name === 'ed25519' || name === 'ed25519ph') return { name };
  if (name !== 'rsa-pkcs-pss') return { name, hash };
  const salt = saltLength ?? HASH_BYTES[hash];
  // of a modulus: what is left of it beside the digest
  if (key.public && salt > rsaPartsOf(key.public).n.length - HASH_BYTES[hash] - 2) {
    throw new KeyspanError('HsmMechanismParamInvalid', 'the salt is too long');
  }
  return { name, hash, mgf, saltLength: salt };
}

const HASH_BYTES = { sha1: 20, sha224: 28, sha256: 32, sha384: 48, sha512: 64 } as const;

/** Signs with a private key. */
export function signData(
  machine: Machine,
  session: Session,
  fields: HsmFields<'key-sign'>,
): HsmResults['key-sign'] {
  const { data, digested, approval } = fields;
  const held = heldKey(machine, session, fields.keyId);
  const { record } = held;
  refuse(mayUseObject(session, record, 'sign'));
  const mechanism = mechanismFor(fields.mechanism, objectOf(record));
  needKeyApproval(machine, session, record, { service: 'key-usage', approval });
  // SoftHSM's process ends when PSS meets a key that is not RSA: what fits was looked at above
  if (mechanism.name !== 'ed25519ph') {
    const handle = workingHandle(machine, held);
    return { signature: signOnToken(machine.token, handle, mechanism, data, { digested }) };
  }
  const seed = openShelved(machine, held);
  try {
    return { signature: signEd25519ph(seed, data, { digested }) };
  } finally {
    wipe(seed);
  }
}

/** Checks a signature with a public key: nothing of it is secret, so the token is not asked. */
export function verifyData(
  machine: Machine,
  session: Session,
  fields: HsmFields<'key-verify'>,
): HsmResults['key-verify'] {
  const { data, digested, signature } = fields;
  const { record } = heldKey(machine, session, fields.keyId);
  refuse(mayUseObject(session, record, 'verify'));
  const mechanism = mechanismFor(fields.mechanism, objectOf(record));
  const spki = record.object?.public;
  if (!spki) throw new KeyspanError('HsmUsageRefused', 'the key has no public half');
  const given = { data, signature, digested };
  const valid =
    mechanism.name === 'ed25519ph'
      ? verifyEd25519ph(pointOf(spki), given)
      : verifySignature(machine.token, spki, mechanism, given);
  return { valid };
}
