import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { AuditLog } from '../../src/audit/audit-log.js';
import { Events } from '../../src/audit/events.js';
import type { Clock } from '../../src/core/clock.js';
import { LIMITS } from '../../src/core/limits.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

const START = Date.UTC(2030, 0, 2, 3, 4, 5, 6);

class TestClock implements Clock {
  time = START;
  civil = (): number => this.time;
  wire = (): number => 0;
  monotonic = (): number => 0;
}

interface Setup {
  readonly events: Events;
  readonly clock: TestClock;
  /** closes the log and reads its lines */
  readonly lines: () => Promise<unknown[]>;
}

async function setup(): Promise<Setup> {
  const directory = temporaryDirectory();
  const log = await AuditLog.open(directory);
  onTestFinished(() => log[Symbol.asyncDispose]());
  const clock = new TestClock();
  const lines = async (): Promise<unknown[]> => {
    await log[Symbol.asyncDispose]();
    const text = readFileSync(join(directory, 'audit.jsonl'), 'utf8');
    return text
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as unknown);
  };
  return { events: new Events(log, clock), clock, lines };
}

const REQUEST = {
  requestId: 'r-1',
  door: 'websocket',
  principal: 'arn:aws:iam::000000000000:root',
  action: 'Encrypt',
  latencyMs: 0.43217,
};

test('a request leaves one line and moves its counter and its histogram', async () => {
  const { events, clock, lines } = await setup();
  events.requestEvent({ ...REQUEST, resource: 'arn:key', hsm: 'hsm-a', entry: 'hsm-b' });
  clock.time += 1.5;
  events.requestEvent({ ...REQUEST, requestId: 'r-2', code: 'DisabledException', latencyMs: 20 });
  events.requestEvent(REQUEST);
  const counters = events.counters();
  expect(await lines()).toEqual([
    {
      time: '2030-01-02T03:04:05.006Z',
      event: 'request',
      requestId: 'r-1',
      door: 'websocket',
      principal: 'arn:aws:iam::000000000000:root',
      action: 'Encrypt',
      resource: 'arn:key',
      hsm: 'hsm-a',
      latencyMs: 0.432,
      entry: 'hsm-b',
    },
    {
      time: '2030-01-02T03:04:05.007Z',
      event: 'request',
      ...REQUEST,
      requestId: 'r-2',
      code: 'DisabledException',
      latencyMs: 20,
    },
    { time: '2030-01-02T03:04:05.007Z', event: 'request', ...REQUEST, latencyMs: 0.432 },
  ]);
  const name = (code: string): string =>
    `keyspan_requests_total{door="websocket",action="Encrypt",code="${code}"}`;
  expect(counters[name('ok')]).toBe(2);
  expect(counters[name('DisabledException')]).toBe(1);
  const latency = 'keyspan_request_latency_ms';
  const labels = 'door="websocket",action="Encrypt"';
  expect(counters[`${latency}_count{${labels}}`]).toBe(3);
  expect(counters[`${latency}_bucket{${labels},le="0.25"}`]).toBe(0);
  expect(counters[`${latency}_bucket{${labels},le="0.5"}`]).toBe(2);
  expect(counters[`${latency}_bucket{${labels},le="+Inf"}`]).toBe(3);
});

test('every other event too leaves one line and moves one counter', async () => {
  const { events, lines } = await setup();
  const quiet = events.counters();
  events.hsmStateEvent({ cluster: 'c', hsm: 'h', from: 'ACTIVE', to: 'HUNG', reason: 'silent' });
  events.clusterStateEvent({ cluster: 'c', from: 'READY', to: 'DEGRADED' });
  events.loginEvent({ cluster: 'c', user: 'app_user' });
  events.loginEvent({ cluster: 'c', user: 'app_user', code: 'HsmCredentialsRefused' });
  events.refusalEvent({ door: 'websocket', code: 'UnrecognizedClientException' });
  events.keyEvent({ cluster: 'c', key: 'k', step: 'live' });
  events.certificateEvent({ principal: 'p', serial: '01', notAfter: 'then' });
  events.operatorEvent({ action: 'HsmKill', target: 'h' });
  events.daemonEvent({ step: 'started', version: '0', pid: 1 });
  const counters = events.counters();
  const written = (await lines()) as { event: string; time: string }[];
  expect(written.map(({ event }) => event)).toEqual([
    'hsm.state',
    'cluster.state',
    'user.login',
    'user.login',
    'client.refused',
    'key.step',
    'certificate.issued',
    'operator.action',
    'daemon.step',
  ]);
  expect(written[0]).toEqual({
    time: '2030-01-02T03:04:05.006Z',
    event: 'hsm.state',
    cluster: 'c',
    hsm: 'h',
    from: 'ACTIVE',
    to: 'HUNG',
    reason: 'silent',
  });
  const moved = Object.keys(counters).filter((name) => !(name in quiet));
  expect(moved.map((name) => counters[name])).toEqual(Array.from({ length: 9 }, () => 1));
  expect(counters['keyspan_logins_total{result="HsmCredentialsRefused"}']).toBe(1);
});

test('a request with a line that is too long is still told', async () => {
  const { events, lines } = await setup();
  events.requestEvent({ ...REQUEST, resource: 'x'.repeat(LIMITS.audit_line_max_bytes) });
  expect(await lines()).toMatchObject([{ event: 'request', truncated: true }]);
});
