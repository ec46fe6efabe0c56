import { spawn } from 'node:child_process';
import { expect, test } from 'vitest';
import { awaitEnd, daemonArgs, endDaemon, parseReady } from '../../src/cli/daemon-process.js';
import { findHome } from '../../src/core/home.js';

test('the daemon gets what was said and nothing else', () => {
  const home = findHome('/h');
  expect(daemonArgs(home, {})).toEqual(['--home', '/h', '--ready-fd', '3']);
  const all = { hsms: 2, ephemeral: true, region: 'r', account: 'a', eniMode: 'ports', bind: 'b' };
  expect(daemonArgs(home, all).join(' ')).toBe(
    '--home /h --ephemeral --hsms 2 --region r --account a --eni-mode ports --bind b --ready-fd 3',
  );
});

test('the one line is a status or an error', () => {
  expect(parseReady('{"ready":{"state":"READY"}}')).toEqual({ state: 'READY' });
  const failed =
    (line: string): (() => unknown) =>
    (): unknown =>
      parseReady(line);
  expect(failed('{"failed":{"code":"StoreInUse","message":"taken"}}')).toThrow('taken');
  expect(failed('{"failed":{"code":"Odd"}}')).toThrow('the daemon did not start');
});

const sleeper = (script: string): ReturnType<typeof spawn> =>
  spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'ignore'] });
const started = (child: ReturnType<typeof spawn>): Promise<unknown> =>
  new Promise((resolve) => child.stdout?.once('data', resolve));

test('the end of a process is seen, and its absence too', async () => {
  const child = sleeper("console.log('up'); setInterval(() => {}, 1000)");
  await started(child);
  expect(await awaitEnd(child.pid ?? 0, 10)).toBe(false);
  child.kill('SIGKILL');
  expect(await awaitEnd(child.pid ?? 0, 60_000)).toBe(true);
});

test('a daemon that does not listen is ended all the same', async () => {
  const deaf = "process.on('SIGTERM', () => {}); console.log('up'); setInterval(() => {}, 1000)";
  const child = sleeper(deaf);
  await started(child);
  await endDaemon(child);
  expect(child.signalCode).toBe('SIGKILL');
  await endDaemon(child);
});
