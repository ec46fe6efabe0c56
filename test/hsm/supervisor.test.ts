import { readFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { deadlineIn, pause } from '../../src/core/deadline.js';
import { LIMITS } from '../../src/core/limits.js';
import { silentLog } from '../../src/core/log.js';
import type { Channel } from '../../src/hsm/channel.js';
import type { Intent } from '../../src/hsm/hsm.js';
import type { Launch } from '../../src/hsm/launch.js';
import { startTime } from '../../src/hsm/process.js';
import { Supervisor } from '../../src/hsm/supervisor.js';
import type { HsmState } from '../../src/protocol/admin.js';
import { HsmHost, type TestHsm } from '../support/hsm-host.js';

const PATIENT = { timeout: 40_000, interval: 10 };
const { hung_restart_ms } = LIMITS;
const restartHungAfter = (ms: number): void => void Object.assign(LIMITS, { hung_restart_ms: ms });

let host: HsmHost;
beforeAll(async () => {
  host = await HsmHost.open();
});
afterAll(() => host[Symbol.asyncDispose]());
afterEach(() => restartHungAfter(hung_restart_ms));

/** A supervisor with what a cluster would do reduced to one question. */
class Supervised implements AsyncDisposable {
  readonly hsm: TestHsm;
  readonly supervisor: Supervisor;
  readonly states: HsmState[] = [];
  readonly found: string[] = [];
  launch: () => Promise<Launch>;
  rise: (channel: Channel) => Promise<void>;

  constructor(hsm: TestHsm = host.newHsm(), intent: Intent = 'run') {
    this.hsm = hsm;
    this.launch = () => Promise.resolve({ ...hsm.launch, serial: this.found.at(-1) ?? null });
    this.rise = async (channel) => void (await askInfo(channel));
    this.supervisor = new Supervisor({
      id: hsm.id,
      intent,
      log: silentLog(),
      launch: () => this.launch(),
      found: (serial) => Promise.resolve(void this.found.push(serial)),
      rise: (channel) => this.rise(channel),
      joined: () => true,
      changed: (state) => void this.states.push(state),
    });
  }

  get pid(): number {
    return this.supervisor.pid ?? 0;
  }

  async until(state: HsmState): Promise<void> {
    await expect.poll(() => this.supervisor.state, PATIENT).toBe(state);
  }

  async up(): Promise<this> {
    this.supervisor.start();
    await this.until('ACTIVE');
    return this;
  }

  /** It serves with another process than before. */
  async replaced(pid: number): Promise<void> {
    await expect.poll(() => this.pid !== 0 && this.pid !== pid, PATIENT).toBe(true);
    await this.until('ACTIVE');
    await this.serves();
    expect(startTime(pid)).toBeUndefined();
  }

  async serves(): Promise<void> {
    const { channel } = this.supervisor;
    if (!channel) throw new Error('there is no channel');
    expect(await askInfo(channel)).toMatchObject({ phase: 'new' });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.supervisor[Symbol.asyncDispose]();
  }
}

const askInfo = (channel: Channel): Promise<unknown> =>
  channel.request({ operation: 'info', fields: {}, deadline: deadlineIn(30_000) });

const isStopped = (pid: number): boolean =>
  readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') T');

/** Longer than a restart without failures takes to begin. */
const settled = (): Promise<void> => pause(5 * LIMITS.restart_backoff_first_ms);

describe('a supervised HSM', () => {
  let one: Supervised;
  beforeEach(async () => {
    one ??= new Supervised();
    one.supervisor.want('run');
    await one.until('ACTIVE');
    one.states.length = 0;
  });
  afterAll(() => one[Symbol.asyncDispose]());

  test('serves, and its token was made known before', async () => {
    expect(one.found.length).toBeGreaterThan(0);
    await one.serves();
  });

  test('is started again after kill -9', async () => {
    const { pid } = one;
    process.kill(pid, 'SIGKILL');
    await one.replaced(pid);
    expect(new Set(one.found).size).toBe(1);
    expect(one.states).not.toContain('FAILED');
  });

  test('is started again after a crash that the operator asked for', async () => {
    const { pid } = one;
    one.supervisor.crash();
    await one.replaced(pid);
  });

  test('is taken out of service when it hangs, and back when it goes on, as it is', async () => {
    const { pid } = one;
    process.kill(pid, 'SIGSTOP');
    await one.until('HUNG');
    expect(one.supervisor.channel).toBeUndefined();
    process.kill(pid, 'SIGCONT');
    await one.until('ACTIVE');
    expect(one.pid).toBe(pid);
    await one.serves();
  });

  test('is started again when it hangs too long', async () => {
    restartHungAfter(300);
    const { pid } = one;
    process.kill(pid, 'SIGSTOP');
    await one.until('HUNG');
    await one.replaced(pid);
  });

  test('stays killed until it is started', async () => {
    const { pid } = one;
    one.supervisor.want('kill');
    expect(one.supervisor.channel).toBeUndefined();
    await one.until('KILLED');
    await expect.poll(() => one.supervisor.pid, PATIENT).toBeUndefined();
    await settled();
    expect([one.supervisor.pid, startTime(pid)]).toEqual([undefined, undefined]);
    one.supervisor.want('run');
    await one.until('ACTIVE');
    await one.serves();
  });

  test('is paused as it is, does not count as hung, and goes on', async () => {
    restartHungAfter(50);
    const { pid } = one;
    one.supervisor.want('pause');
    await one.until('PAUSED');
    expect(one.supervisor.channel).toBeUndefined();
    await pause(2 * LIMITS.heartbeat_missed_ms);
    expect([one.pid, isStopped(pid)]).toEqual([pid, true]);
    one.supervisor.want('run');
    await one.until('ACTIVE');
    expect(one.pid).toBe(pid);
    await one.serves();
    expect(one.states).not.toContain('HUNG');
  });

  test('stays stopped until it is started', async () => {
    one.supervisor.want('stop');
    await one.until('STOPPED');
    await expect.poll(() => one.supervisor.pid, PATIENT).toBeUndefined();
    await settled();
    expect(one.supervisor.pid).toBeUndefined();
  });

  test('that is paused can be stopped', async () => {
    const { pid } = one;
    one.supervisor.want('pause');
    await one.until('PAUSED');
    one.supervisor.want('stop');
    await expect.poll(() => startTime(pid), PATIENT).toBeUndefined();
    await one.until('STOPPED');
  });
});

describe('several', () => {
  test('start beside one another and end in good order', async () => {
    const three = [new Supervised(), new Supervised(), new Supervised()];
    await Promise.all(three.map((one) => one.up()));
    const pids = three.map(({ pid }) => pid);
    expect(new Set(pids).size).toBe(3);
    three[1]?.supervisor.want('pause');
    await three[1]?.until('PAUSED');
    await Promise.all(three.map((one) => one[Symbol.asyncDispose]()));
    expect(pids.map((pid) => startTime(pid))).toEqual([undefined, undefined, undefined]);
  });
});

describe('a start', () => {
  test('is not made for what the operator does not want to run', async () => {
    for (const intent of ['kill', 'stop', 'pause'] as const) {
      await using one = new Supervised(host.newHsm(), intent);
      one.supervisor.start();
      await settled();
      expect([one.supervisor.pid, one.found]).toEqual([undefined, []]);
    }
  });

  test.each(['kill', 'stop', 'pause'] as const)(
    'that is being prepared when the operator wants to %s comes to nothing, and can be made again',
    async (intent) => {
      await using one = new Supervised();
      const { launch } = one;
      let proceed = (): void => undefined;
      const prepared = new Promise<void>((resolve) => {
        proceed = resolve;
      });
      one.launch = async () => {
        await prepared;
        return await launch();
      };
      one.supervisor.start();
      one.supervisor.want(intent);
      proceed();
      await settled();
      expect(one.supervisor.pid).toBeUndefined();
      expect(one.supervisor.state).toBe(intent === 'kill' ? 'KILLED' : 'STOPPED');
      one.supervisor.want('run');
      await one.until('ACTIVE');
      await one.serves();
    },
  );

  test('that fails is made again, with the reason told', async () => {
    await using one = new Supervised();
    const { launch, rise } = one;
    const failures = ['no launch', 'no rise'];
    one.launch = () => {
      if (failures[0] === 'no launch') throw new Error(failures.shift());
      return launch();
    };
    one.rise = async (channel) => {
      if (failures[0] === 'no rise') throw new Error(failures.shift());
      expect(one.supervisor.failures).toBe(2);
      expect(one.supervisor.reason).toBe('no rise');
      await rise(channel);
    };
    one.supervisor.start();
    await one.until('ACTIVE');
    expect(failures).toEqual([]);
    expect(one.states).toContain('FAILED');
    expect([one.supervisor.failures, one.supervisor.reason]).toEqual([0, undefined]);
  });

  test('ends what an earlier daemon left on the token', async () => {
    const hsm = await host.newHsm().start();
    const pid = hsm.process?.pid ?? 0;
    process.kill(pid, 'SIGSTOP');
    await using one = new Supervised(hsm);
    one.found.push(hsm.serial ?? '');
    await one.up();
    expect(startTime(pid)).toBeUndefined();
    expect(one.pid).not.toBe(pid);
    await one.serves();
  });
});
