import { LIMITS } from '../../core/limits.js';
import { HASHES, type Hash } from '../../protocol/mechanisms.js';
import { usage, type Context } from './context.js';
import { readAttributes } from './key-filter.js';
import {
  commonOf,
  hexBlob,
  referenceOf,
  type KeyOptions,
  type MakingOptions,
} from './key-commands.js';
import { signedData } from './signed-data.js';
import { readApproval } from './token-files.js';
import { approvalOf } from './user-commands.js';
import { bytesOf, writeOwned, type Given } from './user-files.js';

/** A mechanism's own options. */
export interface MechanismOptions {
  readonly hashFunction?: string;
  readonly mgf?: string;
  readonly saltLength?: string;
  readonly tagLengthBits?: string;
  readonly aad?: string;
  readonly iv?: string;
}

function hashOf(name: string, text: string): Hash {
  const hash = HASHES.find((one) => one === text);
  if (!hash) throw usage(`${name} is one of: ${HASHES.join(', ')}`);
  return hash;
}

/** `mgf1-sha256` and so on. */
function mgfOf(text: string): Hash {
  if (!text.startsWith('mgf1-')) throw usage(`--mgf is mgf1- and one of: ${HASHES.join(', ')}`);
  return hashOf('--mgf', text.slice('mgf1-'.length));
}

function numberOf(name: string, text: string): number {
  if (!/^\d{1,5}$/.test(text)) throw usage(`${name} is a whole number`);
  return Number(text);
}

/** A mechanism as the daemon takes it. */
interface Mechanism {
  readonly name: string;
  readonly hash?: Hash;
}

function mechanismOf(name: string, options: MechanismOptions): Mechanism {
  const { hashFunction, mgf, saltLength, tagLengthBits, aad, iv } = options;
  return {
    name,
    ...(hashFunction !== undefined && { hash: hashOf('--hash-function', hashFunction) }),
    ...(mgf !== undefined && { mgf: mgfOf(mgf) }),
    ...(saltLength !== undefined && { saltLength: numberOf('--salt-length', saltLength) }),
    ...(tagLengthBits !== undefined && { tagBits: numberOf('--tag-length-bits', tagLengthBits) }),
    ...(aad !== undefined && { aad: hexBlob('--aad', aad) }),
    ...(iv !== undefined && { iv: hexBlob('--iv', iv) }),
  };
}

/** What is signed, with which key. */
export interface SignOptions extends KeyOptions, MechanismOptions, Given {
  readonly keyFilter: readonly string[];
  readonly dataType?: 'raw' | 'digest';
  readonly approval?: string;
}

/** The mechanism, and what is signed by it. */
function signing(name: string, options: SignOptions): object {
  const mechanism = mechanismOf(name, options);
  const how = { mechanism: name, hash: mechanism.hash, digested: options.dataType === 'digest' };
  return { mechanism, ...signedData(options, how) };
}

/** `crypto sign` */
export async function sign(
  context: Context,
  mechanism: string,
  options: SignOptions,
): Promise<unknown> {
  const asked = { ...signing(mechanism, options), ...approvalOf(options) };
  const key = await referenceOf(context, options, options.keyFilter);
  const params = { key, ...asked };
  const { signature } = await context.session.act('KeySign', params, options.clusterId);
  return { 'key-reference': key, signature };
}

/** `crypto verify` */
export async function verify(
  context: Context,
  mechanism: string,
  options: SignOptions & { readonly signature?: string; readonly signaturePath?: string },
): Promise<unknown> {
  const given = { data: options.signature, dataPath: options.signaturePath };
  const signature = bytesOf(given, '--signature', LIMITS.cli_data_file_max_bytes);
  const asked = { ...signing(mechanism, options), signature };
  const key = await referenceOf(context, options, options.keyFilter);
  const params = { key, ...asked };
  const { valid } = await context.session.act('KeyVerify', params, options.clusterId);
  if (!valid) throw usage('Signature verification failed');
  return { message: 'Signature verified successfully' };
}

/** `key wrap` */
export async function wrap(
  context: Context,
  mechanism: string,
  options: KeyOptions &
    MechanismOptions & {
      readonly payloadFilter: readonly string[];
      readonly wrappingFilter: readonly string[];
      readonly path?: string;
      readonly payloadApproval?: string;
      readonly wrappingApproval?: string;
    },
): Promise<unknown> {
  const { payloadApproval, wrappingApproval, path } = options;
  const asked = {
    mechanism: mechanismOf(mechanism, options),
    ...(payloadApproval !== undefined && { payloadApproval: readApproval(payloadApproval) }),
    ...(wrappingApproval !== undefined && { wrappingApproval: readApproval(wrappingApproval) }),
  };
  const payload = await referenceOf(context, options, options.payloadFilter);
  const wrapping = await referenceOf(context, options, options.wrappingFilter);
  const params = { payload, wrapping, ...asked };
  const { data, iv } = await context.session.act('KeyWrap', params, options.clusterId);
  const bytes = (text: unknown): Buffer => Buffer.from(String(text), 'base64');
  if (path !== undefined) writeOwned(path, bytes(data));
  return {
    payload_key_reference: payload,
    wrapping_key_reference: wrapping,
    ...(iv && { iv: `0x${bytes(iv).toString('hex')}` }),
    ...(path === undefined && { wrapped_key_data: data }),
  };
}

/** `key unwrap` */
export async function unwrap(
  context: Context,
  mechanism: string,
  options: MakingOptions &
    MechanismOptions &
    Given & {
      readonly filter: readonly string[];
      readonly label: string;
      readonly keyTypeClass: string;
      readonly attributes?: readonly string[];
      readonly manageKeyQuorumValue?: string;
      readonly useKeyQuorumValue?: string;
      readonly approval?: string;
    },
): Promise<unknown> {
  const { label, keyTypeClass: kind } = options;
  const { manageKeyQuorumValue: manage, useKeyQuorumValue: use } = options;
  if (kind === 'des3') throw usage('3DES keys are not supported by SoftHSM behind this cluster');
  const asked = {
    mechanism: mechanismOf(mechanism, options),
    data: bytesOf(options, '--data', LIMITS.cli_data_file_max_bytes),
    kind,
    key: { label, attributes: readAttributes(options.attributes) },
    ...commonOf(options, { manage, use }),
    ...approvalOf(options),
  };
  const wrapping = await referenceOf(context, options, options.filter);
  return await context.session.act('KeyUnwrap', { wrapping, ...asked }, options.clusterId);
}
