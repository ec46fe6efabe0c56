import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { deadlineIn } from '../../src/core/deadline.js';
import { packageFile } from '../../src/core/entry.js';
import { dismiss, takeProcess, warm } from '../../src/hsm/nursery.js';
import { endLeftover, startTime } from '../../src/hsm/process.js';
import { HsmHost, soon, type TestHsm } from '../support/hsm-host.js';

const PATIENT = { timeout: 30_000, interval: 20 };

let host: HsmHost;
beforeAll(async () => {
  host = await HsmHost.open();
});
afterAll(() => host[Symbol.asyncDispose]());
afterEach(() => Promise.all(host.hsms.map((hsm) => hsm.kill())));

const pidOf = (hsm: TestHsm): number => hsm.process?.pid ?? 0;
const pidFile = (hsm: TestHsm): string => join(hsm.launch.directory, 'pid');
const isGone = (pid: number): boolean => startTime(pid) === undefined;
/** the state of a process as proc(5) spells it */
const stateOf = (pid: number): string | undefined =>
  readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.[0];

describe('an HSM process', () => {
  test('starts beside others, each on its own token', async () => {
    const three = [host.newHsm(), host.newHsm(), host.newHsm()];
    await Promise.all(three.map((hsm) => hsm.start()));
    expect(new Set(three.map(({ serial }) => serial)).size).toBe(3);
    expect(new Set(three.map(pidOf)).size).toBe(3);
    for (const hsm of three) {
      const { pid } = JSON.parse(readFileSync(pidFile(hsm), 'utf8')) as { pid: number };
      expect(pid).toBe(pidOf(hsm));
      expect((await hsm.connect()).peer.hsm).toBe(hsm.id);
    }
    const pids = three.map(pidOf);
    await Promise.all(three.map(async (hsm) => await hsm.process?.stop(deadlineIn(30_000))));
    expect(pids.every(isGone)).toBe(true);
    expect(three.some((hsm) => existsSync(pidFile(hsm)))).toBe(false);
    expect(three.map(({ happened }) => happened)).toEqual([['exited'], ['exited'], ['exited']]);
  });

  test('that is stopped is silent, and heard again when it goes on', async () => {
    const hsm = await host.newHsm().start();
    hsm.process?.watchHeartbeat();
    const pid = pidOf(hsm);
    hsm.process?.signal('SIGSTOP');
    await expect.poll(() => hsm.happened, PATIENT).toEqual(['silent']);
    hsm.process?.signal('SIGCONT');
    await expect.poll(() => hsm.happened, PATIENT).toEqual(['silent', 'heard']);
    expect(pidOf(hsm)).toBe(pid);
  });

  test('that is stopped is killed when it does not end by the deadline', async () => {
    const hsm = await host.newHsm().start();
    const pid = pidOf(hsm);
    hsm.process?.signal('SIGSTOP');
    await hsm.process?.stop(deadlineIn(200));
    expect(isGone(pid)).toBe(true);
  });

  test('takes up its token again, and no other', async () => {
    const hsm = await host.newHsm().start();
    await hsm.kill();
    const { serial } = hsm;
    await hsm.start();
    expect(hsm.serial).toBe(serial);
    await hsm.kill();
    expect(await hsm.launched({ serial: '0123456789abcdef' })).toMatchObject({
      failed: 'HsmDeviceError',
    });
    const stranger = host.newHsm();
    expect(await stranger.launched({ serial })).toMatchObject({ failed: 'HsmDeviceError' });
    expect(readdirSync(join(stranger.launch.directory, 'tokens'))).toEqual([]);
  });

  test('whose daemon died before it remembered the token starts all the same', async () => {
    const hsm = await host.newHsm().start();
    const { serial } = hsm;
    await hsm.kill();
    hsm.serial = null;
    await hsm.start();
    expect(hsm.serial).toBe(serial);
  });

  test('puts a token aside that was killed in the making, and makes another', async () => {
    const hsm = host.newHsm();
    const unfinished = join(hsm.launch.directory, 'tokens', 'unfinished');
    mkdirSync(unfinished, { recursive: true });
    writeFileSync(join(unfinished, 'token.object'), Buffer.alloc(40));
    await hsm.start();
    expect(readdirSync(join(hsm.launch.directory, 'tokens'))).not.toContain('unfinished');
    const [aside] = readdirSync(join(hsm.launch.directory, 'torn'));
    expect(aside).toMatch(/^(unfinished|token)/);
  });

  test('that cannot serve says why and ends', async () => {
    const hsm = host.newHsm();
    const line = await hsm.launched({ socket: join(host.folder, 'no', 'such', 'folder.sock') });
    expect(line).toMatchObject({
      failed: 'HsmDeviceError',
      message: expect.stringContaining('listen'),
    });
    await hsm.exited();
  });
});

describe('the end of the pipe to the daemon', () => {
  test('ends a process that serves', async () => {
    const hsm = host.newHsm();
    const child = takeProcess();
    onTestFinished(() => void child.kill('SIGKILL'));
    child.stdin?.write(`${JSON.stringify(hsm.launch)}\n`);
    const exit = once(child, 'exit');
    const [line] = (await soon(once(child.stdout as NodeJS.ReadableStream, 'data'), 'a line')) as [
      Buffer,
    ];
    expect(JSON.parse(line.toString())).toHaveProperty('listening', true);
    child.stdin?.end();
    expect(await soon(exit, 'the end')).toEqual([0, null]);
  });

  test('ends a process that nobody told who it is', async () => {
    warm(2);
    const child = takeProcess();
    onTestFinished(() => void child.kill('SIGKILL'));
    expect(child.pid).toBeGreaterThan(0);
    const exit = once(child, 'exit');
    child.stdin?.end();
    expect(await soon(exit, 'the end')).toEqual([1, null]);
    // the other is still there to be taken, and killed when nobody does
    const other = takeProcess();
    const killed = once(other, 'exit');
    other.kill('SIGKILL');
    expect(await soon(killed, 'the end')).toEqual([null, 'SIGKILL']);
    dismiss();
  });
});

describe('what a killed daemon leaves', () => {
  /** A daemon of its own process with one HSM. */
  async function startParent(hsm: TestHsm): Promise<{ parent: ChildProcess; pid: number }> {
    const script = packageFile('test/support/hsm-parent.mjs');
    const parent = spawn(process.execPath, [script, JSON.stringify(hsm.launch)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    onTestFinished(() => void parent.kill('SIGKILL'));
    const lines = createInterface(parent.stdout);
    const [line] = (await soon(once(lines, 'line'), 'a pid')) as [string];
    expect(line).toMatch(/^\d+$/);
    return { parent, pid: Number(line) };
  }

  async function killParent(parent: ChildProcess): Promise<void> {
    const exit = once(parent, 'exit');
    parent.kill('SIGKILL');
    await soon(exit, 'the end of the daemon');
  }

  test('ends by itself', async () => {
    const hsm = host.newHsm();
    const { parent, pid } = await startParent(hsm);
    await killParent(parent);
    await expect.poll(() => isGone(pid), PATIENT).toBe(true);
    expect(await endLeftover(hsm.launch.directory)).toBe(false);
    expect(existsSync(pidFile(hsm))).toBe(false);
  });

  test('is ended also when it is stopped, and the token can be used again', async () => {
    const hsm = host.newHsm();
    const { parent, pid } = await startParent(hsm);
    process.kill(pid, 'SIGSTOP');
    await expect.poll(() => stateOf(pid), PATIENT).toBe('T');
    await killParent(parent);
    expect(isGone(pid)).toBe(false);
    expect(await endLeftover(hsm.launch.directory)).toBe(true);
    expect(isGone(pid)).toBe(true);
    expect(existsSync(pidFile(hsm))).toBe(false);
    expect(await endLeftover(hsm.launch.directory)).toBe(false);
    await hsm.start();
  });

  test('is not taken for another process with its pid', async () => {
    const hsm = host.newHsm();
    mkdirSync(hsm.launch.directory, { recursive: true });
    const write = (value: unknown): void => writeFileSync(pidFile(hsm), JSON.stringify(value));
    const bystander = spawn('sleep', ['60'], { stdio: 'ignore' });
    onTestFinished(() => void bystander.kill('SIGKILL'));
    const pid = bystander.pid ?? 0;
    for (const left of [{ pid, startedAt: '1' }, { pid, startedAt: '' }, { pid: 1 }, { pid: -1 }]) {
      write(left);
      expect(await endLeftover(hsm.launch.directory)).toBe(false);
      expect(existsSync(pidFile(hsm))).toBe(false);
    }
    writeFileSync(pidFile(hsm), 'no JSON');
    expect(await endLeftover(hsm.launch.directory)).toBe(false);
    expect(isGone(pid)).toBe(false);
  });

  test('is told from a process that has ended and was not waited for', async () => {
    // the shell's child is left to a program that does not wait for it
    const shell = spawn('sh', ['-c', 'sleep 0.5 & echo $!; exec sleep 60']);
    onTestFinished(() => void shell.kill('SIGKILL'));
    const [line] = (await soon(once(shell.stdout, 'data'), 'a pid')) as [Buffer];
    const pid = Number(line.toString());
    await expect.poll(() => stateOf(pid), PATIENT).toBe('Z');
    expect(startTime(pid)).toBeUndefined();
    expect(startTime(shell.pid ?? 0)).toMatch(/^\d+$/);
  });
});
