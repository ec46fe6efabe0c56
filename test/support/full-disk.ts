import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';

/** Disks that fill up and directories that cannot be written to, as far as this machine allows. */
const isRoot = userInfo().uid === 0;

function run(program: string, ...words: string[]): boolean {
  try {
    execFileSync(program, words, { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** Everything under a directory: nothing of it can be changed, nothing added, until disposed. */
export function readOnly(directory: string): Disposable & { readonly how: string } {
  const ways = isRoot
    ? [
        // permissions do not bind who is root
        { how: 'chattr', set: ['chattr', '-R', '+i'], unset: ['chattr', '-R', '-i'] },
        { how: 'bind', set: undefined, unset: ['umount'] },
      ]
    : [{ how: 'chmod', set: ['chmod', '-R', 'a-w'], unset: ['chmod', '-R', 'u+w'] }];
  for (const { how, set, unset } of ways) {
    const [program = '', ...words] = set ?? [];
    const done = set ? run(program, ...words, directory) : bindReadOnly(directory);
    const [undo = '', ...rest] = unset;
    if (done) return { how, [Symbol.dispose]: () => void run(undo, ...rest, directory) };
    run(undo, ...rest, directory);
  }
  throw new Error('no way to make a directory read-only: neither chattr nor mount is allowed');
}

const bindReadOnly = (directory: string): boolean =>
  run('mount', '--bind', directory, directory) && run('mount', '-o', 'remount,ro,bind', directory);

/** A disk of its own under a directory, or a bound on what one process may write. */
export interface SmallDisk extends Disposable {
  readonly how: string;
  /** Nothing more can be written by that process. */
  fill(pid: number): void;
  free(pid: number): void;
}

/** What stands in the directory is moved to the disk. Nothing may use it meanwhile. */
export function smallDisk(directory: string, sizeKib: number): SmallDisk {
  const aside = mkdtempSync(join(tmpdir(), 'keyspan-disk-'));
  cpSync(directory, aside, { recursive: true, preserveTimestamps: true });
  const { mode } = statSync(directory);
  const options = `size=${sizeKib}k,mode=0700`;
  const mounted = isRoot && run('mount', '-t', 'tmpfs', '-o', options, 'tmpfs', directory);
  if (mounted) {
    cpSync(aside, directory, { recursive: true, preserveTimestamps: true });
    chmodSync(directory, mode & 0o777);
  }
  rmSync(aside, { recursive: true });
  return mounted ? diskOf(directory) : BOUNDED;
}

function diskOf(directory: string): SmallDisk {
  const filler = join(directory, 'filler');
  return {
    how: 'tmpfs',
    fill: () => {
      // to the last byte
      for (const size of [1 << 16, 1 << 12, 1]) {
        try {
          for (;;) writeFileSync(filler, Buffer.alloc(size), { flag: 'a' });
        } catch {
          // full for pieces of this size
        }
      }
    },
    free: () => rmSync(filler, { force: true }),
    [Symbol.dispose]: () => {
      const left = readdirSync(directory);
      const aside = mkdtempSync(join(tmpdir(), 'keyspan-disk-'));
      rmSync(filler, { force: true });
      if (left.length > 0) cpSync(directory, aside, { recursive: true, preserveTimestamps: true });
      run('umount', '-l', directory);
      cpSync(aside, directory, { recursive: true, preserveTimestamps: true });
      rmSync(aside, { recursive: true });
    },
  };
}

/** Where mounting is not allowed: RLIMIT_FSIZE, which needs no rights over one's own processes. */
const BOUNDED: SmallDisk = {
  how: 'RLIMIT_FSIZE',
  fill: (pid) => {
    if (!bound(pid, '0')) throw new Error('no way to fill a disk: mount and prlimit are forbidden');
  },
  // a process that has ended took its bound along
  free: (pid) => void bound(pid, 'unlimited'),
  [Symbol.dispose]: () => undefined,
};

function bound(pid: number, bytes: string): boolean {
  return run('prlimit', '--pid', String(pid), `--fsize=${bytes}:unlimited`);
}
