import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { LIMITS } from '../../core/limits.js';
import { KeyspanError } from '../../core/errors.js';
import { usage } from './context.js';

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

/** One file for each HSM's token: a second factor, or the registration of a key. */
export function writeUnsigned(path: string, tokens: readonly HsmToken[]): void {
  const all = tokens.map(({ token }) => {
    const data = bytesOf(token);
    return { approval_data: base64(data), unsigned: base64(sha256(data)), signed: '' };
  });
  writeDocument(path, { version: VERSION, tokens: all });
}

/** What a user made of it: each token with its signature. @throws KeyspanError KeyspanUsage */
export function readSigned(path: string): { token: string; signature: string }[] {
  const { tokens } = readDocument(path);
  if (!Array.isArray(tokens) || tokens.length === 0) throw bad(path, 'it holds no tokens');
  return tokens.map((one: unknown) => {
    const { approval_data: token, signed } = (one ?? {}) as Record<string, unknown>;
    if (!isBase64(token)) throw bad(path, 'a token has no approval_data');
    if (!isBase64(signed)) throw bad(path, 'a token is not signed');
    return { token, signature: signed };
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
  const { approval_data: data, signatures } = readDocument(path);
  if (!isBase64(data)) throw bad(path, 'it has no approval_data');
  if (!Array.isArray(signatures)) throw bad(path, 'it has no list of signatures');
  const read = signatures.map((one: unknown) => {
    const { username, role, signature } = (one ?? {}) as Record<string, unknown>;
    if (typeof username !== 'string') throw bad(path, 'a signature has no username');
    if (!isBase64(signature)) throw bad(path, `the signature of ${username} is no base64`);
    return { username, signature, ...(typeof role === 'string' && role !== '' && { role }) };
  });
  return { data, signatures: read };
}

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
const isBase64 = (value: unknown): value is string =>
  typeof value === 'string' && value !== '' && BASE64.test(value);

const bad = (path: string, what: string): KeyspanError =>
  usage(`The file ${path} is no token file: ${what}`);

function readDocument(path: string): Record<string, unknown> {
  const text = readText(path, LIMITS.token_file_max_bytes).toString('utf8');
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
  } catch {
    // said below
  }
  throw bad(path, 'it is no JSON');
}

function writeDocument(path: string, document: object): void {
  writeText(path, `${JSON.stringify(document, null, 2)}\n`);
}

/** A file that a user names. @throws KeyspanError KeyspanUsage with what the system says */
export function readText(path: string, maxBytes: number): Buffer {
  try {
    const bytes = readFileSync(path);
    if (bytes.length <= maxBytes) return bytes;
  } catch (cause) {
    throw fileError(path, 'read', cause);
  }
  throw usage(`The file ${path} is over ${maxBytes} bytes`);
}

/** Only the user may read it. @throws KeyspanError KeyspanUsage with what the system says */
export function writeText(path: string, text: string | Uint8Array): void {
  try {
    writeFileSync(path, text, { mode: 0o600 });
  } catch (cause) {
    throw fileError(path, 'written', cause);
  }
}

function fileError(path: string, what: string, cause: unknown): KeyspanError {
  const { code = 'unknown' } = cause as NodeJS.ErrnoException;
  return usage(`The file ${path} cannot be ${what}: ${code}`);
}
