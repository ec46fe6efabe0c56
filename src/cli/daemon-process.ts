import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { deadlineIn, pause, remainingMs, within } from '../core/deadline.js';
import { DAEMON_FLAGS, entryPath } from '../core/entry.js';
import { isErrorCode, KeyspanError } from '../core/errors.js';
import type { Home } from '../core/home.js';
import { LIMITS } from '../core/limits.js';
import type { StatusDocument } from '../protocol/admin.js';

/** The descriptor on which the daemon says once how its start ended. */
const READY_FD = 3;
const POLL_MS = 50;

export interface DaemonOptions {
  readonly hsms?: number;
  readonly ephemeral?: boolean;
  /** faults on demand are allowed */
  readonly faults?: boolean;
  readonly region?: string;
  readonly account?: string;
  readonly eniMode?: string;
  readonly bind?: string;
  /** of the AWS door */
  readonly port?: number;
  /** the file that says what is to be there from the start: absolute */
  readonly seed?: string;
  /** `any` takes access keys that are not known */
  readonly auth?: string;
  /** a port for metrics */
  readonly metrics?: number;
  /** false: none of the installation's own */
  readonly cluster?: boolean;
  /** of the times that steps of CloudHSM take: 0, the default, to 1 */
  readonly timeScale?: number;
}

/**
 * What becomes the daemon: neither it nor what it starts leaves its memory in a file when it
 * crashes. Node cannot set limits. Programs that get cores through a pipe may ask for no limit:
 * for them Linux is told that a core holds none of the memory.
 */
const WITHOUT_CORES =
  'ulimit -c 0; { echo 0 > /proc/self/coredump_filter; } 2>/dev/null; exec "$0" "$@"';

/** A daemon that was started from here. */
export interface DaemonProcess {
  readonly child: ChildProcess;
  /**
   * its status once it serves; rejects with the daemon's own error, or KeyspanConfig when it
   * ended without a word
   */
  readonly ready: Promise<StatusDocument>;
}

/**
 * Starts the daemon as a process of its own; what it logs goes to the end of the home's log.
 * Detached, it outlives this process.
 */
export function startDaemon(
  home: Home,
  options: DaemonOptions,
  settings: { readonly detached: boolean },
): DaemonProcess {
  mkdirSync(home.root, { recursive: true, mode: 0o700 });
  mkdirSync(home.logs, { recursive: true, mode: 0o700 });
  const log = openSync(home.daemonLog, 'a', 0o600);
  try {
    const entry = entryPath(import.meta.url, '../daemon/program.cjs');
    const program = [process.execPath, ...DAEMON_FLAGS, entry, ...daemonArgs(home, options)];
    const child = spawn('/bin/sh', ['-c', WITHOUT_CORES, ...program], {
      detached: settings.detached,
      stdio: ['ignore', log, log, 'pipe'],
      cwd: home.root,
    });
    const ready = readReady(child);
    // whoever waits sees the failure; nobody else needs to
    ready.catch(() => undefined);
    return { child, ready };
  } finally {
    closeSync(log);
  }
}

/** The daemon's command line. */
export function daemonArgs(home: Home, options: DaemonOptions): string[] {
  const { hsms, ephemeral, faults, region, account, eniMode, bind, port, metrics } = options;
  const { cluster, timeScale, auth, seed } = options;
  const places = { region, account, 'eni-mode': eniMode, bind, port, auth, metrics, seed };
  const valued = { hsms, ...places, 'time-scale': timeScale };
  return [
    '--home',
    home.root,
    ...(ephemeral ? ['--ephemeral'] : []),
    ...(faults ? ['--faults'] : []),
    ...(cluster === false ? ['--no-cluster'] : []),
    ...Object.entries(valued).flatMap(([name, value]) =>
      value === undefined ? [] : [`--${name}`, String(value)],
    ),
    '--ready-fd',
    String(READY_FD),
  ];
}

/** Waits for the one line, or for the end of a daemon that did not write it. */
async function readReady(child: ChildProcess): Promise<StatusDocument> {
  const pipe = child.stdio[READY_FD] as Readable;
  try {
    const line = await new Promise<string>((resolve, reject) => {
      createInterface({ input: pipe }).once('line', resolve);
      child.once('error', reject);
      child.once('exit', (code, signal) => {
        const how = signal ?? `exit code ${code}`;
        const message = `the daemon ended before it was ready (${how})`;
        // a line that it wrote before it ended is still to be read
        setImmediate(() => setImmediate(() => reject(new KeyspanError('KeyspanConfig', message))));
      });
    });
    return parseReady(line);
  } finally {
    pipe.destroy();
  }
}

/** @throws KeyspanError as the line says */
export function parseReady(line: string): StatusDocument {
  const said = JSON.parse(line) as {
    ready?: StatusDocument;
    failed?: { code?: unknown; message?: unknown };
  };
  if (said.ready) return said.ready;
  const { code, message } = said.failed ?? {};
  throw new KeyspanError(
    isErrorCode(code) ? code : 'KeyspanConfig',
    typeof message === 'string' ? message : 'the daemon did not start',
  );
}

/** Ends a daemon that is of no use: in good order, and after a while in any. */
export async function endDaemon(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.kill('SIGTERM');
  try {
    await within(ended, deadlineIn(LIMITS.hsm_stop_timeout_ms), 'the end of the daemon');
  } catch {
    child.kill('SIGKILL');
    await ended;
  }
}

/** Waits until a process is gone. @returns false when it still is there at the end */
export async function awaitEnd(pid: number, timeoutMs: number): Promise<boolean> {
  const deadline = deadlineIn(timeoutMs);
  while (!isGone(pid)) {
    if (remainingMs(deadline) <= 0) return false;
    await pause(POLL_MS);
  }
  return true;
}

/** A zombie is gone too: in a container nobody may ever collect it. */
function isGone(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
  try {
    return /\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}
