import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { deadlineIn } from '../../src/core/deadline.js';
import { newBootId, newClusterId, newHsmId } from '../../src/core/ids.js';
import { LIMITS } from '../../src/core/limits.js';
import { Channel } from '../../src/hsm/channel.js';
import { FrameReader, encodeFrame } from '../../src/protocol/frame-codec.js';
import { FRAME_VERSION, RECORD_VERSION, SOON } from '../../src/protocol/hsm-frames.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

const refused = (code: string): unknown => expect.objectContaining({ code });
const hsm = newHsmId();
const cluster = newClusterId();
const hello = {
  hello: FRAME_VERSION,
  recordVersion: RECORD_VERSION,
  hsm,
  cluster,
  boot: newBootId(),
  epoch: 4,
  phase: 'member',
};

/** A foreign HSM: it says what it is told to say. */
class ForeignHsm {
  readonly path = join(temporaryDirectory(), 's');
  readonly frames: unknown[] = [];
  socket: Socket | undefined;
  readonly #server: Server;

  constructor(greeting: Buffer | undefined, answer: (request: unknown[], at: ForeignHsm) => void) {
    this.#server = createServer((socket) => {
      this.socket = socket;
      socket.on('error', () => undefined);
      if (greeting) socket.write(greeting);
      const reader = new FrameReader();
      socket.on('data', (chunk) => {
        for (const frame of reader.push(chunk)) {
          this.frames.push(frame);
          if (Array.isArray(frame)) answer(frame, this);
        }
      });
    });
    onTestFinished(() => {
      this.socket?.destroy();
      this.#server.close();
    });
  }

  async listen(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(this.path, resolve));
    return this;
  }

  say(item: unknown): void {
    this.socket?.write(encodeFrame(item));
  }
}

const newForeign = (
  answer: (request: unknown[], at: ForeignHsm) => void = () => undefined,
  greeting: Buffer | undefined = encodeFrame(hello),
): Promise<ForeignHsm> => new ForeignHsm(greeting, answer).listen();

async function connect(path: string, options: { ms?: number; traced?: boolean } = {}) {
  const { ms = 30_000, traced = false } = options;
  const channel = await Channel.connect({ path, hsm, cluster, deadline: deadlineIn(ms), traced });
  onTestFinished(() => channel.close());
  return channel;
}

/** Others of this process may have asked side by side just now. */
const CROWD_MS = 40;

const greeted = { hello: FRAME_VERSION, recordVersion: RECORD_VERSION, hsm, cluster };

const ask = (channel: Channel, ms = 30_000): Promise<unknown> =>
  channel.request({
    operation: 'user-list',
    fields: {},
    deadline: deadlineIn(ms),
    requestId: 'r-1',
  });

const { channel_inflight_max } = LIMITS;
beforeEach(() => void Object.assign(LIMITS, { channel_inflight_max: 10 }));
afterEach(() => void Object.assign(LIMITS, { channel_inflight_max }));

describe('connecting', () => {
  test('says who is meant and learns who is there', async () => {
    const foreign = await newForeign();
    const channel = await connect(foreign.path);
    expect(channel.peer).toEqual(hello);
    await expect.poll(() => foreign.frames).toEqual([greeted]);
  });

  test.each<[string, unknown]>([
    ['another HSM', { ...hello, hsm: newHsmId() }],
    ['another cluster', { ...hello, cluster: newClusterId() }],
    ['another version', { ...hello, hello: 1 }],
    ['another record version', { ...hello, recordVersion: 2 }],
    ['no hello', [1, 0, {}]],
  ])('to %s is refused', async (_, greeting) => {
    const foreign = await newForeign(undefined, encodeFrame(greeting));
    await expect(connect(foreign.path)).rejects.toEqual(refused('HsmProtocol'));
  });

  test('to nobody, to one who hangs up, to garbage, or to silence fails', async () => {
    const lost = refused('KeyspanConnection');
    await expect(connect(join(temporaryDirectory(), 'none'))).rejects.toEqual(lost);
    const garbage = await newForeign(undefined, Buffer.alloc(8));
    await expect(connect(garbage.path)).rejects.toEqual(lost);
    const mute = await new ForeignHsm(undefined, () => undefined).listen();
    const hanging = connect(mute.path);
    await expect.poll(() => mute.socket).toBeDefined();
    mute.socket?.destroy();
    await expect(hanging).rejects.toEqual(lost);
    const silent = await new ForeignHsm(undefined, () => undefined).listen();
    await expect(connect(silent.path, { ms: 50 })).rejects.toEqual(
      refused('KeyspanDeadlineExceeded'),
    );
  });
});

describe('a channel', () => {
  test('gives each request its answer, in any order', async () => {
    const asked: unknown[] = [];
    const foreign = await newForeign(([id], at) => {
      asked.push(id);
      if (asked.length < 3) return;
      for (const [place, one] of [...asked.entries()].reverse()) at.say([one, 0, { was: place }]);
    });
    const channel = await connect(foreign.path);
    const answers = await Promise.all([ask(channel), ask(channel), ask(channel)]);
    expect(answers).toEqual([{ was: 0 }, { was: 1 }, { was: 2 }]);
    expect([channel.inflight, channel.requested]).toEqual([0, 3]);
  });

  test('passes on what the HSM refuses, and takes no code it does not know', async () => {
    const answers: unknown[][] = [
      [1, 'HsmKeyNotFound', 'a sentence'],
      [1, 'NoSuchCode', 'x'],
      [1, 'toString', 7],
    ];
    const foreign = await newForeign(([id], at) => at.say([id, ...(answers.shift() ?? [])]));
    const channel = await connect(foreign.path);
    await expect(ask(channel)).rejects.toMatchObject({
      code: 'HsmKeyNotFound',
      message: 'a sentence',
    });
    for (let time = 0; time < 2; time += 1) {
      await expect(ask(channel)).rejects.toEqual(refused('HsmDeviceError'));
    }
  });

  test('waits no longer than the deadline, and a late answer is nobody else’s', async () => {
    const late: unknown[] = [];
    const foreign = await newForeign(([id], at) => {
      if (late.length === 0) late.push(id);
      else for (const one of [...late, id]) at.say([one, 0, { late: one !== id }]);
    });
    const channel = await connect(foreign.path);
    await expect(ask(channel, 50)).rejects.toEqual(refused('HsmDeadlineExceeded'));
    expect(channel.inflight).toBe(0);
    expect(await ask(channel)).toEqual({ late: false });
    await expect(ask(channel, 0)).rejects.toEqual(refused('HsmDeadlineExceeded'));
  });

  test('holds as many requests as allowed', async () => {
    const channel = await connect((await newForeign()).path);
    const held = Array.from({ length: 10 }, () => ask(channel).catch(() => 'lost'));
    await expect(ask(channel)).rejects.toEqual(refused('HsmBusy'));
    expect(channel.inflight).toBe(10);
    channel.close();
    expect(await Promise.all(held)).toEqual(held.map(() => 'lost'));
    expect(channel.inflight).toBe(0);
  });

  test.each<[string, (at: ForeignHsm) => unknown]>([
    ['hangs up', (at) => at.socket?.destroy()],
    ['sends garbage', (at) => at.socket?.write(Buffer.alloc(8))],
    ['sends no answer', (at) => at.say({ hello: 1 })],
  ])('to an HSM that %s is lost with all that waits', async (_, act) => {
    const foreign = await newForeign((_request, at) => void act(at));
    const channel = await connect(foreign.path);
    const asked = [ask(channel), ask(channel)];
    for (const one of asked) await expect(one).rejects.toEqual(refused('KeyspanConnection'));
    expect(channel.closed.aborted).toBe(true);
    await expect(ask(channel)).rejects.toEqual(refused('KeyspanConnection'));
  });

  test('tells the id of a request only when it is traced', async () => {
    for (const traced of [true, false]) {
      const foreign = await newForeign(([id], at) => at.say([id, 0, {}]));
      await ask(await connect(foreign.path, { traced }));
      const [, request] = foreign.frames as unknown[][];
      expect(request?.slice(3)).toEqual(['user-list', 0, {}, ...(traced ? ['r-1'] : [])]);
    }
  });
});

describe('work to come', () => {
  const notices = ({ frames }: ForeignHsm): unknown[] =>
    frames.filter((frame) => !Array.isArray(frame) && !(frame as { hello?: number }).hello);

  test('is told of to an HSM that has nothing to do', async () => {
    const foreign = await newForeign(([id], at) => at.say([id, 0, {}]));
    const channel = await connect(foreign.path);
    await sleep(CROWD_MS);
    channel.soon();
    await ask(channel);
    expect(notices(foreign)).toEqual([SOON]);
  });

  test('is not told of where there is other work', async () => {
    const foreign = await newForeign(([id], at) => at.say([id, 0, {}]));
    const channel = await connect(foreign.path);
    const both = [ask(channel), ask(channel)];
    channel.soon();
    await Promise.all(both);
    channel.soon();
    await ask(channel);
    expect(notices(foreign)).toEqual([]);
  });
});
