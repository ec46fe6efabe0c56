import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  rmdirSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { rootArn } from '../core/arn.js';
import { joinParts } from '../core/commit.js';
import { KeyspanError } from '../core/errors.js';
import type { Home } from '../core/home.js';
import { claimBlock, type Block } from '../cluster/network.js';
import type { Secrets } from '../cluster/secrets.js';
import { endLeftover, startTime } from '../hsm/process.js';
import { accept, int, object, oneOf, text, type FormOf } from '../protocol/form.js';
import { KEYSPACE } from '../store/keyspace.js';
import type { Store } from '../store/store.js';
import { decodeValue, encodeValue } from '../store/value.js';
import type { DaemonConfig } from './config.js';

/**
 * What an installation has once and keeps: its addresses, its certificate authorities, its
 * directories.
 */
const VERSION = 1;
const addresses = object({ mode: oneOf('addresses'), prefix: text({ max: 64 }) });
const ports = object({
  mode: oneOf('ports'),
  bind: text({ max: 256 }),
  firstPort: int({ min: 0, max: 65_535 }),
});
const schema = object({
  v: oneOf(VERSION),
  block: (value: unknown): Block => accept(addresses, value) ?? ports(value),
});

const YEARS_10_DAYS = 3652;
const AWS_ROOT = 'Emulated AWS CloudHSM root';

/**
 * Makes the directories; what is ephemeral begins empty.
 * @throws KeyspanError KeyspanConfig, StoreInUse when another daemon runs on the home
 */
export async function prepareHome(config: DaemonConfig): Promise<void> {
  const { home, ephemeral } = config;
  const marked = exists(home.ephemeralMark);
  if (ephemeral && !marked && exists(home.store)) {
    const sentence = `${home.root} holds a lasting installation. Choose another --home.`;
    throw new KeyspanError('KeyspanConfig', sentence);
  }
  if (marked) await clearEphemeral(home);
  const directories = [
    home.root,
    home.secrets,
    home.store,
    home.hsms,
    home.logs,
    home.audit,
    home.backups,
  ];
  for (const path of directories) mkdirSync(path, { recursive: true, mode: 0o700 });
  mkdirSync(home.public, { recursive: true, mode: 0o755 });
  if (ephemeral) claimEphemeral(home);
  prepareRuntime(home);
}

const mark = object({ pid: int({ min: 0 }), startedAt: text({ min: 0, max: 64 }) });

/** The mark names its daemon: the store of an ephemeral home is no file that could be locked. */
function claimEphemeral(home: Home): void {
  const { pid } = process;
  const content = JSON.stringify({ pid, startedAt: startTime(pid) ?? '' });
  try {
    writeFileSync(home.ephemeralMark, content, { mode: 0o600, flag: 'wx' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') throw inUse(home);
    throw error;
  }
}

/** Removes what a daemon left that was killed, and its HSM processes, also stopped ones. */
async function clearEphemeral(home: Home): Promise<void> {
  const left = readMark(home.ephemeralMark);
  if (left && startTime(left.pid) === left.startedAt) throw inUse(home);
  if (exists(home.hsms)) {
    await Promise.all(readdirSync(home.hsms).map((hsm) => endLeftover(join(home.hsms, hsm))));
  }
  removeState(home);
}

function readMark(path: string): FormOf<typeof mark> | undefined {
  try {
    return mark(JSON.parse(readFileSync(path, 'utf8')));
  } catch {
    return undefined;
  }
}

const inUse = (home: Home): KeyspanError =>
  new KeyspanError(
    'StoreInUse',
    `Another Keyspan daemon runs on ${home.root}. ` +
      'Stop it with `keyspan down`, or choose another home with --home.',
  );

/**
 * Sockets lie in a directory that everybody could have made first: it must be ours and closed
 * to others.
 */
function prepareRuntime(home: Home): void {
  mkdirSync(home.runtime, { recursive: true, mode: 0o700 });
  const { uid, mode } = statSync(home.runtime);
  if (uid !== userInfo().uid || (mode & 0o077) !== 0) {
    const sentence = `${home.runtime} belongs to somebody else or is open to others. Remove it.`;
    throw new KeyspanError('KeyspanConfig', sentence);
  }
}

export function exists(path: string): boolean {
  try {
    statSync(path);
    return true;
  } catch {
    return false;
  }
}

/**
 * Removes all that an installation wrote but its logs, which whoever starts it has open
 * already.
 */
function removeState(home: Home): void {
  const { secrets, store, hsms, backups, audit, ephemeralMark } = home;
  for (const path of [secrets, home.public, store, hsms, backups, audit, ephemeralMark]) {
    rmSync(path, { recursive: true, force: true });
  }
}

/** Removes the installation, and its directory when nothing of others is in it. */
export function removeHome(home: Home): void {
  removeState(home);
  rmSync(home.logs, { recursive: true, force: true });
  try {
    rmdirSync(home.root);
  } catch {
    // it holds what is not ours
  }
}

/** The block of addresses, claimed at the first start. */
export async function addressesOf(store: Store, config: DaemonConfig): Promise<Block> {
  const entry = await store.get(KEYSPACE.installation);
  if (entry) return decodeValue(entry.value, schema).block;
  const { home, eniMode: mode, bind, hsms } = config;
  const block = await claimBlock({ home: home.root, mode, bind, hsms });
  await store.commit({
    compares: [{ key: KEYSPACE.installation, modRevision: null }],
    writes: [{ op: 'put', key: KEYSPACE.installation, value: encodeValue(VERSION, { block }) }],
  });
  return block;
}

/**
 * Makes the authorities that are not there yet, at the first start all: the emulated roots of AWS
 * and of the manufacturer with the hardware's key below the latter, the operator's CA
 * (`customerCA.crt`), the CA of clients, and the root principal's client certificate. Shows both
 * roots in the public directory. Where all is there, little is read and nothing loaded.
 */
export async function ensureAuthorities(
  store: Store,
  secrets: Secrets,
  config: DaemonConfig,
): Promise<void> {
  const [clients, aws] = await Promise.all(
    ['clients', 'aws'].map((name) => store.get(KEYSPACE.authority(name))),
  );
  if (!clients) await makeAuthorities(store, secrets, config);
  else if (!aws) await makeAwsRoot(store, secrets);
  await showRoots(secrets, config.home, { anew: !clients || !aws });
}

async function makeAuthorities(
  store: Store,
  secrets: Secrets,
  config: DaemonConfig,
): Promise<void> {
  const x509 = await import('../cluster/certificates.js');
  const [aws, manufacturer, operator, clients] = await Promise.all([
    x509.makeAuthority(AWS_ROOT),
    x509.makeAuthority('Emulated manufacturer root'),
    x509.makeAuthority('Operator of this installation'),
    x509.makeAuthority('Clients of this installation'),
  ]);
  const [hardware, root] = await Promise.all([
    x509.makeAuthority('Emulated hardware', manufacturer),
    x509.certifyClient({
      authority: clients,
      principal: rootArn(config.account),
      days: YEARS_10_DAYS,
    }),
  ]);
  const { home } = config;
  writeFileSync(home.customerCa, operator.certificate, { mode: 0o644 });
  writeFileSync(home.clientCertificate, root.certificate, { mode: 0o644 });
  writeFileSync(home.clientKey, x509.privateKeyPem(root.privateKey), { mode: 0o600 });
  const authorities = { aws, manufacturer, hardware, operator, clients };
  const parts = Object.entries(authorities).map(([name, made]) => secrets.newAuthority(name, made));
  await store.commit(joinParts(...parts));
}

/** Of an installation that is older than this root. */
async function makeAwsRoot(store: Store, secrets: Secrets): Promise<void> {
  const { makeAuthority } = await import('../cluster/certificates.js');
  const aws = await makeAuthority(AWS_ROOT);
  await store.commit(secrets.newAuthority('aws', aws));
}

/** Under the names that CloudHSM's documentation gives them. */
async function showRoots(
  secrets: Secrets,
  home: Home,
  options: { readonly anew: boolean },
): Promise<void> {
  const roots = { aws: home.awsRoot, manufacturer: home.manufacturerRoot };
  for (const [name, path] of Object.entries(roots)) {
    if (!options.anew && exists(path)) continue;
    const { certificate } = await secrets.authority(name);
    // whole or not at all: a file that is there is not written again
    writeFileSync(`${path}.new`, certificate, { mode: 0o644 });
    renameSync(`${path}.new`, path);
  }
}

/** The version of the package. */
export function readVersion(packageJson: string): string {
  const { version } = JSON.parse(readFileSync(packageJson, 'utf8')) as { version: string };
  return version;
}
