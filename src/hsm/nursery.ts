import { spawn, type ChildProcess } from 'node:child_process';
import { HSM_FLAGS, entryPath } from '../core/entry.js';

/**
 * HSM processes that wait to be told who they are. Starting Node and loading the code takes most of
 * an HSM's start; the daemon has it done on the other core while it loads its own.
 */
const waiting: ChildProcess[] = [];
/**
 * The module makes and frees dozens of small objects for each operation: the allocator is to keep
 * them at hand, and not to sort them whenever something large is freed. To keep 200 of each size
 * would be faster still, by a microsecond of fifteen, but their places in between hold up the rest:
 * the heap then grows for millions of operations. Other C libraries than glibc do not read this.
 */
const ALLOCATOR = 'glibc.malloc.mxfast=0:glibc.malloc.tcache_count=40';
const FORWARDED = ['PATH', 'HOME', 'TMPDIR', 'KEYSPAN_LOG_LEVEL', 'KEYSPAN_HSM_MODULE'];

function start(): ChildProcess {
  const env = Object.fromEntries(FORWARDED.map((name) => [name, process.env[name]]));
  // main.ts with all that it loads in one file: see scripts/pack.mjs
  const program = entryPath(import.meta.url, '../hsm/program.cjs');
  return spawn(process.execPath, [...HSM_FLAGS, program], {
    // standard input carries the launch line, 3 the heartbeats
    stdio: ['pipe', 'pipe', 'inherit', 'pipe'],
    env: { ...env, GLIBC_TUNABLES: ALLOCATOR },
    cwd: '/',
  });
}

/** Starts processes ahead of their need. */
export function warm(count: number): void {
  for (let made = 0; made < count; made += 1) {
    const child = start();
    // one that cannot be started is missed when it is taken
    child.once('error', () => undefined);
    waiting.push(child);
  }
}

/** A process that waits for its launch line. */
export function takeProcess(): ChildProcess {
  for (let child = waiting.shift(); child; child = waiting.shift()) {
    if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) {
      return child;
    }
  }
  return start();
}

/** Ends the processes that nobody took. */
export function dismiss(): void {
  for (const child of waiting.splice(0)) child.kill('SIGKILL');
}
