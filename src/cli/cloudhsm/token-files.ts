import { createHash } from 'node:crypto';
import { parseBase64 } from '../../core/bytes.js';
import type { KeyspanError } from '../../core/errors.js';
import { LIMITS } from '../../core/limits.js';
import { usage } from './context.js';
import { readText, writeOwned } from './user-files.js';

/**
 * The files that tokens go by between HSMs and those who sign them (CloudHSM CLI, "quorum
 * token-sign" and "change-mfa"): JSON with base64 in it.
 */
const VERSION = '2.0';

/** A token of one HSM as the daemon tells it: base64. */
interface HsmToken {
  readonly token: unknown;
}

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
const bytesOf = (text: unknown): Buffer => Buffer.from(String(text), 'base64');
const sha256 = (bytes: Uint8Array): Buffer => createHash('sha256').update(bytes).digest();

/** A file with each HSM's token: of a second factor, or of the registration of a key. */
export function writeUnsigned(path: string, tokens: readonly HsmToken[]): void {
  const all = tokens.map(({ token }) => {
    const data = bytesOf(token);
    return { approval_data: base64(data), unsigned: base64(sha256(data)), signed: '' };
  });
  writeDocument(path, { version: VERSION, tokens: all });
}

/**
 * What a user made of it: each token with its signature.
 * @param given the tokens, where they are known: files of second factors may say digests alone
 * @throws KeyspanError KeyspanUsage
 */
export function readSigned(
  path: string,
  given: readonly HsmToken[] = [],
): { token: string; signature: string }[] {
  const { tokens } = readDocument(path);
  if (!Array.isArray(tokens) || tokens.length === 0) throw bad(path, 'it holds no tokens');
  const known = new Map(given.map(({ token }) => [base64(sha256(bytesOf(token))), String(token)]));
  return tokens.map((one: unknown) => {
    const { approval_data: data, unsigned, signed } = (one ?? {}) as Record<string, unknown>;
    const token = readBase64(data) ?? known.get(readBase64(unsigned) ?? '');
    if (token === undefined) throw bad(path, 'a token has no approval_data');
    const signature = readBase64(signed);
    if (signature === undefined) throw bad(path, 'a token is not signed');
    return { token, signature };
  });
}

/** One token over all HSMs, for others to approve. */
export function writeApproval(
  path: string,
  of: { readonly service: string; readonly key?: string | undefined },
  tokens: readonly HsmToken[],
): void {
  const data = Buffer.concat(tokens.map(({ token }) => bytesOf(token)));
  const key = of.key === undefined ? {} : { service: of.service, key_reference: of.key };
  writeDocument(path, {
    version: VERSION,
    ...key,
    approval_data: base64(data),
    token: base64(sha256(data)),
    signatures: [],
  });
}

/** The approval as it is given to an operation. */
export interface ApprovalFile {
  readonly data: string;
  readonly signatures: readonly {
    readonly username: string;
    readonly role?: string;
    readonly signature: string;
  }[];
}

/** @throws KeyspanError KeyspanUsage */
export function readApproval(path: string): ApprovalFile {
  const { approval_data, signatures } = readDocument(path);
  const data = readBase64(approval_data);
  if (data === undefined) throw bad(path, 'it has no approval_data');
  if (!Array.isArray(signatures)) throw bad(path, 'it has no list of signatures');
  const read = signatures.map((one: unknown) => {
    const { username, role, signature: signed } = (one ?? {}) as Record<string, unknown>;
    if (typeof username !== 'string') throw bad(path, 'a signature has no username');
    const signature = readBase64(signed);
    if (signature === undefined) throw bad(path, `the signature of ${username} is no base64`);
    return { username, signature, ...(typeof role === 'string' && role !== '' && { role }) };
  });
  return { data, signatures: read };
}

/** Base64 as it is pasted: `base64` without `-w0` breaks it into lines. */
function readBase64(value: unknown): string | undefined {
  if (typeof value !== 'string') return undefined;
  const text = value.replaceAll(/\s/g, '');
  return text !== '' && parseBase64(text) ? text : undefined;
}

const bad = (path: string, what: string): KeyspanError =>
  usage(`The file ${path} is no token file: ${what}`);

function readDocument(path: string): Record<string, unknown> {
  const text = readText(path, LIMITS.token_file_max_bytes);
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
  } catch {
    // said below
  }
  throw bad(path, 'it is no JSON');
}

function writeDocument(path: string, document: object): void {
  writeOwned(path, `${JSON.stringify(document, null, 2)}\n`);
}
