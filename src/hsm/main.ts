#!/usr/bin/env node
import { Worker } from 'node:worker_threads';
import { systemClock } from '../core/clock.js';
import { entryPath } from '../core/entry.js';
import { isKeyspanError, KeyspanError } from '../core/errors.js';
import { FaultRules } from '../core/fault-rules.js';
import { LIMITS } from '../core/limits.js';
import { deadlineIn, hasPassed } from '../core/deadline.js';
import { loadCryptoki } from '../token/cryptoki.js';
import { censusOf, hasTornFiles } from '../token/census.js';
import {
  loadModuleProfile,
  prepareTokenDirectory,
  putTokensAside,
  sweepTornFiles,
} from '../token/softhsm.js';
import { Token } from '../token/token.js';
import { HsmAuditLog } from './audit-log.js';
import { newClusterKey } from './cluster-key.js';
import { deferredLog, type HsmLog } from './deferred-log.js';
import { Installer } from './installer.js';
import { HEARTBEAT_FD, launch, type Launch, type Launched } from './launch.js';
import { Machine } from './machine.js';
import { readManifest, writeManifest, type ManifestPlace } from './manifest.js';
import { selfTest } from './self-test.js';
import { Service } from './service.js';

/** The entry of one HSM process: the only process that touches its token. */
// a daemon that is gone reads nothing; the end of the launch pipe says so too
process.stdout.on('error', () => undefined);
const say = (line: Launched): void => void process.stdout.write(`${JSON.stringify(line)}\n`);

async function readLaunch(): Promise<Launch> {
  process.stdin.setEncoding('utf8');
  let line = '';
  // the stream must outlive this: its end tells of the daemon's
  const chunks: AsyncIterable<string> = process.stdin.iterator({ destroyOnReturn: false });
  for await (const chunk of chunks) {
    line += chunk;
    if (line.includes('\n')) break;
  }
  return launch(JSON.parse(line.slice(0, line.indexOf('\n'))));
}

function startHeartbeat(): void {
  const turns = new Int32Array(new SharedArrayBuffer(4));
  const intervalMs = LIMITS.heartbeat_interval_ms;
  setInterval(() => Atomics.add(turns, 0, 1), intervalMs / 2).unref();
  const path = entryPath(import.meta.url, './heartbeat-worker.js');
  new Worker(path, { workerData: { fd: HEARTBEAT_FD, intervalMs, turns } }).unref();
}

/** HSMs that start beside this one come first, and so does whoever works with it at once. */
const IDLE_AFTER_MS = 3_000;
/** a file's time may be that of the last tick of the system's clock */
const FILE_TIME_LAG_MS = 1_000;
/** about 5 ms of the token's time */
const OBJECTS_AT_ONCE = 64;

/** What this process found when it began. */
interface Start {
  /** the state of the files that the manifest speaks of; undefined: there is none that counts */
  readonly census: string | undefined;
  /** civil time: files that did not change since were whole */
  readonly sweptAt: number;
}

/** Loads the module while the daemon is not ready to say who this is; its failure is told later. */
function preload(): void {
  try {
    loadCryptoki(loadModuleProfile().library);
  } catch {
    // opening the token says why
  }
}

interface Pins {
  readonly soPin: Buffer;
  readonly userPin: Buffer;
}

/** Where a process was killed while the token wrote; not where it ended in good order. */
function sweep(directory: string, log: HsmLog): void {
  const torn = sweepTornFiles(directory);
  if (torn.length > 0) log.warn({ torn }, 'torn files of objects were put aside');
}

/**
 * Opens the token that the daemon means, and no other; an absent one is never made in its
 * place.
 */
function openToken(settings: Launch, pins: Pins, log: HsmLog): Token {
  const { directory } = settings;
  const token = Token.open({ profile: loadModuleProfile(), directory });
  try {
    return takeUp(token, settings, pins);
  } catch (error) {
    if (settings.serial !== null) throw error;
    // a daemon remembers a token before anything is put on it: this one was killed in the making
    log.warn({ err: error }, 'a token that was not finished is put aside');
    token[Symbol.dispose]();
    putTokensAside(directory);
    return takeUp(Token.open({ profile: loadModuleProfile(), directory }), settings, pins);
  }
}

/** Makes the token if there is to be none yet, and logs in. */
function takeUp(token: Token, settings: Launch, pins: Pins): Token {
  const { initialized, serial } = token.info;
  if (settings.serial === null && !initialized) {
    token.initialize({ label: settings.hsm, ...pins });
  } else if (!initialized || (settings.serial !== null && serial !== settings.serial)) {
    const found = initialized ? `the token ${serial}` : 'no token';
    throw new KeyspanError('HsmDeviceError', `expected token ${settings.serial}, found ${found}`);
  }
  token.loginUser(pins.userPin);
  return token;
}

/** Looks in idle moments at the objects, and proves the copies, that nobody asked for yet. */
function proveInBackground(machine: Machine): void {
  const step = (): void => {
    if (machine.phase !== 'member') return;
    const { keyring } = machine.member;
    if (keyring.listSome(OBJECTS_AT_ONCE) || keyring.proveSome(20)) setTimeout(step, 5);
    else seekMasking(machine);
  };
  setTimeout(step, IDLE_AFTER_MS).unref();
}

/** Searches for the masking keys before the first use of one waits for it. */
function seekMasking(machine: Machine): void {
  try {
    void machine.masking;
  } catch (error) {
    // whoever needs them is told
    if (!isKeyspanError(error)) throw error;
  }
}

/**
 * Notes for the next start what is on the token. What cannot be noted in time, or is not in order,
 * is read anew then.
 */
function leaveManifest(machine: Machine, place: ManifestPlace, start: Start): void {
  const { directory } = place;
  const census = censusOf(directory);
  if (census === start.census || machine.phase !== 'member') return;
  const deadline = deadlineIn(LIMITS.hsm_stop_timeout_ms / 2);
  while (machine.member.keyring.listSome(OBJECTS_AT_ONCE) && !hasPassed(deadline));
  const notes = machine.notes();
  if (notes && !hasTornFiles(directory, start.sweptAt)) writeManifest(place, { census, ...notes });
}

function faultsOf(settings: Launch): FaultRules | undefined {
  if (!settings.faults) return undefined;
  const faults = new FaultRules();
  for (const rule of settings.faults) faults.add(rule);
  return faults;
}

async function serve(settings: Launch, log: HsmLog): Promise<void> {
  const soPin = Buffer.from(settings.soPin, 'base64');
  const userPin = Buffer.from(settings.userPin, 'base64');
  const { hsm, cluster, boot, directory, fips } = settings;
  prepareTokenDirectory(directory);
  const place = { directory, hsm, userPin };
  const clusterKey = settings.founds ? newClusterKey() : undefined;
  const clock = systemClock();
  const sweptAt = clock.civil() - FILE_TIME_LAG_MS;
  const manifest = readManifest(place, censusOf(directory));
  const start = { census: manifest?.census, sweptAt };
  if (!manifest) sweep(directory, log);
  const token = openToken(settings, { soPin, userPin }, log);
  selfTest(token);
  const { install, makeRsa } = new Installer({ directory, cluster });
  const identity = { hsm, cluster, boot, soPin, userPin };
  const faults = faultsOf(settings);
  const audit = new HsmAuditLog({ path: settings.audit, log, now: () => clock.wire() });
  const machine = new Machine({ identity, token, install, makeRsa, fips, faults, audit });
  machine.clusterKey = clusterKey;
  if (!machine.load(manifest)) machine.forget();
  const service = new Service({ machine, log });
  await service.listen(settings.socket);
  proveInBackground(machine);
  const stop = (): void => {
    void service
      .drain()
      .then(() => leaveManifest(machine, place, start))
      .catch((error: unknown) => log.warn({ err: error }, 'what is on the token was not noted'))
      .finally(() => {
        audit.close();
        process.exit(0);
      });
    setTimeout(() => process.exit(1), LIMITS.hsm_stop_timeout_ms).unref();
  };
  if (process.stdin.readableEnded) return stop();
  process.stdin.once('end', stop).once('error', stop).resume();
  process.once('SIGTERM', stop);
  // a Ctrl-C in the operator's terminal reaches the whole group; the daemon decides the order
  // of stopping
  process.on('SIGINT', () => undefined);
  say({ listening: true, serial: token.info.serial });
  // the thread costs a third of a start: it is not in the way of HSMs that start beside this one
  setTimeout(startHeartbeat, LIMITS.heartbeat_begin_ms);
}

async function main(): Promise<void> {
  let log: HsmLog | undefined;
  try {
    preload();
    const settings = await readLaunch();
    process.title = `keyspan ${settings.hsm}`;
    log = deferredLog(settings.log, { hsm: settings.hsm });
    await serve(settings, log);
  } catch (error) {
    log?.fatal({ err: error }, 'the HSM cannot start');
    const message = error instanceof Error ? error.message : 'unknown';
    say({ failed: error instanceof KeyspanError ? error.code : 'HsmDeviceError', message });
    process.stdin.destroy();
    setTimeout(() => process.exit(1), 200);
  }
}

// not awaited here: what scripts/pack.mjs makes of this file has no way to
void main();
