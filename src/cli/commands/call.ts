import { readFile } from 'node:fs/promises';
import { KeyspanError } from '../../core/errors.js';
import { findHome } from '../../core/home.js';
import { connectToCluster } from '../cluster-client.js';
import { EXIT, note, printJson } from '../output.js';
import type { SharedOptions } from '../global-options.js';

/** One operation; blobs are base64 in both directions, as in the AWS CLI. */
export async function call(
  options: SharedOptions & {
    readonly action: string;
    readonly params: string;
    readonly debug?: boolean;
  },
): Promise<number> {
  const params = await readParams(options.params);
  const client = await connectToCluster(findHome(options.home), 'keyspan.v1.json');
  try {
    const { result, hsm } = await client.call(options.action, params);
    printJson(result);
    if (options.debug) note(`answered by ${hsm ?? 'no HSM'} through ${client.endpoint ?? '-'}`);
    return EXIT.ok;
  } finally {
    await client.close();
  }
}

/** @throws KeyspanError (KeyspanUsage) when `text` is no JSON object or names no readable file */
export async function readParams(text: string): Promise<Record<string, unknown>> {
  const json = text.startsWith('file://') ? (await readNamed(text)).toString('utf8') : text;
  let params: unknown;
  try {
    params = JSON.parse(json);
  } catch (cause) {
    throw new KeyspanError('KeyspanUsage', 'the parameters are not JSON', { cause });
  }
  if (typeof params !== 'object' || params === null || Array.isArray(params)) {
    throw new KeyspanError('KeyspanUsage', 'the parameters are not a JSON object');
  }
  return (await readMembers(params)) as Record<string, unknown>;
}

/** Puts the contents of files where members name them; `fileb://` is a blob, `file://` text. */
async function readMembers(value: unknown): Promise<unknown> {
  if (typeof value === 'string') {
    if (value.startsWith('fileb://')) return (await readNamed(value)).toString('base64');
    return value.startsWith('file://') ? (await readNamed(value)).toString('utf8') : value;
  }
  if (Array.isArray(value)) return await Promise.all(value.map(readMembers));
  if (typeof value !== 'object' || value === null) return value;
  const members = Object.entries(value).map(
    async ([name, member]) => [name, await readMembers(member)] as const,
  );
  return Object.fromEntries(await Promise.all(members));
}

async function readNamed(url: string): Promise<Buffer> {
  const path = url.slice(url.indexOf('//') + 2);
  try {
    return await readFile(path);
  } catch (cause) {
    throw new KeyspanError('KeyspanUsage', `${path} cannot be read`, { cause });
  }
}
