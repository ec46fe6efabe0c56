import { expect, test } from 'vitest';
import { Metrics } from '../../src/audit/metrics.js';
import { LIMITS } from '../../src/core/limits.js';
import { parseMetrics, type Samples } from '../support/metrics-text.js';

const read = async (metrics: Metrics): Promise<Samples> =>
  parseMetrics((await metrics.text()).body);

test('counters are told apart by their labels, whatever stands in them', async () => {
  const metrics = new Metrics();
  metrics.counter('keyspan_certificates_issued_total').value += 2;
  const labels = { door: 'x"y\\z\n', code: '2' };
  metrics.counter('keyspan_refusals_total', labels).value += 1;
  metrics.counter('keyspan_refusals_total', labels).value += 1;
  metrics.counter('keyspan_refusals_total', { ...labels, door: 'z' }).value += 1;
  const samples = await read(metrics);
  expect(samples.get('keyspan_certificates_issued_total')).toBe(2);
  const refusals = 'keyspan_refusals_total';
  expect(samples.get(String.raw`${refusals}{door="x\"y\\z\n",code="2"}`)).toBe(2);
  expect(samples.get(`${refusals}{door="z",code="2"}`)).toBe(1);
});

test('a histogram counts cumulatively, the bounds included, and in seconds', async () => {
  const metrics = new Metrics();
  const name = 'keyspan_request_duration_seconds';
  const histogram = metrics.histogram(name);
  metrics.histogram(name, { stage: 'never' });
  for (const ms of [0, 0.1, 0.11, 10_000, 10_001]) histogram.observe(ms);
  const samples = await read(metrics);
  expect(samples.get(`${name}_bucket{le="0.0001"}`)).toBe(2);
  expect(samples.get(`${name}_bucket{le="0.00025"}`)).toBe(3);
  expect(samples.get(`${name}_bucket{le="5"}`)).toBe(3);
  expect(samples.get(`${name}_bucket{le="10"}`)).toBe(4);
  expect(samples.get(`${name}_bucket{le="+Inf"}`)).toBe(5);
  expect(samples.get(`${name}_count`)).toBe(5);
  expect(samples.get(`${name}_sum`)).toBeCloseTo(20.001_21);
  // what was never observed takes no place
  expect(samples.has(`${name}_count{stage="never"}`)).toBe(false);
});

test('what others count is asked for at each reading', async () => {
  const metrics = new Metrics();
  let asked = 0;
  metrics.watch(() => [{ name: 'keyspan_inflight_requests', value: (asked += 1) }]);
  metrics.watch(async () => [{ name: 'keyspan_hsm_keys', labels: { hsm: 'h' }, value: 7 }]);
  const both = await Promise.all([metrics.text(), metrics.text()]);
  expect(asked).toBe(1);
  expect(both[0]).toBe(both[1]);
  expect(both[0].contentType).toMatch(/^text\/plain; version=0\.0\.4/);
  const samples = await read(metrics);
  expect(samples.get('keyspan_inflight_requests')).toBe(2);
  expect(samples.get('keyspan_hsm_keys{hsm="h"}')).toBe(7);
});

test('a source that fails fails one reading and no other', async () => {
  const metrics = new Metrics();
  let failing = true;
  metrics.watch(() => {
    if (failing) throw new Error('not now');
    return [{ name: 'keyspan_inflight_requests', value: 1 }];
  });
  await expect(metrics.text()).rejects.toThrow('not now');
  failing = false;
  expect((await read(metrics)).get('keyspan_inflight_requests')).toBe(1);
});

test('the process tells of itself', async () => {
  const samples = await read(new Metrics());
  expect(samples.get('process_resident_memory_bytes')).toBeGreaterThan(1 << 20);
  expect(samples.has('nodejs_eventloop_lag_p99_seconds')).toBe(true);
});

test('series are bounded: what goes beyond is counted under its name alone', async () => {
  const metrics = new Metrics();
  const count = LIMITS.metrics_series_max + 100;
  for (let i = 0; i < count; i += 1) {
    metrics.counter('keyspan_logins_total', { result: String(i) }).value += 1;
  }
  const samples = await read(metrics);
  const logins = [...samples.keys()].filter((name) => name.startsWith('keyspan_logins_total'));
  expect(logins.length).toBe(LIMITS.metrics_series_max + 1);
  expect(samples.get('keyspan_logins_total')).toBe(100);
});
