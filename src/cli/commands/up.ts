import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { deadlineIn, hasPassed, pause, within } from '../../core/deadline.js';
import { KeyspanError } from '../../core/errors.js';
import { findHome, type Home } from '../../core/home.js';
import { LIMITS } from '../../core/limits.js';
import type { InstallationStatus } from '../../protocol/admin.js';
import { endDaemon, startDaemon, type DaemonOptions } from '../daemon-process.js';
import { describeError, EXIT, note, print, printJson } from '../output.js';
import type { SharedOptions } from '../global-options.js';
import { statusText } from '../status-text.js';

const LOG_LINES = 20;
const POLL_MS = 100;

export interface UpOptions extends SharedOptions, DaemonOptions {
  readonly detach?: boolean;
  /** seconds */
  readonly timeout?: number;
}

/** Starts the cluster; where it runs already, says so. */
export async function up(given: UpOptions): Promise<number> {
  const options = withSeed(given);
  const home = findHome(options.home);
  const timeoutMs = options.timeout === undefined ? LIMITS.up_timeout_ms : options.timeout * 1000;
  const running = await awaitRunning(home, timeoutMs);
  if (running) {
    await sow(home, options);
    announce(home, running, { ...options, already: true });
    return EXIT.ok;
  }
  refuseToForget(home, options);
  return await start(home, options, timeoutMs);
}

/** The daemon runs elsewhere: it is told the whole path. @throws when there is no such file */
function withSeed(options: UpOptions): UpOptions {
  if (options.seed === undefined) return options;
  const seed = resolve(options.seed);
  accessSync(seed, constants.R_OK);
  return { ...options, seed };
}

/** A daemon that runs makes what is new in a seed. */
async function sow(home: Home, { seed }: UpOptions): Promise<void> {
  if (seed === undefined) return;
  const { callPatiently } = await import('../admin-client.js');
  const { made, present } = await callPatiently(home, 'Seed', { path: seed });
  note(`The seed is sown: ${made} keys were made, ${present} were there.`);
}

/** The status of a daemon that runs, after its start if it is at that. */
async function awaitRunning(
  home: Home,
  timeoutMs: number,
): Promise<InstallationStatus | undefined> {
  // a daemon that runs has its socket: without one there is nobody to ask, nor the means to load
  if (!existsSync(home.adminSocket)) return undefined;
  const deadline = deadlineIn(timeoutMs);
  const { findStatus } = await import('../admin-client.js');
  let status = await findStatus(home);
  while (status?.state === 'STARTING' && !hasPassed(deadline)) {
    await pause(POLL_MS);
    status = await findStatus(home);
  }
  return status;
}

/** An ephemeral cluster deletes its home at its end: not one that has kept keys so far. */
function refuseToForget(home: Home, options: UpOptions): void {
  if (!options.ephemeral || !existsSync(home.store) || existsSync(home.ephemeralMark)) return;
  throw new KeyspanError(
    'KeyspanRefused',
    `${home.root} holds a cluster that is not ephemeral; name another with --home`,
  );
}

async function start(home: Home, options: UpOptions, timeoutMs: number): Promise<number> {
  const detached = options.detach ?? false;
  const { child, ready } = startDaemon(home, options, { detached });
  const ended = new Promise<number>((resolve) => {
    child.once('exit', (code) => resolve(code ?? EXIT.failed));
  });
  const release = forwardSignals(child, { detached });
  try {
    const status = await within(ready, deadlineIn(timeoutMs), 'the start of the cluster');
    announce(home, status, options);
  } catch (error) {
    await endDaemon(child);
    for (const line of lastLines(home, LOG_LINES)) note(line);
    note(JSON.stringify(describeError(error)));
    return EXIT.failed;
  } finally {
    if (detached) release();
  }
  if (detached) {
    child.unref();
    return EXIT.ok;
  }
  const code = await ended;
  release();
  return code;
}

/** What is meant for this process is meant for the daemon, which ends it in good order. */
function forwardSignals(
  child: { kill(signal: NodeJS.Signals): boolean },
  settings: { readonly detached: boolean },
): () => void {
  // a terminal tells a daemon in the same foreground group itself
  const told = process.stdin.isTTY && !settings.detached;
  const forward = (signal: NodeJS.Signals): void => {
    if (signal === 'SIGINT' && told) return;
    // a terminal that goes away ends what was in its foreground, in good order too
    child.kill(signal === 'SIGHUP' ? 'SIGTERM' : signal);
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const signal of signals) process.on(signal, forward);
  return () => {
    for (const signal of signals) process.off(signal, forward);
  };
}

function lastLines(home: Home, count: number): string[] {
  try {
    return readFileSync(home.daemonLog, 'utf8').trimEnd().split('\n').slice(-count);
  } catch {
    return [];
  }
}

function announce(
  home: Home,
  status: InstallationStatus,
  options: UpOptions & { readonly already?: boolean },
): void {
  if (options.json) {
    printJson(status);
    return;
  }
  print(options.already ? `It runs already.\n${statusText(status)}` : statusText(status));
  if (options.already) return;
  const named = options.home === undefined ? '' : ` --home ${home.root}`;
  const end = options.detach ? `npx keyspan down${named}` : 'Ctrl-C';
  if (!status.cluster) {
    print(`\nNext:\n  npx keyspan aws cloudhsmv2 describe-clusters${named}`);
    return;
  }
  print(`
Next:
  npx keyspan call CreateKey '{}'${named}
  npx keyspan encrypt FILE -o FILE.enc --key KEY${named}
  npx keyspan logs -f${named}
It is stopped with ${end}.`);
}
