import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { packageFile } from '../../src/core/entry.js';

const UNWRAPS = 300;
const ENCRYPTS = 20_000;

test('a worker writes keys to the token while the main thread works on it', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'keyspan-threads-'));
  try {
    const program = packageFile('test/support/token-stress.mjs');
    const args = [program, directory, String(UNWRAPS), String(ENCRYPTS)];
    const { stdout } = await promisify(execFile)(process.execPath, args);
    const report: unknown = JSON.parse(stdout);
    expect(report).toMatchObject({
      // every handle made in the worker proved itself in the main thread
      proved: UNWRAPS,
      // the main thread destroyed every third
      listed: UNWRAPS - Math.floor(UNWRAPS / 3),
      retired: 0,
    });
    expect((report as { encrypted: number }).encrypted).toBeGreaterThanOrEqual(ENCRYPTS);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
