import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { KeyspanError } from '../core/errors.js';

/** p11-kit's module for applications: what they load is its, and speaks to the daemon's socket. */
const NAME = 'p11-kit-client.so';

/** Where distributions have it; Debian has a folder for each architecture. */
function places(): string[] {
  const plain = ['/usr/lib64/pkcs11', '/usr/lib/pkcs11', '/usr/local/lib/pkcs11'];
  const brew = ['/opt/homebrew/lib/pkcs11', '/usr/local/opt/p11-kit/lib/pkcs11'];
  return [...libraries().map((folder) => join(folder, 'pkcs11')), ...plain, ...brew];
}

/** The folders of /usr/lib, of which Debian has one for each architecture. */
function libraries(): string[] {
  const root = '/usr/lib';
  return existsSync(root) ? readdirSync(root).map((name) => join(root, name)) : [];
}

/** Whether OpenSSL 3 has its PKCS #11 engine here. */
export const hasOpensslEngine = (): boolean =>
  [...libraries(), '/usr/lib64'].some((folder) => existsSync(join(folder, 'engines-3/pkcs11.so')));

/** @param among folders, for tests */
export function findClientModule(among: readonly string[] = places()): string | undefined {
  return among.map((place) => join(place, NAME)).find((path) => existsSync(path));
}

/** @throws KeyspanError KeyspanConfig with what is to be installed */
export function clientModule(): string {
  const found = findClientModule();
  if (found !== undefined) return found;
  const sentence = `${NAME} is missing: install p11-kit-modules (Debian) or p11-kit.`;
  throw new KeyspanError('KeyspanConfig', sentence);
}

/** An address as p11-kit reads it: everything but plain characters is percent-encoded. */
export const addressOf = (socket: string): string =>
  `unix:path=${socket.replaceAll(/[^A-Za-z0-9/._-]/g, (one) =>
    [...Buffer.from(one, 'utf8')]
      .map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`)
      .join(''),
  )}`;

/** Whether an address means that socket; there are several ways to write one. */
export function isAddressOf(socket: string, address: string): boolean {
  const [, path] = /^unix:path=([^;]*)$/.exec(address) ?? [];
  if (path === undefined) return false;
  try {
    return decodeURIComponent(path) === socket;
  } catch {
    return false;
  }
}

/** A module file of p11-kit that names that socket: its applications need no variable. */
export function findModuleFile(
  socket: string,
  among: readonly string[] = moduleFolders(),
): string | undefined {
  return among.flatMap(moduleFiles).find((file) => {
    const remote = /^\s*remote:\s*(\S+)\s*$/m.exec(readable(file))?.[1];
    return remote !== undefined && isAddressOf(socket, remote);
  });
}

/** Where p11-kit looks; what users have of their own it does not read for root. */
function moduleFolders(): string[] {
  const own = join(process.env['XDG_CONFIG_HOME'] ?? join(homedir(), '.config'), 'pkcs11/modules');
  const all = ['/etc/pkcs11/modules', '/usr/share/p11-kit/modules'];
  return process.getuid?.() === 0 ? all : [own, ...all];
}

/** What others may not read is not for this user's applications either. */
function readable(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

function moduleFiles(folder: string): string[] {
  if (!existsSync(folder)) return [];
  const names = readdirSync(folder).filter((name) => name.endsWith('.module'));
  return names.map((name) => join(folder, name));
}

/** What a client's version can carry besides what all can. */
export interface ClientVersion {
  /** as its package says, e.g. 0.24.1 */
  readonly version: string;
  /** AES-GCM, -CBC, -CTR, ECDH, ECDSA with a hash, PSS with a hash, CMAC, SHA-224 */
  readonly isWide: boolean;
}

/** @returns undefined where nobody knows */
export function clientVersion(): ClientVersion | undefined {
  for (const [program, ...words] of [
    ['dpkg-query', '-W', '-f=${Version}', 'p11-kit-modules'],
    ['rpm', '-q', '--qf', '%{VERSION}', 'p11-kit'],
    ['p11-kit', '--version'],
  ] as const) {
    const version = /\d+\.\d+\.\d+/.exec(ask(program, words))?.[0];
    if (version === undefined) continue;
    const [, minor = 0] = version.split('.').map(Number);
    return { version, isWide: minor >= 25 || !version.startsWith('0.') };
  }
  return undefined;
}

function ask(program: string, words: readonly string[]): string {
  try {
    return execFileSync(program, [...words], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
  } catch {
    return '';
  }
}
