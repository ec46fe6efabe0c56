import { LIMITS } from '../core/limits.js';
import type { Exposition, Labels, Sample } from './prometheus.js';

/** Upper bounds of a duration histogram's buckets in milliseconds; one more holds the rest. */
export const DURATION_BUCKETS_MS = [
  0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000,
] as const;

/** Every metric with its labels' names in the sentence. Labels are few: no keys, no principals. */
export const METRICS = {
  keyspan_requests_total: {
    type: 'counter',
    help: 'Requests answered, by door, action and code (ok, or the error).',
  },
  keyspan_request_duration_seconds: {
    type: 'histogram',
    help:
      'Duration of requests by action and stage: whole, decide (parsing and authorization), ' +
      'hsm (until the HSM that did the work had answered).',
  },
  keyspan_inflight_requests: { type: 'gauge', help: 'Requests that wait for their answers.' },
  keyspan_queue_depth: {
    type: 'gauge',
    help: 'What waits or runs: queue create, and queue channel for each HSM.',
  },
  keyspan_hsm_state: { type: 'gauge', help: '1 for the state that the HSM is in, else 0.' },
  keyspan_hsm_keys: { type: 'gauge', help: 'HSM keys on the token, while the HSM answers.' },
  keyspan_hsm_operations_total: { type: 'counter', help: 'Operations asked of the HSM.' },
  keyspan_hsm_restarts_total: {
    type: 'counter',
    help: 'Processes of the HSM that were started after the first.',
  },
  keyspan_repairs_total: {
    type: 'counter',
    help:
      'Keys at comparisons of an HSM with the ledger, by kind: copied, updated and discarded ' +
      'were repaired; unknown and conflicting were found, each time anew.',
  },
  keyspan_hsm_state_changes_total: { type: 'counter', help: 'Changes of HSMs to a state.' },
  keyspan_cluster_state_changes_total: { type: 'counter', help: 'Changes of clusters to a state.' },
  keyspan_logins_total: { type: 'counter', help: 'Logins of HSM users by result.' },
  keyspan_refusals_total: { type: 'counter', help: 'Clients turned away, by door and code.' },
  keyspan_key_steps_total: { type: 'counter', help: 'Steps in the lives of HSM keys.' },
  keyspan_certificates_issued_total: { type: 'counter', help: 'Client certificates issued.' },
  keyspan_operator_actions_total: { type: 'counter', help: "The operator's actions by result." },
  keyspan_daemon_steps_total: { type: 'counter', help: 'Starts and ends of the daemon.' },
  keyspan_audit_lines_dropped_total: {
    type: 'counter',
    help: 'Audit lines that could not be written.',
  },
} as const satisfies Record<string, { type: 'counter' | 'gauge' | 'histogram'; help: string }>;

export type MetricName = keyof typeof METRICS;
type NameOf<Type> = {
  [Name in MetricName]: (typeof METRICS)[Name]['type'] extends Type ? Name : never;
}[MetricName];
export type CounterName = NameOf<'counter'>;
export type HistogramName = NameOf<'histogram'>;

/** A number that somebody else counts and that is asked for when the metrics are read. */
export interface Reading {
  readonly name: NameOf<'counter' | 'gauge'>;
  readonly labels?: Labels;
  readonly value: number;
}

type Source = () => Promise<readonly Reading[]> | readonly Reading[];

/** How often observations fell into each bucket. */
export class Histogram {
  readonly #buckets = new Float64Array(DURATION_BUCKETS_MS.length + 1);
  #sumMs = 0;
  #count = 0;

  observe(ms: number): void {
    let at = 0;
    while (at < DURATION_BUCKETS_MS.length && ms > (DURATION_BUCKETS_MS[at] ?? 0)) at += 1;
    this.#buckets[at] = (this.#buckets[at] ?? 0) + 1;
    this.#sumMs += ms;
    this.#count += 1;
  }

  /** Buckets cumulatively and bounds in seconds, as Prometheus has them. */
  samples(labels: Labels): Sample[] {
    if (this.#count === 0) return [];
    let below = 0;
    const buckets = Array.from(this.#buckets, (count, at) => {
      below += count;
      const bound = DURATION_BUCKETS_MS[at];
      const le = bound === undefined ? '+Inf' : String(bound / 1_000);
      return { suffix: '_bucket', labels: { ...labels, le }, value: below };
    });
    return [
      ...buckets,
      { suffix: '_sum', labels, value: this.#sumMs / 1_000 },
      { suffix: '_count', labels, value: this.#count },
    ];
  }
}

export class Counter {
  value = 0;

  samples(labels: Labels): Sample[] {
    return [{ labels, value: this.value }];
  }
}

interface Series {
  readonly name: MetricName;
  readonly labels: Labels;
  readonly held: Counter | Histogram;
}

/** Metrics as they are served. */
export interface MetricsText {
  readonly contentType: string;
  readonly body: string;
}

/**
 * The daemon's numbers. They are plain where they are counted, because that happens for each
 * request; Prometheus's form is made, and its library loaded, when somebody reads them. There are
 * at most LIMITS.metrics_series_max series; what goes beyond is counted under its name alone.
 */
export class Metrics {
  readonly #series = new Map<string, Series>();
  readonly #sources: Source[] = [];
  #readings: readonly Reading[] = [];
  #exposition: Exposition | undefined;
  #reading: Promise<MetricsText> | undefined;

  /** Finds or makes a counter; a caller in a hot path keeps it. */
  counter(name: CounterName, labels: Labels = {}): Counter {
    return this.#find(name, labels, () => new Counter()) as Counter;
  }

  /** Finds or makes a histogram of durations, observed in milliseconds. */
  histogram(name: HistogramName, labels: Labels = {}): Histogram {
    return this.#find(name, labels, () => new Histogram()) as Histogram;
  }

  /** From now on `source` is asked whenever the metrics are read. */
  watch(source: Source): void {
    this.#sources.push(source);
  }

  /** All metrics in Prometheus's text format. Who asks meanwhile gets the same text. */
  text(): Promise<MetricsText> {
    this.#reading ??= this.#read().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  async #read(): Promise<MetricsText> {
    const readings = await Promise.all(this.#sources.map(async (source) => await source()));
    this.#readings = readings.flat();
    const exposition = (this.#exposition ??= await this.#expose());
    return { contentType: exposition.contentType, body: await exposition.text() };
  }

  async #expose(): Promise<Exposition> {
    const prometheus = await import('./prometheus.js');
    const names = Object.keys(METRICS) as MetricName[];
    return new prometheus.Exposition(
      names.map((name) => ({ name, ...METRICS[name], samples: () => this.#samples(name) })),
    );
  }

  #samples(name: MetricName): Sample[] {
    const counted = [...this.#series.values()].filter((series) => series.name === name);
    const read = this.#readings.filter((reading) => reading.name === name);
    return [
      ...counted.flatMap(({ held, labels }) => held.samples(labels)),
      ...read.map(({ labels = {}, value }) => ({ labels, value })),
    ];
  }

  #find(name: MetricName, labels: Labels, make: () => Series['held']): Series['held'] {
    const id = JSON.stringify([name, labels]);
    const known = this.#series.get(id);
    if (known) return known.held;
    const isFull = this.#series.size >= LIMITS.metrics_series_max;
    if (isFull && Object.keys(labels).length > 0) return this.#find(name, {}, make);
    const held = make();
    this.#series.set(id, { name, labels, held });
    return held;
  }
}
