import { writeSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';

/**
 * Tells the daemon every `intervalMs` that this process runs, from a thread that never calls
 * PKCS#11: a token that works for
 * seconds is slow, not hung. `a`: the main thread turned since the last time; `b`: it did not.
 */
interface Settings {
  readonly fd: number;
  readonly intervalMs: number;
  /** [0] counts the turns of the main thread */
  readonly turns: Int32Array;
}

const { fd, intervalMs, turns } = workerData as Settings;
let seen = -1;

function beat(): void {
  const now = Atomics.load(turns, 0);
  const mark = now === seen ? 'b' : 'a';
  seen = now;
  try {
    writeSync(fd, mark);
  } catch (error) {
    // a full pipe is a daemon that does not read just now; a broken one is a daemon that is gone
    if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') process.kill(process.pid, 'SIGKILL');
  }
}

beat();
const timer = setInterval(beat, intervalMs);
parentPort?.once('message', () => clearInterval(timer));
