import { statSync } from 'node:fs';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { LIMITS } from '../../src/core/limits.js';
import type { HsmLog } from '../../src/hsm/deferred-log.js';
import { Service } from '../../src/hsm/service.js';
import { FrameClient, soon } from '../support/hsm-host.js';
import { MachineFixture } from '../support/hsm-machine.js';

const INFLIGHT = 6;
const CONNECTIONS = 3;
const nobody = { username: 'nobody', password: 'not-a-password' };
const silent = (): void => undefined;
const traces: object[] = [];
const log: HsmLog = {
  debug: (fields) => void traces.push(fields),
  warn: silent,
  error: silent,
  fatal: silent,
};

let fixture: MachineFixture;
let service: Service;
let path: string;
beforeAll(async () => {
  Object.assign(LIMITS, {
    channel_inflight_max: INFLIGHT,
    hsm_connections_max: CONNECTIONS,
    frame_hello_timeout_ms: 200,
  });
  fixture = await MachineFixture.founded();
  path = join(fixture.tokens.directory, 's');
  service = new Service({ machine: fixture.machine, log });
  await service.listen(path);
});
afterAll(async () => {
  await service.drain();
  fixture[Symbol.dispose]();
});

const codeOf = ({ code }: { code?: unknown }): unknown => code;

describe('the service', () => {
  test('has a socket that its owner alone can open', () => {
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  test.each([-1, 2 ** 31 + 1, 1e308])('epoch %d is no epoch', async (epoch) => {
    const client = (await FrameClient.connect(path)).greet();
    await expect(client.ask('info', {}, { epoch })).rejects.toMatchObject({ code: 'HsmBadFrame' });
    client.end();
    await client.closed;
    expect(fixture.machine.epoch).toBeLessThanOrEqual(LIMITS.epoch_max);
  });

  test('answers each request, those over the bound with HsmBusy', async () => {
    const client = (await FrameClient.connect(path)).greet();
    const asked = Array.from({ length: 3 * INFLIGHT }, () => client.ask('login', nobody));
    const codes = await Promise.all(asked.map((one) => one.then(() => 'in', codeOf)));
    expect(codes.filter((code) => code === 'HsmCredentialsRefused')).toHaveLength(INFLIGHT);
    expect(codes.filter((code) => code === 'HsmBusy')).toHaveLength(2 * INFLIGHT);
    expect(await client.ask('info', {})).toMatchObject({ sessions: 0 });
    client.end();
    await client.closed;
  });

  test('logs a request that carries an id, and no other', async () => {
    const client = (await FrameClient.connect(path)).greet();
    traces.length = 0;
    client.send([900, 1_000, 1, 'info', 0, {}, 'request-1']);
    client.send([901, 1_000, 1, 'no-such', 0, {}, 'request-2']);
    await client.ask('info', {});
    expect(traces).toMatchObject([
      { requestId: 'request-1', operation: 'info', code: undefined },
      { requestId: 'request-2', operation: 'no-such', code: 'HsmBadFrame' },
    ]);
    client.send([902, 1_000, 1, 'info', 0, {}, '']);
    await soon(client.closed, 'the end of a connection');
  });

  test('ends a connection that says nothing', async () => {
    const socket = createConnection(path);
    socket.resume();
    await soon(once(socket, 'close'), 'the end of a silent connection');
  });

  test('holds as many connections as allowed', async () => {
    const held = await Promise.all(
      Array.from({ length: CONNECTIONS }, async () => (await FrameClient.connect(path)).greet()),
    );
    for (const client of held) await client.ask('info', {});
    const socket = createConnection(path);
    const chunks: Buffer[] = [];
    socket.on('data', (chunk) => chunks.push(chunk)).on('error', silent);
    await soon(once(socket, 'close'), 'the end of a connection too many');
    expect(chunks).toEqual([]);
    for (const client of held) client.end();
    await Promise.all(held.map(({ closed }) => closed));
  });

  test('drains: what runs is answered, what comes is not, and sessions end', async () => {
    const other = new Service({ machine: fixture.machine, log });
    const place = join(fixture.tokens.directory, 'd');
    await other.listen(place);
    const client = (await FrameClient.connect(place)).greet();
    await client.login('app_user', 'appliance-secret');
    expect(fixture.machine.sessionCount).toBe(1);
    const running = client.ask('login', nobody).catch(codeOf);
    // it has arrived when a later one was answered
    await client.ask('info', {});
    const drained = other.drain();
    const late = client.ask('info', {}).catch(codeOf);
    expect(await running).toBe('HsmCredentialsRefused');
    expect(await late).toBe('KeyspanConnection');
    await drained;
    await client.closed;
    await expect.poll(() => fixture.machine.sessionCount).toBe(0);
    await expect(once(createConnection(place), 'connect')).rejects.toThrow();
  });
});
