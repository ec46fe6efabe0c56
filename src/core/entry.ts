import { fileURLToPath } from 'node:url';

/**
 * The path of a program or worker file that stands beside the calling module. Processes and
 * worker threads run compiled
 * code; when the caller itself runs from `src` (as in tests), the file of the same name in
 * `dist` is meant. Who may be packed into another file (scripts/pack.mjs) names the folder too.
 */
export function entryPath(callerUrl: string, file: string): string {
  const path = fileURLToPath(new URL(file, callerUrl));
  if (!callerUrl.endsWith('.ts')) return path;
  const at = path.lastIndexOf('/src/');
  return `${path.slice(0, at)}/dist/${path.slice(at + '/src/'.length)}`;
}

/**
 * Flags for Node in the processes that are started from here. Collecting young garbage in several
 * threads costs a tenth of the daemon's time when all cores are busy: the threads wait for each
 * other.
 */
export const ENGINE_FLAGS: readonly string[] = ['--no-parallel-scavenge'];

/**
 * Those of the daemon, in MiB. What it reads of thousands of keys at its start stays: a heap that
 * begins with room for it is not gone through again and again while it fills. The space for young
 * objects has its size from the start: left alone it grows to twice as much under load, and gains
 * nothing by it.
 */
export const DAEMON_FLAGS: readonly string[] = [
  ...ENGINE_FLAGS,
  '--min-semi-space-size=8',
  '--max-semi-space-size=8',
  '--initial-old-space-size=64',
];

/** Those of an HSM: it keeps next to nothing from one operation to the next. */
export const HSM_FLAGS: readonly string[] = [...ENGINE_FLAGS, '--max-semi-space-size=4'];

/** A file of the package that is not code, named from the package's root. */
export function packageFile(path: string): string {
  return fileURLToPath(new URL(`../../${path}`, import.meta.url));
}
