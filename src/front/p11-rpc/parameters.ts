import type { HsmFields } from '../../protocol/hsm-frames.js';
import { CKM } from '../../core/pkcs11.js';
import type { P11Mechanism, P11Parameter } from '../../protocol/p11-mechanism.js';
import { fail } from './failure.js';
import { HASH_BYTES, MECHANISMS, type HashName, type MechanismFacts } from './mechanism-table.js';

/** Mechanisms with their parameters as an HSM takes them. */
export type FrameMechanism = HsmFields<'p11-sign'>['mechanism'];

const HASH_OF: Readonly<Record<number, HashName>> = {
  [CKM.SHA_1]: 'sha1',
  [CKM.SHA224]: 'sha224',
  [CKM.SHA256]: 'sha256',
  [CKM.SHA384]: 'sha384',
  [CKM.SHA512]: 'sha512',
};
/** CKG_MGF1_SHA1, SHA256, SHA384, SHA512, SHA224 */
const MGF_MAX = 5;
const AES_BLOCK_BYTES = 16;
const CKZ_DATA_SPECIFIED = 1;
const GCM_TAG_BITS: ReadonlySet<number> = new Set([32, 64, 96, 104, 112, 120, 128]);

/** What a mechanism is. @throws P11Failure MECHANISM_INVALID */
export function factsOf({ type }: P11Mechanism): MechanismFacts {
  const facts = MECHANISMS.get(type);
  if (!facts) throw fail('MECHANISM_INVALID');
  return facts;
}

/**
 * The mechanism as an HSM takes it.
 * @param encrypts GCM: the initialization vector is the caller's, since this wire has no way back
 * for one that an HSM makes
 * @throws P11Failure MECHANISM_PARAM_INVALID
 */
export function frameMechanism(
  { type, parameter }: P11Mechanism,
  facts: MechanismFacts,
  encrypts = false,
): FrameMechanism {
  if (facts.parameter === 'none') {
    if (parameter && !isEmpty(parameter)) throw fail('MECHANISM_PARAM_INVALID');
    return { type };
  }
  if (parameter?.kind !== facts.parameter) throw fail('MECHANISM_PARAM_INVALID');
  const members = membersOf(parameter, facts, encrypts);
  if (!members) throw fail('MECHANISM_PARAM_INVALID');
  return { type, ...members };
}

const isEmpty = (parameter: P11Parameter): boolean =>
  parameter.kind === 'bytes' && parameter.bytes.length === 0;

type Members = Omit<FrameMechanism, 'type'>;

function membersOf(
  parameter: P11Parameter,
  facts: MechanismFacts,
  encrypts: boolean,
): Members | undefined {
  switch (parameter.kind) {
    case 'iv':
      return parameter.iv.length === AES_BLOCK_BYTES ? { iv: parameter.iv } : undefined;
    case 'ctr':
      return ctr(parameter);
    case 'gcm':
      return gcm(parameter, encrypts);
    case 'pss':
      return pss(parameter, facts);
    case 'oaep':
      return oaep(parameter);
    case 'length':
      return macLength(parameter.length, facts);
    case 'ecdh':
    case 'bytes':
      return undefined;
  }
}

function ctr({ bits, block }: Extract<P11Parameter, { kind: 'ctr' }>): Members | undefined {
  const fits = bits >= 1 && bits <= 128 && block.length === AES_BLOCK_BYTES;
  return fits ? { counterBits: bits, iv: block } : undefined;
}

function gcm(
  { iv, aad, tagBits }: Extract<P11Parameter, { kind: 'gcm' }>,
  encrypts: boolean,
): Members | undefined {
  if (iv.length === 0 || iv.length > 128 || !GCM_TAG_BITS.has(tagBits)) return undefined;
  if (encrypts && iv.every((byte) => byte === 0)) return undefined;
  return { iv, tagBits, ...(aad && aad.length > 0 && { aad }) };
}

function pss(
  { hash, mgf, saltLength }: Extract<P11Parameter, { kind: 'pss' }>,
  facts: MechanismFacts,
): Members | undefined {
  const name = HASH_OF[hash];
  const fits = name !== undefined && (facts.hash === undefined || facts.hash === name);
  if (!fits || mgf < 1 || mgf > MGF_MAX || saltLength < 0 || saltLength > 512) return undefined;
  return { hash, mgf, saltLength };
}

function oaep({
  hash,
  mgf,
  source,
  label,
}: Extract<P11Parameter, { kind: 'oaep' }>): Members | undefined {
  const hasLabel = label !== null && label.length > 0;
  if (hasLabel && source !== CKZ_DATA_SPECIFIED) return undefined;
  if (HASH_OF[hash] === undefined || mgf < 1 || mgf > MGF_MAX) return undefined;
  return { hash, mgf, ...(hasLabel && { label }) };
}

/** AES-CMAC is as long as a block. */
export const macBytes = ({ hash }: MechanismFacts): number =>
  hash === undefined ? AES_BLOCK_BYTES : HASH_BYTES[hash];

function macLength(length: number, facts: MechanismFacts): Members | undefined {
  return length >= 1 && length <= macBytes(facts) ? { macLength: length } : undefined;
}

/** The hash of a parameter. */
export const hashNamed = (type: number): HashName | undefined => HASH_OF[type];
