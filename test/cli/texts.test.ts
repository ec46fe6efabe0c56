import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { orderEndpoints } from '../../src/cli/cluster-client.js';
import { formatVariables } from '../../src/cli/commands/env.js';
import { formatLine } from '../../src/cli/commands/logs.js';
import { progressBar } from '../../src/cli/progress.js';

test('a shell reads back what env printed', () => {
  const NASTY = `a'b"c $HOME \`x\` \\`;
  const script = `${formatVariables({ NASTY }, 'shell')}\nprintf %s "$NASTY"`;
  expect(execFileSync('sh', ['-c', script], { encoding: 'utf8' })).toBe(NASTY);
  expect(formatVariables({ A: 'b c', D: 'e' }, 'github')).toBe('A=b c\nD=e');
});

test('ENIs of active HSMs come first', () => {
  const hsm = { id: 'h', az: 'a', pid: 1, keys: 0 };
  const status = {
    cluster: {
      hsms: [
        { ...hsm, state: 'KILLED', eniIp: '127.0.0.2' },
        { ...hsm, state: 'ACTIVE', eniIp: '127.0.0.3' },
      ],
    },
    endpoints: { websocket: ['wss://127.0.0.2:2225/v1/r', 'wss://127.0.0.3:2225/v1/r'] },
  } as unknown as Parameters<typeof orderEndpoints>[0];
  for (const random of [0, 0.99]) {
    expect(orderEndpoints(status, () => random)[0]).toBe('wss://127.0.0.3:2225/v1/r');
  }
});

test('progress', () => {
  expect(progressBar(1 << 20, 2 << 20, 1000)).toBe(
    `[${'#'.repeat(15)}${'.'.repeat(15)}]  50 %  1.0 MiB, 1.0 MiB/s`,
  );
  expect(progressBar(1 << 20, undefined, 500)).toBe('1.0 MiB, 2.0 MiB/s');
});

test('log lines that are not ours stay as they are', () => {
  expect(formatLine('not json')).toBe('not json');
  expect(formatLine('7')).toBe('7');
});
