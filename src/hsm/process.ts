import { spawnSync, type ChildProcess } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { monotonic } from '../core/clock.js';
import { pause, type Deadline, hasPassed } from '../core/deadline.js';
import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { accept } from '../protocol/form.js';
import { HEARTBEAT_FD, failed, listening, type Launch, type Launched } from './launch.js';
import { takeProcess } from './nursery.js';
import { Pulse } from './pulse.js';

export interface ProcessEvents {
  /** the process listens, or says why it cannot */
  readonly launched: (line: Launched) => void;
  readonly exited: () => void;
  /**
   * no heartbeat for LIMITS.heartbeat_missed_ms, or a main thread busy for
   * LIMITS.hsm_busy_max_ms
   */
  readonly silent: () => void;
  /** a heartbeat after a silence */
  readonly heard: () => void;
}

const PID_FILE = 'pid';
const KILL_TRIES_MAX = 500;
const BUSY = 'b'.charCodeAt(0);
/** states of a process that has ended */
const ENDED = new Set(['Z', 'X']);

/** One operating-system process around one token, seen from the daemon. */
export class HsmProcess {
  readonly #child: ChildProcess;
  readonly #directory: string;
  readonly #events: ProcessEvents;
  readonly #exit: Promise<void>;
  #watch: NodeJS.Timeout | undefined;
  #pulse = new Pulse(monotonic());

  constructor(options: { launch: Launch; events: ProcessEvents }) {
    const { launch, events } = options;
    this.#directory = launch.directory;
    this.#events = events;
    mkdirSync(launch.directory, { recursive: true, mode: 0o700 });
    this.#child = takeProcess();
    try {
      this.#remember();
    } catch (error) {
      // its token would not be known to be in use
      this.#child.once('error', () => undefined).kill('SIGKILL');
      throw error;
    }
    this.#exit = new Promise((resolve) => this.#child.once('exit', () => resolve()));
    this.#child.once('error', () => this.#ended());
    this.#child.once('exit', () => this.#ended());
    this.#listen();
    const stdin = this.#child.stdin as Writable;
    stdin.on('error', () => undefined);
    stdin.write(`${JSON.stringify(launch)}\n`);
  }

  get pid(): number | undefined {
    return this.#child.exitCode === null && this.#child.signalCode === null
      ? this.#child.pid
      : undefined;
  }

  signal(name: 'SIGKILL' | 'SIGTERM' | 'SIGSTOP' | 'SIGCONT'): void {
    if (this.pid !== undefined) this.#child.kill(name);
  }

  /** Asks it to end, and kills it when it has not by the deadline. */
  async stop(deadline: Deadline): Promise<void> {
    this.signal('SIGTERM');
    while (this.pid !== undefined && !hasPassed(deadline)) {
      await Promise.race([this.#exit, pause(20)]);
    }
    this.signal('SIGKILL');
    if (this.pid !== undefined) await this.#exit;
  }

  /** From now on a silence is one. */
  watchHeartbeat(): void {
    if (this.pid === undefined) return;
    this.#pulse = new Pulse(monotonic());
    this.#watch ??= setInterval(() => this.#look(), LIMITS.heartbeat_interval_ms);
  }

  #remember(): void {
    const { pid } = this.#child;
    if (pid === undefined) return;
    const line = JSON.stringify({ pid, startedAt: startTime(pid) ?? '' });
    writeFileSync(join(this.#directory, PID_FILE), line, { mode: 0o600 });
  }

  #ended(): void {
    clearInterval(this.#watch);
    try {
      rmSync(join(this.#directory, PID_FILE), { force: true });
    } catch {
      // a directory that became read-only: the start time tells that it is nobody's
    }
    this.#events.exited();
  }

  #listen(): void {
    let text = '';
    const stdout = this.#child.stdout as Readable;
    stdout.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
      if (!text.includes('\n')) return;
      const line = parseLine(text.slice(0, text.indexOf('\n')));
      text = '';
      if (line) this.#events.launched(line);
    });
    const beats = this.#child.stdio[HEARTBEAT_FD] as Readable;
    beats.on('data', (marks: Buffer) => this.#beat(marks));
    beats.on('error', () => undefined);
  }

  #beat(marks: Buffer): void {
    const turned = marks[marks.length - 1] !== BUSY;
    if (this.#pulse.beat(monotonic(), turned)) this.#events.heard();
  }

  #look(): void {
    if (this.#pulse.look(monotonic())) this.#events.silent();
  }
}

function parseLine(text: string): Launched | undefined {
  try {
    const line: unknown = JSON.parse(text);
    return accept(listening, line) ?? accept(failed, line);
  } catch {
    return undefined;
  }
}

/**
 * When a process began, so that a pid that was given again is not mistaken for it; `undefined` when
 * it has ended, also if nobody has asked for its exit status yet.
 */
export function startTime(pid: number): string | undefined {
  if (process.platform !== 'linux') return startTimeFromPs(pid);
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // the command in parentheses may contain spaces; field 3 is the state, 22 the start time
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return ENDED.has(fields[0] ?? '') ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

function startTimeFromPs(pid: number): string | undefined {
  const fields = ['-o', 'stat=', '-o', 'lstart=', '-p', String(pid)];
  const { status, stdout } = spawnSync('ps', fields, { encoding: 'utf8' });
  if (status !== 0) return undefined;
  const [state = '', ...began] = stdout.trim().split(/\s+/);
  return ENDED.has(state.slice(0, 1)) ? undefined : began.join(' ');
}

async function killUntilEnded(pid: number, alive: () => boolean): Promise<void> {
  for (let tries = 0; alive(); tries += 1) {
    if (tries === KILL_TRIES_MAX) {
      throw new KeyspanError('HsmDeviceError', `process ${pid} holds the token and stays`);
    }
    killQuietly(pid);
    await pause(10);
  }
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // it ended by itself
  }
}

/**
 * Ends the process that a daemon before this one left on the token in `directory`, also a
 * stopped one: two processes on one
 * token would both serve.
 * @returns whether there was one
 * @throws KeyspanError HsmDeviceError when it cannot be ended
 */
export async function endLeftover(directory: string): Promise<boolean> {
  const file = join(directory, PID_FILE);
  let left: { pid: number; startedAt: string };
  try {
    left = JSON.parse(readFileSync(file, 'utf8')) as typeof left;
  } catch {
    return false;
  }
  const alive = (): boolean => startTime(left.pid) === left.startedAt;
  const found = Number.isInteger(left.pid) && left.pid > 1 && alive();
  if (found) await killUntilEnded(left.pid, alive);
  rmSync(file, { force: true });
  return found;
}
