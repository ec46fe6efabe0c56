import { LIMITS } from '../../core/limits.js';
import { HASHES, type Hash } from '../../protocol/mechanisms.js';
import { usage, type Context } from './context.js';
import { readAttributes } from './key-filter.js';
import {
  checkOf,
  hexBlob,
  referenceOf,
  type KeyOptions,
  type MakingOptions,
} from './key-commands.js';
import { readText, writeText } from './token-files.js';
import { approvalOf } from './user-commands.js';
import { readApproval } from './token-files.js';

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

function mechanismOf(name: string, options: MechanismOptions): object {
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

/** Bytes that are given in base64, or stand in a file. */
interface Given {
  readonly data?: string;
  readonly dataPath?: string;
}

function dataOf({ data, dataPath }: Given, name = '--data'): string {
  if ((data === undefined) === (dataPath === undefined)) {
    throw usage(`Either ${name} or ${name}-path is needed`);
  }
  if (dataPath !== undefined) {
    return readText(dataPath, LIMITS.cli_data_file_max_bytes).toString('base64');
  }
  return data ?? '';
}

/** What is signed, with which key. */
export interface SignOptions extends KeyOptions, MechanismOptions, Given {
  readonly keyFilter: readonly string[];
  readonly dataType?: 'raw' | 'digest';
  readonly approval?: string;
}

/** `crypto sign` */
export async function sign(
  context: Context,
  mechanism: string,
  options: SignOptions,
): Promise<unknown> {
  const key = await referenceOf(context, options, options.keyFilter);
  const params = {
    key,
    mechanism: mechanismOf(mechanism, options),
    data: dataOf(options),
    digested: options.dataType === 'digest',
    ...approvalOf(options),
  };
  const { signature } = await context.session.act('KeySign', params, options.clusterId);
  return { 'key-reference': key, signature };
}

/** `crypto verify` */
export async function verify(
  context: Context,
  mechanism: string,
  options: SignOptions & { readonly signature?: string; readonly signaturePath?: string },
): Promise<unknown> {
  const { signature, signaturePath } = options;
  const key = await referenceOf(context, options, options.keyFilter);
  const given = {
    ...(signature !== undefined && { data: signature }),
    ...(signaturePath !== undefined && { dataPath: signaturePath }),
  };
  const params = {
    key,
    mechanism: mechanismOf(mechanism, options),
    data: dataOf(options),
    digested: options.dataType === 'digest',
    signature: dataOf(given, '--signature'),
  };
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
  const payload = await referenceOf(context, options, options.payloadFilter);
  const wrapping = await referenceOf(context, options, options.wrappingFilter);
  const { payloadApproval, wrappingApproval, path } = options;
  const params = {
    payload,
    wrapping,
    mechanism: mechanismOf(mechanism, options),
    ...(payloadApproval !== undefined && { payloadApproval: readApproval(payloadApproval) }),
    ...(wrappingApproval !== undefined && { wrappingApproval: readApproval(wrappingApproval) }),
  };
  const { data, iv } = await context.session.act('KeyWrap', params, options.clusterId);
  const bytes = (text: unknown): Buffer => Buffer.from(String(text), 'base64');
  if (path !== undefined) writeText(path, bytes(data));
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
  const { label, keyTypeClass: kind, session: sessionKey, shareCryptoUsers: share } = options;
  if (kind === 'des3') throw usage('3DES keys are not supported by SoftHSM behind this cluster');
  const wrapping = await referenceOf(context, options, options.filter);
  const { manageKeyQuorumValue: manage, useKeyQuorumValue: use } = options;
  const values = [manage ?? '0', use ?? '0'].map((text) => numberOf('A quorum value', text));
  const isGiven = manage !== undefined || use !== undefined;
  const params = {
    wrapping,
    mechanism: mechanismOf(mechanism, options),
    data: dataOf(options),
    kind,
    key: { label, attributes: readAttributes(options.attributes) },
    sessionKey,
    ...checkOf(options),
    ...(share && { share }),
    ...(isGiven && { quorum: { manage: values[0], use: values[1] } }),
    ...approvalOf(options),
  };
  return await context.session.act('KeyUnwrap', params, options.clusterId);
}
