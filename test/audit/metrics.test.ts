import { expect, test } from 'vitest';
import { Metrics } from '../../src/audit/metrics.js';
import { LIMITS } from '../../src/core/limits.js';

test('counters are told apart by their labels', () => {
  const metrics = new Metrics();
  metrics.counter('plain').value += 2;
  metrics.counter('labelled', { a: 'x"y', b: '2' }).value += 1;
  metrics.counter('labelled', { a: 'x"y', b: '2' }).value += 1;
  metrics.counter('labelled', { a: 'z', b: '2' }).value += 1;
  expect(metrics.snapshot()).toEqual({
    plain: 2,
    'labelled{a="x\\"y",b="2"}': 2,
    'labelled{a="z",b="2"}': 1,
  });
});

test('a histogram counts cumulatively, the bounds included', () => {
  const metrics = new Metrics();
  const histogram = metrics.histogram('latency');
  for (const ms of [0, 0.1, 0.11, 10_000, 10_001]) histogram.observe(ms);
  const values = metrics.snapshot();
  expect(values['latency_bucket{le="0.1"}']).toBe(2);
  expect(values['latency_bucket{le="0.25"}']).toBe(3);
  expect(values['latency_bucket{le="5000"}']).toBe(3);
  expect(values['latency_bucket{le="10000"}']).toBe(4);
  expect(values['latency_bucket{le="+Inf"}']).toBe(5);
  expect(values['latency_count']).toBe(5);
  expect(values['latency_sum']).toBeCloseTo(20_001.21);
});

test('series are bounded: what goes beyond is counted under its name alone', () => {
  const metrics = new Metrics();
  const count = LIMITS.metrics_series_max + 100;
  for (let i = 0; i < count; i += 1) metrics.counter('many', { i: String(i) }).value += 1;
  const values = metrics.snapshot();
  expect(Object.keys(values).length).toBe(LIMITS.metrics_series_max + 1);
  expect(values['many']).toBe(100);
});
