import { describe, expect, test } from 'vitest';
import { readMetrics } from '../../src/cli/metrics-text.js';
import { frameOf, frameText, quantile, type Observation } from '../../src/cli/top-frame.js';
import type { StatusDocument } from '../../src/protocol/admin.js';

test('samples are read with their labels', () => {
  const text = [
    '# HELP a nothing{x="y"} 1',
    '# TYPE a counter',
    'a 1',
    String.raw`a{b="c\"\\\n}",d=""} +Inf`,
    'b_bucket{le="0.5"} 1.5e-7',
    '',
  ].join('\n');
  expect(readMetrics(text)).toEqual([
    { name: 'a', labels: {}, value: 1 },
    { name: 'a', labels: { b: 'c"\\\n}', d: '' }, value: Infinity },
    { name: 'b_bucket', labels: { le: '0.5' }, value: 1.5e-7 },
  ]);
});

test('quantiles are even within a bucket', () => {
  const buckets = [
    { bound: 1, count: 0 },
    { bound: 2, count: 10 },
    { bound: 4, count: 20 },
    { bound: Infinity, count: 20 },
  ];
  expect(quantile(buckets, 0.25)).toBe(1.5);
  expect(quantile(buckets, 0.5)).toBe(2);
  expect(quantile(buckets, 0.75)).toBe(3);
  expect(quantile([...buckets.slice(0, 3), { bound: Infinity, count: 40 }], 0.99)).toBe(4);
  expect(quantile([{ bound: 1, count: 0 }], 0.5)).toBe(null);
  expect(quantile([], 0.5)).toBe(null);
});

const ID = 'hsm-aaaaaaaaaaa';

function observation(
  at: number,
  counts: { ok: number; failed: number; asked: number },
): Observation {
  const { ok, failed, asked } = counts;
  const whole = 'keyspan_request_duration_seconds_bucket{action="Encrypt",stage="whole"';
  const text = `
keyspan_requests_total{door="websocket",action="Encrypt",code="ok"} ${ok}
keyspan_requests_total{door="websocket",action="Encrypt",code="DisabledException"} ${failed}
keyspan_requests_total{door="websocket",action="CreateKey",code="ok"} 4
${whole},le="0.001"} 0
${whole},le="0.002"} ${ok}
${whole},le="+Inf"} ${ok + failed}
keyspan_hsm_operations_total{hsm="${ID}"} ${asked}
keyspan_queue_depth{queue="channel",hsm="${ID}"} 3
keyspan_inflight_requests 5
process_resident_memory_bytes 104857600
`;
  const hsm = { id: ID, az: 'us-east-1a', state: 'ACTIVE', eniIp: '127.0.0.1', pid: 7, keys: 9 };
  const cluster = { id: 'cluster-a', hsms: [hsm] };
  const status = { state: 'READY', region: 'us-east-1', cluster } as unknown as StatusDocument;
  return { at, status, samples: readMetrics(text) };
}

describe('a frame', () => {
  const before = observation(1_000, { ok: 100, failed: 0, asked: 70 });

  test('has rates over the interval', () => {
    const frame = frameOf(before, observation(3_000, { ok: 500, failed: 2, asked: 470 }));
    expect(frame).toMatchObject({ state: 'READY', intervalMs: 2_000, inFlight: 5 });
    expect(frame.perSecond).toBe(201);
    const shown = { id: ID, az: 'us-east-1a', state: 'ACTIVE', keys: 9 };
    expect(frame.hsms).toEqual([{ ...shown, inFlight: 3, operationsPerSecond: 200, restarts: 0 }]);
    const [encrypt, create] = frame.actions;
    expect(encrypt).toMatchObject({
      action: 'Encrypt',
      total: 502,
      perSecond: 201,
      failuresPerSecond: 1,
    });
    expect(encrypt?.p50Ms).toBeCloseTo(1.502, 2);
    expect(encrypt?.p99Ms).toBeCloseTo(1.99, 1);
    const quiet = { perSecond: 0, failuresPerSecond: 0, p50Ms: null, p99Ms: null };
    expect(create).toEqual({ action: 'CreateKey', total: 4, ...quiet });
    const text = frameText(frame);
    expect(text).toMatch(/^cluster-a in us-east-1 is READY$/m);
    expect(text).toMatch(/^hsm-aaaaaaaaaaa +us-east-1a +ACTIVE +9 +3 +200 +0$/m);
    expect(text).toMatch(/^Encrypt +502 +201 +1\.0 +1\.50 +1\.99$/m);
    expect(text).toMatch(/^CreateKey +4 +0 +0 +- +-$/m);
  });

  test('of a daemon that was started anew counts from zero', () => {
    const frame = frameOf(before, observation(2_000, { ok: 10, failed: 0, asked: 20 }));
    expect(frame.actions[0]).toMatchObject({ total: 10, perSecond: 10, failuresPerSecond: 0 });
    expect(frame.hsms[0]?.operationsPerSecond).toBe(20);
  });
});
