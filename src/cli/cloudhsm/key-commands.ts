import { LIMITS } from '../../core/limits.js';
import type { HsmSessionResults } from '../../protocol/hsm-session.js';
import { CURVES, CURVE_ALIASES, type Curve } from '../../protocol/objects.js';
import { usage, type ClusterOptions, type Context } from './context.js';
import { readAttributes, readFilter } from './key-filter.js';
import { approvalOf, withDestination, type ReplicateOptions } from './user-commands.js';
import { referencePem, type ReferenceEncoding } from './reference-pem.js';
import { readText, writeOwned } from './user-files.js';

/** A command with keys: they are looked for on as many HSMs as new keys are put on. */
export interface KeyOptions extends ClusterOptions {
  readonly disableKeyAvailabilityCheck?: boolean;
}

type Found = HsmSessionResults['KeyFind'];
type Key = Found['keys'][number];

const UNCHECKED = 'CLOUDHSM_DISABLE_KEY_AVAILABILITY_CHECK';

const checkOf = ({ disableKeyAvailabilityCheck }: KeyOptions): object =>
  disableKeyAvailabilityCheck || process.env[UNCHECKED] === 'true'
    ? { availabilityCheck: false }
    : {};

/**
 * The one key that a filter fits.
 * @throws KeyspanError KeyspanUsage when it fits none, or more than one
 */
export async function oneKey(
  { session }: Context,
  options: KeyOptions,
  filter: readonly string[],
  cluster = options.clusterId,
): Promise<Key> {
  const asked = { filter: readFilter(filter), limit: 2, verbose: true, ...checkOf(options) };
  const { keys, total } = await session.act('KeyFind', asked, cluster);
  const [key] = keys;
  if (!key) throw usage('Key not found');
  if (total > 1) throw usage('More than one key matches the filter');
  return key;
}

/** Its reference. */
export async function referenceOf(
  context: Context,
  options: KeyOptions,
  filter: readonly string[],
  cluster?: string,
): Promise<string> {
  return (await oneKey(context, options, filter, cluster))['key-reference'];
}

const PAGE_MAX = LIMITS.key_page_max;
/** What is known of keys is asked for in portions that an answer holds. */
const VERBOSE_MAX = LIMITS.key_page_max / 10;

/** `key list` */
export async function listKeys(
  context: Context,
  options: KeyOptions & {
    readonly filter?: readonly string[];
    readonly maxItems?: string;
    readonly startingToken?: string;
    readonly verbose?: boolean;
  },
): Promise<unknown> {
  const count = readCount('--max-items', options.maxItems ?? '10', 1);
  const start = readCount('--starting-token', options.startingToken ?? '0', 0);
  const { verbose = false } = options;
  const filter = readFilter(options.filter ?? []);
  const common = { filter, ...checkOf(options) };
  const keys: Key[] = [];
  let total = 0;
  let seen = 0;
  for (let after: string | undefined, more = true; more && seen < start + count;) {
    // what comes before the page is only counted
    const isBefore = seen < start;
    const most = verbose && !isBefore ? VERBOSE_MAX : PAGE_MAX;
    const limit = Math.min(most, isBefore ? start - seen : start + count - seen);
    const page = { ...common, after, limit, verbose: verbose && !isBefore };
    const found = await context.session.act('KeyFind', page, options.clusterId);
    total = found.total;
    if (!isBefore) keys.push(...found.keys);
    seen += found.keys.length;
    after = found.keys.at(-1)?.['key-reference'];
    more = found.more && found.keys.length > 0;
  }
  return {
    matched_keys: keys,
    total_key_count: total,
    returned_key_count: keys.length,
    ...(seen < total && { next_token: String(seen) }),
  };
}

function readCount(name: string, text: string, least: number): number {
  const count = /^\d{1,9}$/.test(text) ? Number(text) : -1;
  if (count < least) throw usage(`${name} is a whole number from ${least}`);
  return count;
}

/** What is said of every key that is made. */
export interface MakingOptions extends KeyOptions {
  readonly session?: boolean;
  readonly shareCryptoUsers?: readonly string[];
}

interface Quorum {
  readonly manage?: string | undefined;
  readonly use?: string | undefined;
}

export function commonOf(options: MakingOptions, quorum: Quorum = {}): object {
  const { session: sessionKey, shareCryptoUsers: share } = options;
  return { sessionKey, ...(share && { share }), ...quorumOf(quorum), ...checkOf(options) };
}

/** Both values or neither; what they may be an HSM decides. */
function quorumOf({ manage, use }: Quorum): object {
  if (manage === undefined && use === undefined) return {};
  if (manage === undefined || use === undefined) {
    throw usage('The manage key and use key quorum values are given together');
  }
  const [first, second] = [manage, use].map((text) => readCount('A quorum value', text, 0));
  return { quorum: { manage: first, use: second } };
}

/** `key generate-symmetric aes|generic-secret` */
export async function generateSymmetric(
  { session }: Context,
  type: 'aes' | 'generic-secret',
  options: MakingOptions & {
    readonly label: string;
    readonly keyLengthBytes: string;
    readonly attributes?: readonly string[];
    readonly manageKeyQuorumValue?: string;
    readonly useKeyQuorumValue?: string;
  },
): Promise<unknown> {
  const { label, manageKeyQuorumValue: manage, useKeyQuorumValue: use } = options;
  const length = readCount('--key-length-bytes', options.keyLengthBytes, 1);
  const params = {
    spec: { type, length },
    key: { label, attributes: readAttributes(options.attributes) },
    ...commonOf(options, { manage, use }),
  };
  return await session.act('KeyGenerate', params, options.clusterId);
}

/** What is said of both halves of a pair. */
export interface PairOptions extends MakingOptions {
  readonly publicLabel: string;
  readonly privateLabel: string;
  readonly publicAttributes?: readonly string[];
  readonly privateAttributes?: readonly string[];
  readonly managePrivateKeyQuorumValue?: string;
  readonly usePrivateKeyQuorumValue?: string;
}

async function generatePair(
  { session }: Context,
  spec: object,
  options: PairOptions,
): Promise<unknown> {
  const { managePrivateKeyQuorumValue: manage, usePrivateKeyQuorumValue: use } = options;
  const made = await session.act(
    'KeyGeneratePair',
    {
      spec,
      publicKey: {
        label: options.publicLabel,
        attributes: readAttributes(options.publicAttributes),
      },
      privateKey: {
        label: options.privateLabel,
        attributes: readAttributes(options.privateAttributes),
      },
      ...commonOf(options, { manage, use }),
    },
    options.clusterId,
  );
  return { public_key: made.publicKey, private_key: made.privateKey };
}

/** `key generate-asymmetric-pair rsa` */
export async function generateRsa(
  context: Context,
  options: PairOptions & { readonly modulusSizeBits: string; readonly publicExponent: string },
): Promise<unknown> {
  const bits = readCount('--modulus-size-bits', options.modulusSizeBits, 1);
  const exponent = readCount('--public-exponent', options.publicExponent, 1);
  return await generatePair(context, { type: 'rsa', bits, exponent }, options);
}

/** `key generate-asymmetric-pair ec` */
export async function generateEc(
  context: Context,
  options: PairOptions & { readonly curve: string },
): Promise<unknown> {
  const curve = CURVE_ALIASES[options.curve] ?? options.curve;
  if (!isCurve(curve)) throw usage(`--curve is one of: ${CURVES.join(', ')}`);
  return await generatePair(context, { type: 'ec', curve }, options);
}

const isCurve = (name: string): name is Curve => (CURVES as readonly string[]).includes(name);

/** `key import pem` */
export async function importPem(
  { session }: Context,
  options: MakingOptions & {
    readonly path: string;
    readonly label: string;
    readonly keyTypeClass: 'ec-public' | 'rsa-public';
    readonly attributes?: readonly string[];
  },
): Promise<unknown> {
  const { path, label, clusterId } = options;
  const params = {
    pem: readText(path, LIMITS.pem_file_max_bytes),
    type: options.keyTypeClass === 'ec-public' ? 'ec' : 'rsa',
    key: { label, attributes: readAttributes(options.attributes) },
    ...commonOf(options),
  };
  const { key } = await session.act('KeyImport', params, clusterId);
  return { key, message: 'Successfully imported key' };
}

/** A command about one key. */
export interface OneKeyOptions extends KeyOptions {
  readonly filter: readonly string[];
}

/** What `key generate-file` writes: a public key, or what stands for a private one. */
export const FILE_ENCODINGS = ['pem', 'reference-pem', 'cloudhsm-reference-pem'] as const;
type FileEncoding = 'pem' | ReferenceEncoding;

/** `key generate-file` */
export async function generateFile(
  context: Context,
  options: OneKeyOptions & { readonly encoding: FileEncoding; readonly path: string },
): Promise<unknown> {
  const { encoding, path, filter, clusterId } = options;
  const key = await oneKey(context, options, filter);
  const { attributes } = key as { attributes: Readonly<Record<string, unknown>> };
  const { class: keyClass, 'key-type': type, curve } = attributes;
  const reference = key['key-reference'];
  if (keyClass !== (encoding === 'pem' ? 'public-key' : 'private-key')) {
    throw usage(`The encoding ${encoding} is not for a ${String(keyClass)}`);
  }
  const { pem } = await context.session.act('KeyPublic', { key: reference }, clusterId);
  const kind = String(type === 'rsa' ? type : curve);
  const content =
    encoding === 'pem' ? pem : referencePem({ reference, kind, publicPem: pem }, encoding);
  if (content === undefined) throw usage(`The encoding ${encoding} is not for ${kind} keys`);
  writeOwned(path, content);
  return { message: 'Successfully generated key file' };
}

/** `key delete` */
export async function deleteKey(context: Context, options: OneKeyOptions): Promise<unknown> {
  const key = await referenceOf(context, options, options.filter);
  await context.session.act('KeyDelete', { key }, options.clusterId);
  return { message: 'Key deleted successfully' };
}

/** `key set-attribute` */
export async function setAttribute(
  context: Context,
  options: OneKeyOptions & {
    readonly name: string;
    readonly value: string;
    readonly approval?: string;
  },
): Promise<unknown> {
  const { name, value, clusterId } = options;
  const key = await referenceOf(context, options, options.filter);
  const params = { key, name, value, ...approvalOf(options) };
  await context.session.act('KeySetAttribute', params, clusterId);
  return { message: 'Attribute set successfully' };
}

/** `key share`, `key unshare` */
export async function shareKey(
  context: Context,
  action: 'KeyShare' | 'KeyUnshare',
  options: OneKeyOptions & { readonly username: string; readonly approval?: string },
): Promise<unknown> {
  const { username, clusterId } = options;
  const key = await referenceOf(context, options, options.filter);
  await context.session.act(action, { key, username, ...approvalOf(options) }, clusterId);
  const done = action === 'KeyShare' ? 'shared' : 'unshared';
  return { message: `Key ${done} successfully` };
}

/** `key replicate`: to a cluster with the same backup history. */
export async function replicateKey(
  context: Context,
  options: OneKeyOptions & ReplicateOptions,
): Promise<unknown> {
  const { filter, sourceClusterId } = options;
  const key = await referenceOf(context, options, filter, sourceClusterId);
  return await withDestination(context, options, async (destination) => {
    const params = { destination, key };
    const replicated = await context.session.act('KeyReplicate', params, sourceClusterId);
    return { key: replicated.key, message: 'Successfully replicated key' };
  });
}

/** Bytes that are given in hex behind 0x, as base64. */
export function hexBlob(name: string, text: string): string {
  if (!/^0x(?:[0-9a-fA-F]{2})*$/.test(text)) throw usage(`${name} is hex digits behind 0x`);
  return Buffer.from(text.slice(2), 'hex').toString('base64');
}
