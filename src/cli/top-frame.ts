import type { InstallationStatus } from '../protocol/admin.js';
import type { MetricSample } from './metrics-text.js';
import { table } from './output.js';

/** What the daemon said at one instant. */
export interface Observation {
  /** monotonic time in milliseconds */
  readonly at: number;
  readonly status: InstallationStatus;
  readonly samples: readonly MetricSample[];
}

export interface HsmFrame {
  readonly id: string;
  readonly az: string;
  readonly state: string;
  readonly keys: number | null;
  readonly inFlight: number;
  readonly operationsPerSecond: number;
  readonly restarts: number;
}

export interface ActionFrame {
  readonly action: string;
  /** since the daemon was started */
  readonly total: number;
  readonly perSecond: number;
  readonly failuresPerSecond: number;
  /** of the requests in the interval; null when there were none */
  readonly p50Ms: number | null;
  readonly p99Ms: number | null;
}

/** What `keyspan top` shows: the state now, and rates over the interval before. */
export interface Frame {
  readonly state: string;
  readonly cluster: string;
  readonly region: string;
  readonly intervalMs: number;
  readonly inFlight: number;
  readonly perSecond: number;
  readonly memoryBytes: number;
  readonly eventLoopLagMs: number;
  readonly hsms: readonly HsmFrame[];
  readonly actions: readonly ActionFrame[];
}

type Labels = Readonly<Record<string, string>>;

/** Sums over one observation's samples. */
class Sums {
  readonly #samples: readonly MetricSample[];

  constructor(samples: readonly MetricSample[]) {
    this.#samples = samples;
  }

  named(name: string, labels: Labels = {}): readonly MetricSample[] {
    const wanted = Object.entries(labels);
    return this.#samples.filter(
      (sample) =>
        sample.name === name && wanted.every(([label, value]) => sample.labels[label] === value),
    );
  }

  of(name: string, labels: Labels = {}): number {
    return this.named(name, labels).reduce((sum, { value }) => sum + value, 0);
  }
}

/** How much a counter grew; one that fell began anew. */
const growth = (before: number, after: number): number => (after < before ? after : after - before);

export function frameOf(before: Observation, after: Observation): Frame {
  const intervalMs = Math.max(after.at - before.at, 1);
  const [old, now] = [new Sums(before.samples), new Sums(after.samples)];
  const rate = (name: string, labels: Labels = {}): number =>
    (growth(old.of(name, labels), now.of(name, labels)) * 1_000) / intervalMs;
  const { cluster, state, region } = after.status;
  const names = new Set(now.named('keyspan_requests_total').map(({ labels }) => labels['action']));
  const actions = [...names].map((action = '') => {
    const perSecond = rate('keyspan_requests_total', { action });
    const good = rate('keyspan_requests_total', { action, code: 'ok' });
    return {
      action,
      total: now.of('keyspan_requests_total', { action }),
      perSecond,
      failuresPerSecond: Math.max(0, perSecond - good),
      ...quantiles(old, now, action),
    };
  });
  return {
    state,
    cluster: cluster?.id ?? 'no cluster',
    region,
    intervalMs,
    inFlight: now.of('keyspan_inflight_requests'),
    perSecond: rate('keyspan_requests_total'),
    memoryBytes: now.of('process_resident_memory_bytes'),
    eventLoopLagMs: now.of('nodejs_eventloop_lag_seconds') * 1_000,
    hsms: (cluster?.hsms ?? []).map(({ id, az, state: shown, keys }) => ({
      id,
      az,
      state: shown,
      keys,
      inFlight: now.of('keyspan_queue_depth', { queue: 'channel', hsm: id }),
      operationsPerSecond: rate('keyspan_hsm_operations_total', { hsm: id }),
      restarts: now.of('keyspan_hsm_restarts_total', { hsm: id }),
    })),
    actions: actions.sort((a, b) => b.perSecond - a.perSecond || (a.action < b.action ? -1 : 1)),
  };
}

interface Bucket {
  /** seconds */
  readonly bound: number;
  /** observations up to the bound */
  readonly count: number;
}

function quantiles(
  before: Sums,
  after: Sums,
  action: string,
): { p50Ms: number | null; p99Ms: number | null } {
  const labels = { action, stage: 'whole' };
  const name = 'keyspan_request_duration_seconds_bucket';
  const buckets = after.named(name, labels).map(({ labels: { le = '' }, value }) => ({
    bound: Number(le.replace('+Inf', 'Infinity')),
    count: growth(before.of(name, { ...labels, le }), value),
  }));
  const [p50, p99] = [quantile(buckets, 0.5), quantile(buckets, 0.99)];
  return { p50Ms: p50 && p50 * 1_000, p99Ms: p99 && p99 * 1_000 };
}

/**
 * As Prometheus's histogram_quantile: even within a bucket, and the last finite bound for what is
 * above it. @param buckets cumulative, by rising bounds
 */
export function quantile(buckets: readonly Bucket[], share: number): number | null {
  const all = buckets.at(-1)?.count ?? 0;
  if (all === 0) return null;
  const wanted = all * share;
  const at = buckets.findIndex(({ count }) => count >= wanted);
  const { bound, count } = buckets[at] as Bucket;
  const { bound: from, count: below } = buckets[at - 1] ?? { bound: 0, count: 0 };
  if (!Number.isFinite(bound)) return from;
  return from + ((bound - from) * (wanted - below)) / (count - below);
}

const number = (value: number): string => value.toFixed(value < 10 && value > 0 ? 1 : 0);
const time = (value: number | null): string => (value === null ? '-' : value.toFixed(2));

/** A frame for people. */
export function frameText(frame: Frame): string {
  const { cluster, region, hsms, actions } = frame;
  const memory = number(frame.memoryBytes / (1 << 20));
  const lag = time(frame.eventLoopLagMs);
  return [
    `${cluster} in ${region} is ${frame.state}`,
    `${number(frame.perSecond)} requests/s, ${frame.inFlight} in flight; ` +
      `daemon ${memory} MiB, event loop late by ${lag} ms`,
    '',
    table(
      ['HSM', 'AZ', 'STATE', 'KEYS', 'IN FLIGHT', 'OPERATIONS/S', 'RESTARTS'],
      hsms.map((hsm) => [
        hsm.id,
        hsm.az,
        hsm.state,
        String(hsm.keys ?? '-'),
        String(hsm.inFlight),
        number(hsm.operationsPerSecond),
        String(hsm.restarts),
      ]),
    ),
    '',
    table(
      ['ACTION', 'TOTAL', 'REQUESTS/S', 'FAILURES/S', 'P50 MS', 'P99 MS'],
      actions.map((action) => [
        action.action,
        String(action.total),
        number(action.perSecond),
        number(action.failuresPerSecond),
        time(action.p50Ms),
        time(action.p99Ms),
      ]),
    ),
  ].join('\n');
}
