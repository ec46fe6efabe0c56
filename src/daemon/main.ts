#!/usr/bin/env node
import { closeSync, writeSync } from 'node:fs';
import { KeyspanError } from '../core/errors.js';
import { openLog } from '../core/log.js';
import { readConfig, type DaemonConfig } from './config.js';
import { Daemon } from './daemon.js';

/** The entry of the daemon's process. */
function tell(config: DaemonConfig | undefined, message: object): void {
  const fd = config?.readyFd;
  if (fd === undefined) return;
  try {
    writeSync(fd, `${JSON.stringify(message)}\n`);
    closeSync(fd);
  } catch {
    // who started us is gone: nobody waits
  }
}

async function run(config: DaemonConfig): Promise<void> {
  const log = openLog({ name: 'daemon' });
  let stop = (): void => undefined;
  const stopped = new Promise<void>((resolve) => {
    stop = resolve;
  });
  process.once('SIGTERM', stop).once('SIGINT', stop);
  const daemon = await Daemon.start(config, log, stop);
  const status = await daemon.status();
  log.info({ cluster: status.cluster.id, endpoints: status.endpoints }, 'the daemon is ready');
  tell(config, { ready: status });
  await stopped;
  log.info('the daemon ends');
  await daemon[Symbol.asyncDispose]();
}

let config: DaemonConfig | undefined;
try {
  config = await readConfig(process.argv.slice(2));
  await run(config);
  process.exit(0);
} catch (error) {
  const known = error instanceof KeyspanError;
  const code = known ? error.code : 'InternalFailure';
  const message = error instanceof Error ? error.message : 'unknown';
  tell(config, { failed: { code, message } });
  openLog({ name: 'daemon' }).fatal({ err: error }, 'the daemon cannot run');
  process.exit(1);
}
