#!/usr/bin/env node
import { once } from 'node:events';
import { closeSync, readdirSync, writeSync } from 'node:fs';
import { KeyspanError } from '../core/errors.js';
import { findHome } from '../core/home.js';
import { dismiss, warm } from '../hsm/nursery.js';
import type { DaemonConfig } from './config.js';
import type { OpenedHome } from './opening.js';

/**
 * The entry of the daemon's process. It loads little by itself: HSM processes are started
 * first, and
 * come up while the daemon's own code is loaded.
 */
const argv = process.argv.slice(2);

const valueOf = (name: string): string | undefined => {
  const at = argv.indexOf(name);
  return at < 0 ? undefined : argv[at + 1];
};

/** beyond that they only wait for each other */
const WARM_MAX = 16;

/** How many HSMs this home will most likely start. A wrong guess costs time and nothing else. */
function guessHsms(): number {
  try {
    return readdirSync(findHome(valueOf('--home')).hsms).length;
  } catch {
    return Number(valueOf('--hsms') ?? 3);
  }
}

function tell(message: object): void {
  const fd = Number(valueOf('--ready-fd') ?? -1);
  if (fd < 0) return;
  try {
    writeSync(fd, `${JSON.stringify(message)}\n`);
    closeSync(fd);
  } catch {
    // who started us is gone: nobody waits
  }
}

async function run(config: DaemonConfig, opening: Promise<OpenedHome>): Promise<void> {
  const [{ Daemon }, { openLog }] = await Promise.all([
    import('./daemon.js'),
    import('../core/log.js'),
  ]);
  const log = openLog({ name: 'daemon' });
  const ending = new AbortController();
  const end = (): void => ending.abort();
  process.once('SIGTERM', end).once('SIGINT', end);
  const daemon = await Daemon.start(config, log, ending, opening);
  const status = await daemon.status();
  tell({ ready: status });
  dismiss();
  log.info({ cluster: status.cluster?.id, endpoints: status.endpoints }, 'the daemon is ready');
  if (!ending.signal.aborted) await once(ending.signal, 'abort');
  log.info('the daemon ends');
  await daemon[Symbol.asyncDispose]();
}

async function main(): Promise<number> {
  try {
    warm(Math.min(guessHsms() || 0, WARM_MAX));
    const [{ readConfig }, { openHome }] = await Promise.all([
      import('./config.js'),
      import('./opening.js'),
    ]);
    const config = await readConfig(argv);
    await run(config, openHome(config));
    return 0;
  } catch (error) {
    dismiss();
    const known = error instanceof KeyspanError;
    const code = known ? error.code : 'InternalFailure';
    const message = error instanceof Error ? error.message : 'unknown';
    tell({ failed: { code, message } });
    const { openLog } = await import('../core/log.js');
    openLog({ name: 'daemon' }).fatal({ err: error }, 'the daemon cannot run');
    return 1;
  }
}

// not awaited here: what scripts/pack.mjs makes of this file has no way to
void main().then((code) => process.exit(code));
