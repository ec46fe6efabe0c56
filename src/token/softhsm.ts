import {
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { packageFile } from '../core/entry.js';
import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { CKR } from '../core/pkcs11.js';
import { tornReason } from './object-file.js';

/** What native-config/modules/NAME.json says of a PKCS#11 module. */
export interface ModuleProfile {
  readonly name: string;
  /** the shared library's path on this machine */
  readonly library: string;
  readonly configuration: {
    /** the environment variable that names the module's configuration file */
    readonly variable: string;
    /** that file, named from the token's directory */
    readonly file: string;
    /** its template, named from the package's root */
    readonly template: string;
  };
  /** mechanisms that the module is relied on for, as PKCS#11 names them without CKM_ */
  readonly mechanisms: readonly string[];
  readonly quirks: {
    /** what C_Decrypt returns, AES-GCM, when the tag does not fit */
    readonly gcmAuthenticationFailures: ReadonlySet<number>;
  };
}

/** The parts of a token's directory (softhsm/README.md). */
const TOKENS = 'tokens';
const TORN = 'torn';
const PRIVATE_MODE = 0o700;
const OBJECT_SUFFIX = '.object';
const TOKEN_OBJECT = 'token.object';
/** longer than most objects; larger ones get a buffer of their own */
const READ_BUFFER_BYTES = 64 * 1024;
const DEFAULT_MODULE = 'softhsm2';
const LIBRARY_VARIABLE = 'KEYSPAN_HSM_MODULE';

interface ProfileFile {
  name: string;
  libraries: Record<string, string[]>;
  packages: string;
  configuration: ModuleProfile['configuration'];
  mechanisms: string[];
  quirks: { gcm_authentication_failures: (keyof typeof CKR)[] };
}

/**
 * Reads a module's profile and finds its library: KEYSPAN_HSM_MODULE when it is set, otherwise
 * the first candidate of the profile that exists.
 * @throws KeyspanError KeyspanConfig when there is no such profile or no library
 */
export function loadModuleProfile(name: string = DEFAULT_MODULE): ModuleProfile {
  const file = readProfile(name);
  const quirk = file.quirks.gcm_authentication_failures.map((code) => CKR[code]);
  return {
    name: file.name,
    library: findLibrary(file),
    configuration: file.configuration,
    mechanisms: file.mechanisms,
    quirks: { gcmAuthenticationFailures: new Set(quirk) },
  };
}

function readProfile(name: string): ProfileFile {
  const path = packageFile(`native-config/modules/${name}.json`);
  try {
    if (!/^[a-z0-9-]+$/.test(name)) throw new Error('not a module name');
    return JSON.parse(readFileSync(path, 'utf8')) as ProfileFile;
  } catch (cause) {
    throw new KeyspanError('KeyspanConfig', `there is no profile of a PKCS#11 module "${name}"`, {
      cause,
    });
  }
}

function findLibrary(file: ProfileFile): string {
  const override = process.env[LIBRARY_VARIABLE];
  if (override) {
    if (existsSync(override)) return override;
    throw new KeyspanError('KeyspanConfig', `${LIBRARY_VARIABLE} names no file: ${override}`);
  }
  const found = (file.libraries[process.platform] ?? []).find((path) => existsSync(path));
  if (found) return found;
  throw new KeyspanError(
    'KeyspanConfig',
    `the PKCS#11 module ${file.name} is not installed; install ${file.packages}, ` +
      `or set ${LIBRARY_VARIABLE} to the path of its library`,
  );
}

/**
 * Makes a token's directory ready, as softhsm/README.md lays it out, and writes the module's
 * configuration for it. What stands in it already is kept.
 * @throws KeyspanError KeyspanConfig when the path cannot stand in the module's configuration
 */
export function prepareTokenDirectory(directory: string, module: string = DEFAULT_MODULE): void {
  const root = resolve(directory);
  if (/[#\n\r]|\s$/.test(root)) {
    throw new KeyspanError('KeyspanConfig', `a token's directory may not be called ${root}`);
  }
  for (const path of [root, join(root, TOKENS), join(root, TORN)]) {
    mkdirSync(path, { recursive: true, mode: PRIVATE_MODE });
  }
  const { template, file } = readProfile(module).configuration;
  const text = readFileSync(packageFile(template), 'utf8');
  const fresh = join(root, `${file}.new`);
  writeFileSync(
    fresh,
    text.replaceAll('{{tokens}}', () => join(root, TOKENS)),
    { mode: 0o600 },
  );
  renameSync(fresh, join(root, file));
}

/** What statfs(2) says of a disk. */
export interface DiskSpace {
  readonly bavail: number;
  readonly bsize: number;
  /** 0 where the file system does not count files */
  readonly files: number;
  readonly ffree: number;
}

/**
 * Whether an object that was just written is sure to be whole. SoftHSM rewrites an object's file
 * many times and looks at the first write alone: on a full disk it answers CKR_OK, the object works
 * from memory, and its file is cut off.
 */
export function hasRoom({ bavail, bsize, files, ffree }: DiskSpace): boolean {
  const isCounted = files > 0;
  return (
    bavail * bsize >= LIMITS.token_disk_reserve_bytes &&
    (!isCounted || ffree >= LIMITS.token_disk_reserve_files)
  );
}

/** How many tokens a token's directory holds, loadable or not. */
export function countTokens(directory: string): number {
  return tokenFolders(directory).length;
}

/**
 * Moves all tokens of a directory to `torn/`, where they remain as evidence. Only while the module
 * is not initialised, and only for tokens that nothing was ever put on.
 */
export function putTokensAside(directory: string): void {
  for (const folder of tokenFolders(directory)) {
    renameSync(folder, join(resolve(directory), TORN, `${basename(folder)}-${Date.now()}`));
  }
}

/** The folders of the tokens in a token's directory. */
export function tokenFolders(directory: string): string[] {
  const tokens = join(resolve(directory), TOKENS);
  if (!existsSync(tokens)) return [];
  return readdirSync(tokens, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => join(tokens, entry.name));
}

/** Whether a file of a token is one of its objects. */
export const isObjectFile = (name: string): boolean =>
  name.endsWith(OBJECT_SUFFIX) && name !== TOKEN_OBJECT;

/**
 * Moves object files that a killed process left half-written to `torn/`, so that SoftHSM does not
 * load them and they remain as evidence. Only before the module is initialised.
 * @returns the names of the files moved
 */
export function sweepTornFiles(directory: string): string[] {
  const torn = join(resolve(directory), TORN);
  const buffer = Buffer.allocUnsafe(READ_BUFFER_BYTES);
  const moved: string[] = [];
  for (const folder of tokenFolders(directory)) {
    for (const name of readdirSync(folder)) {
      if (!isObjectFile(name)) continue;
      const path = join(folder, name);
      if (tornReason(readInto(buffer, path)) === undefined) continue;
      mkdirSync(torn, { recursive: true, mode: PRIVATE_MODE });
      renameSync(path, join(torn, name));
      moved.push(name);
    }
  }
  return moved;
}

/** The contents of a file, in `buffer` when they fit: thousands of files are read at each start. */
function readInto(buffer: Buffer, path: string): Buffer {
  const file = openSync(path, 'r');
  try {
    const length = readSync(file, buffer, 0, buffer.length, 0);
    if (length < buffer.length) return buffer.subarray(0, length);
    const whole = Buffer.allocUnsafe(fstatSync(file).size);
    return whole.subarray(0, readSync(file, whole, 0, whole.length, 0));
  } finally {
    closeSync(file);
  }
}
