import { spawnSync } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { packageFile } from '../../src/core/entry.js';

/**
 * Brings `dist` up to date before the tests: child processes and worker threads run compiled
 * code, packed as users have it. Only what changed is written. Type errors are the type checker's
 * business, not this one's.
 */
export default function compile(): void {
  const state = packageFile('node_modules/.cache/keyspan/tsc.json');
  if (!existsSync(packageFile('dist'))) rmSync(state, { force: true });
  const compiler = join(packageFile('node_modules'), 'typescript', 'bin', 'tsc');
  const args = ['-p', packageFile('tsconfig.json'), '--incremental', '--tsBuildInfoFile', state];
  const result = spawnSync(process.execPath, [compiler, ...args], { encoding: 'utf8' });
  if (result.error) throw result.error;
  const packer = packageFile('scripts/pack.mjs');
  const packed = spawnSync(process.execPath, [packer], { cwd: packageFile('.'), encoding: 'utf8' });
  if (packed.status !== 0) throw packed.error ?? new Error(packed.stderr);
}
