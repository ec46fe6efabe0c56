import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { AuditLog } from '../../src/audit/audit-log.js';
import { Events } from '../../src/audit/events.js';
import { SEAL_START } from '../../src/core/audit-seal.js';
import type { Clock } from '../../src/core/clock.js';
import { LIMITS } from '../../src/core/limits.js';
import { parseMetrics, type Samples } from '../support/metrics-text.js';
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
      .filter((line) => line !== '' && !line.startsWith(SEAL_START))
      .map((line) => {
        const { sequence: _, ...entry } = JSON.parse(line) as Record<string, unknown>;
        return entry;
      });
  };
  return { events: new Events(log, clock), clock, lines };
}

const read = async (events: Events): Promise<Samples> =>
  parseMetrics((await events.metrics.text()).body);

const REQUEST = {
  requestId: 'r-1',
  door: 'websocket',
  principal: 'arn:aws:iam::000000000000:root',
  action: 'Encrypt',
  latencyMs: 0.43217,
};

test('requests to many HSMs by turns are told apart', async () => {
  const { events, lines } = await setup();
  const count = 2 * LIMITS.audit_wordings_each_max + 1;
  const turns = Array.from({ length: 3 * count }, (_, turn) => ({
    ...REQUEST,
    hsm: `hsm-${turn % count}`,
    code: turn % 5 === 0 ? 'HsmBusy' : undefined,
  }));
  for (const event of turns) events.requestEvent(event);
  const written = (await lines()) as { hsm: string; code?: string }[];
  expect(written.map(({ hsm, code }) => [hsm, code])).toEqual(
    turns.map(({ hsm, code }) => [hsm, code]),
  );
});

test('a request leaves one line and moves its counter and its histogram', async () => {
  const { events, clock, lines } = await setup();
  const stages = { decideMs: 0.1, hsmMs: 0.2 };
  const asked = { ...REQUEST, ...stages, resource: 'arn:key', hsm: 'hsm-a', entry: 'hsm-b' };
  events.requestEvent(asked);
  clock.time += 1.5;
  events.requestEvent({ ...REQUEST, requestId: 'r-2', code: 'DisabledException', latencyMs: 20 });
  events.requestEvent(REQUEST);
  const samples = await read(events);
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
  expect(samples.get(name('ok'))).toBe(2);
  expect(samples.get(name('DisabledException'))).toBe(1);
  const duration = 'keyspan_request_duration_seconds';
  const whole = 'action="Encrypt",stage="whole"';
  expect(samples.get(`${duration}_count{${whole}}`)).toBe(3);
  expect(samples.get(`${duration}_bucket{${whole},le="0.00025"}`)).toBe(0);
  expect(samples.get(`${duration}_bucket{${whole},le="0.0005"}`)).toBe(2);
  expect(samples.get(`${duration}_bucket{${whole},le="+Inf"}`)).toBe(3);
  // one of the three asked an HSM
  expect(samples.get(`${duration}_sum{action="Encrypt",stage="decide"}`)).toBe(0.0001);
  expect(samples.get(`${duration}_sum{action="Encrypt",stage="hsm"}`)).toBe(0.0002);
});

test('every other event too leaves one line and moves one counter', async () => {
  const { events, lines } = await setup();
  const quiet = await read(events);
  events.hsmStateEvent({ cluster: 'c', hsm: 'h', from: 'ACTIVE', to: 'HUNG', reason: 'silent' });
  events.clusterStateEvent({ cluster: 'c', from: 'READY', to: 'DEGRADED' });
  events.loginEvent({ cluster: 'c', user: 'app_user' });
  events.loginEvent({ cluster: 'c', user: 'app_user', code: 'HsmCredentialsRefused' });
  events.refusalEvent({ door: 'websocket', code: 'UnrecognizedClientException' });
  events.keyEvent({ cluster: 'c', key: 'k', step: 'live' });
  events.repairEvent({
    cluster: 'c',
    hsm: 'h',
    copied: 3,
    updated: 2,
    discarded: 0,
    unknown: 1,
    conflicting: 0,
  });
  events.certificateEvent({ principal: 'p', serial: '01', notAfter: 'then' });
  events.operatorEvent({ action: 'HsmKill', target: 'h' });
  events.daemonEvent({ step: 'started', version: '0', pid: 1 });
  const samples = await read(events);
  const written = (await lines()) as { event: string; time: string }[];
  expect(written.map(({ event }) => event)).toEqual([
    'hsm.state',
    'cluster.state',
    'user.login',
    'user.login',
    'client.refused',
    'key.step',
    'hsm.repair',
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
  const ours = (name: string): boolean => name.startsWith('keyspan_') && !quiet.has(name);
  const moved = [...samples].filter(([name]) => ours(name));
  const repairs = moved.filter(([name]) => name.startsWith('keyspan_repairs_total'));
  expect(repairs).toEqual([
    ['keyspan_repairs_total{hsm="h",kind="copied"}', 3],
    ['keyspan_repairs_total{hsm="h",kind="updated"}', 2],
    ['keyspan_repairs_total{hsm="h",kind="discarded"}', 0],
    ['keyspan_repairs_total{hsm="h",kind="unknown"}', 1],
    ['keyspan_repairs_total{hsm="h",kind="conflicting"}', 0],
  ]);
  const others = moved.filter((one) => !repairs.includes(one)).map(([, value]) => value);
  expect(others).toEqual(Array.from({ length: 9 }, () => 1));
  expect(samples.get('keyspan_logins_total{result="HsmCredentialsRefused"}')).toBe(1);
});

test('a request with a line that is too long is still told', async () => {
  const { events, lines } = await setup();
  events.requestEvent({ ...REQUEST, resource: 'x'.repeat(LIMITS.audit_line_max_bytes) });
  expect(await lines()).toMatchObject([{ event: 'request', truncated: true }]);
});

test('calls of an API leave records and move the same counters', async () => {
  const { events, lines } = await setup();
  const principal = { arn: REQUEST.principal, type: 'Account', account: '0', names: [] } as const;
  const call = {
    requestId: 'r-1',
    service: 'kms',
    door: 'aws',
    caller: { principal, region: 'eu-central-1' },
    action: 'Encrypt',
    isReadOnly: true,
    latencyMs: 3,
  } as const;
  events.apiCallEvent({ ...call, decideMs: 0.1, hsmMs: 0.2 });
  events.apiCallEvent({ ...call, code: 'DisabledException', message: 'arn is disabled.' });
  events.refusalEvent({
    door: 'aws',
    code: 'InvalidSignatureException',
    call: { requestId: 'r-2', service: 'kms', action: 'Encrypt' },
  });
  const samples = await read(events);
  expect(await lines()).toMatchObject([
    { eventTime: '2030-01-02T03:04:05Z', eventName: 'Encrypt', requestID: 'r-1' },
    { errorCode: 'DisabledException', errorMessage: 'arn is disabled.' },
    { errorCode: 'InvalidSignatureException', userIdentity: { type: 'Unknown' } },
  ]);
  const name = 'keyspan_requests_total{door="aws",action="Encrypt",code=';
  expect(samples.get(`${name}"ok"}`)).toBe(1);
  expect(samples.get(`${name}"DisabledException"}`)).toBe(1);
  const refused = 'keyspan_refusals_total{door="aws",code="InvalidSignatureException"}';
  expect(samples.get(refused)).toBe(1);
  const duration = 'keyspan_request_duration_seconds_count{action="Encrypt",stage=';
  expect(samples.get(`${duration}"whole"}`)).toBe(2);
  expect(samples.get(`${duration}"hsm"}`)).toBe(1);
});
