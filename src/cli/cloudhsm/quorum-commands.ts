import type { QuorumService } from '../../protocol/hsm-session.js';
import { usage, type ClusterOptions, type Context } from './context.js';
import { referenceOf, type KeyOptions } from './key-commands.js';
import { writeApproval, writeUnsigned } from './token-files.js';
import { approvalOf } from './user-commands.js';

/** `quorum token-sign generate`: a token for others to sign, in a file. */
export async function generateToken(
  context: Context,
  options: KeyOptions & {
    readonly service: QuorumService;
    readonly token: string;
    readonly filter?: readonly string[];
  },
): Promise<unknown> {
  const { service, token: path, filter, clusterId } = options;
  const isOfKeys = service === 'key-usage' || service === 'key-management';
  if (isOfKeys !== (filter !== undefined)) {
    throw usage(`--filter ${isOfKeys ? 'says which key it is for' : 'is for keys alone'}`);
  }
  const key = filter && (await referenceOf(context, options, filter));
  const { tokens } = await context.session.act('QuorumGenerate', { service, key }, clusterId);
  if (service === 'registration') writeUnsigned(path, tokens);
  else writeApproval(path, { service, key }, tokens);
  return { path };
}

/** `quorum token-sign list` */
export function listTokens({ session }: Context, options: ClusterOptions): Promise<unknown> {
  return session.look('QuorumList', options.clusterId);
}

/** `quorum token-sign list-quorum-values` */
export function listValues({ session }: Context, options: ClusterOptions): Promise<unknown> {
  return session.look('QuorumListValues', options.clusterId);
}

/** `quorum token-sign set-quorum-value` */
export async function setValue(
  { session }: Context,
  options: ClusterOptions & {
    readonly service: string;
    readonly value: string;
    readonly approval?: string;
  },
): Promise<string> {
  const { service, value, clusterId } = options;
  if (!/^[1-8]$/.test(value)) throw usage('--value is a whole number from 1 to 8');
  const params = { service, value: Number(value), ...approvalOf(options) };
  await session.act('QuorumSetValue', params, clusterId);
  return 'Set quorum value successful';
}

/** `quorum token-sign delete` */
export async function deleteTokens(
  { session }: Context,
  options: ClusterOptions & { readonly scope: 'user' | 'all' },
): Promise<string> {
  await session.act('QuorumDelete', { scope: options.scope }, options.clusterId);
  return 'Deletion of quorum token(s) successful';
}
