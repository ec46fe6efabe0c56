import { once } from 'node:events';
import { existsSync, statSync } from 'node:fs';
import { createConnection } from 'node:net';
import { delimiter, join } from 'node:path';
import { isKeyspanError } from '../core/errors.js';
import type { Home } from '../core/home.js';
import type { InstallationStatus } from '../protocol/admin.js';
import { callAdmin } from './admin-client.js';
import {
  clientVersion,
  findClientModule,
  findModuleFile,
  hasOpensslEngine,
  isAddressOf,
} from './pkcs11-module.js';

/** One thing that PKCS #11 applications need, and whether it is as it must be. */
export interface Finding {
  readonly what: string;
  readonly isFine: boolean;
  /** what to do, or what to know */
  readonly advice?: string;
}

const fine = (what: string, advice?: string): Finding => ({
  what,
  isFine: true,
  ...(advice !== undefined && { advice }),
});
const wrong = (what: string, advice: string): Finding => ({ what, isFine: false, advice });

/** A socket's path has at most so many bytes on Linux. */
const SOCKET_PATH_MAX_BYTES = 107;
const ANSWER_TIMEOUT_MS = 2_000;

/** Looks at all that stands between an application and the cluster. */
export async function examine(
  home: Home,
  env: Readonly<Record<string, string | undefined>>,
): Promise<Finding[]> {
  const status = await statusOf(home);
  return [
    ...daemon(status),
    ...(await socket(home.pkcs11Socket)),
    ...address(home, env),
    ...module(),
    ...tools(env),
  ];
}

async function statusOf(home: Home): Promise<InstallationStatus | undefined> {
  try {
    return await callAdmin(home, 'Status');
  } catch (error) {
    if (isKeyspanError(error)) return undefined;
    throw error;
  }
}

function daemon(status: InstallationStatus | undefined): Finding[] {
  if (!status) {
    const advice = 'Start it: keyspan up --detach. Without it applications just see no slots.';
    return [wrong('no daemon answers', advice)];
  }
  const clusters = [status.cluster, ...status.clusters].flatMap((one) => (one ? [one] : []));
  const active = clusters.filter(({ state }) => state === 'ACTIVE');
  if (active.length === 0) {
    return [fine('the daemon runs'), wrong('no cluster is ACTIVE', 'Look at: keyspan status')];
  }
  return active.map(({ id, hsms }) => {
    const serving = hsms.filter(({ state }) => state === 'ACTIVE').length;
    const what = `${id} is a slot; ${serving} of ${hsms.length} HSMs serve`;
    return serving > 0 ? fine(what) : wrong(what, 'Start one: keyspan hsm start ID');
  });
}

async function socket(path: string): Promise<Finding[]> {
  const found: Finding[] = [];
  if (Buffer.byteLength(path) > SOCKET_PATH_MAX_BYTES) {
    const advice = 'Set XDG_RUNTIME_DIR to a shorter directory, and start the daemon again.';
    found.push(wrong(`${path} is too long for a socket`, advice));
  }
  if (!existsSync(path)) return [...found, wrong(`there is no ${path}`, 'keyspan up --detach')];
  const { mode, uid } = statSync(path);
  const own = process.getuid?.() ?? uid;
  if (uid !== own && own !== 0) {
    found.push(wrong(`${path} belongs to another user`, 'Run the daemon as yourself.'));
  } else if ((mode & 0o077) !== 0) {
    found.push(wrong(`others may open ${path}`, `chmod 600 ${path}`));
  } else if (await answers(path)) found.push(fine(`${path} is yours alone, and answers`));
  else found.push(wrong(`nobody answers on ${path}`, 'keyspan down, then keyspan up --detach'));
  return found;
}

/** Whether somebody there speaks p11-kit's protocol: it begins with a byte each way. */
async function answers(path: string): Promise<boolean> {
  const stream = createConnection(path);
  try {
    stream.write(Buffer.of(0));
    const signal = AbortSignal.timeout(ANSWER_TIMEOUT_MS);
    const [first] = (await once(stream, 'data', { signal })) as [Buffer];
    return first.length === 1 && first[0] === 0;
  } catch {
    return false;
  } finally {
    stream.destroy();
  }
}

function address(home: Home, env: Readonly<Record<string, string | undefined>>): Finding[] {
  const given = env['P11_KIT_SERVER_ADDRESS'];
  if (given !== undefined && isAddressOf(home.pkcs11Socket, given)) {
    return [fine('P11_KIT_SERVER_ADDRESS is that of this installation')];
  }
  const file = given === undefined ? findModuleFile(home.pkcs11Socket) : undefined;
  if (file !== undefined) {
    const note = 'That is enough for applications of p11-kit; others need keyspan pkcs11 env.';
    return [fine(`${file} is of this installation`, note)];
  }
  const how = 'eval "$(keyspan pkcs11 env)"';
  const what =
    given === undefined
      ? 'P11_KIT_SERVER_ADDRESS is not set'
      : `P11_KIT_SERVER_ADDRESS is ${given}`;
  return [wrong(what, `${how}, or keyspan pkcs11 config p11-kit`)];
}

function module(): Finding[] {
  const path = findClientModule();
  if (path === undefined) {
    const advice = 'Install p11-kit-modules (Debian: apt-get install p11-kit-modules).';
    return [wrong('p11-kit-client.so is missing', advice)];
  }
  const found = clientVersion();
  if (!found) return [fine(path, 'Its version, and so what it carries, is not known.')];
  return [fine(`${path}, version ${found.version}`, found.isWide ? WIDE : NARROW)];
}

const NARROW =
  'This version carries no AES-GCM, -CBC or -CTR, no ECDH, no ECDSA or PSS with a hash, no CMAC.';
const WIDE = 'No version carries EdDSA, or wrapping by AES-KEY-WRAP.';

/** Programs of the recipes, with Debian's packages: useful, not needed. */
const TOOLS = {
  'pkcs11-tool': 'opensc',
  p11tool: 'gnutls-bin',
  'p11-kit': 'p11-kit',
  'ssh-keygen': 'openssh-client',
  certutil: 'libnss3-tools',
  keytool: 'openjdk-17-jdk-headless',
} as const;
const ENGINE = { name: "OpenSSL's PKCS #11 engine", pack: 'libengine-pkcs11-openssl' };

function tools(env: Readonly<Record<string, string | undefined>>): Finding[] {
  const folders = (env['PATH'] ?? '').split(delimiter);
  const isHere = (name: string): boolean =>
    folders.some((folder) => existsSync(join(folder, name)));
  const programs = Object.entries(TOOLS).map(([name, pack]) => tool(name, pack, isHere(name)));
  return [...programs, tool(ENGINE.name, ENGINE.pack, hasOpensslEngine())];
}

const tool = (name: string, pack: string, isHere: boolean): Finding =>
  isHere ? fine(name) : fine(`${name} is not here`, `It is in the package ${pack}.`);
