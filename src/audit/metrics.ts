import { LIMITS } from '../core/limits.js';

/** Upper bounds of a latency histogram's buckets in milliseconds; one more holds the rest. */
export const LATENCY_BUCKETS_MS = [
  0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000,
] as const;

/** What names a series beside its name; values are few, never ids. */
export type Labels = Readonly<Record<string, string>>;

/** How often observations fell into each bucket. */
export class Histogram {
  readonly #buckets = new Float64Array(LATENCY_BUCKETS_MS.length + 1);
  #sum = 0;
  #count = 0;

  observe(ms: number): void {
    let at = 0;
    while (at < LATENCY_BUCKETS_MS.length && ms > (LATENCY_BUCKETS_MS[at] ?? 0)) at += 1;
    this.#buckets[at] = (this.#buckets[at] ?? 0) + 1;
    this.#sum += ms;
    this.#count += 1;
  }

  /** `[suffix, extra labels, value]` with cumulative buckets, as Prometheus counts them. */
  samples(): [string, Labels, number][] {
    const samples: [string, Labels, number][] = [];
    let below = 0;
    for (const [at, bucket] of this.#buckets.entries()) {
      below += bucket;
      const bound = LATENCY_BUCKETS_MS[at];
      samples.push(['_bucket', { le: bound === undefined ? '+Inf' : String(bound) }, below]);
    }
    return [...samples, ['_sum', {}, this.#sum], ['_count', {}, this.#count]];
  }
}

export class Counter {
  value = 0;
}

interface Series<T> {
  readonly name: string;
  readonly labels: Labels;
  readonly held: T;
}

function format(name: string, labels: Labels): string {
  const pairs = Object.entries(labels).map(([label, value]) => `${label}=${JSON.stringify(value)}`);
  return pairs.length === 0 ? name : `${name}{${pairs.join(',')}}`;
}

/**
 * Counters and histograms by name and labels. There are at most LIMITS.metrics_series_max; what
 * goes beyond is counted under its name alone.
 */
export class Metrics {
  readonly #counters = new Map<string, Series<Counter>>();
  readonly #histograms = new Map<string, Series<Histogram>>();

  /** Finds or makes a counter; a caller in a hot path keeps it. */
  counter(name: string, labels: Labels = {}): Counter {
    return this.#find(this.#counters, { name, labels }, () => new Counter());
  }

  histogram(name: string, labels: Labels = {}): Histogram {
    return this.#find(this.#histograms, { name, labels }, () => new Histogram());
  }

  #find<T>(
    all: Map<string, Series<T>>,
    { name, labels }: { name: string; labels: Labels },
    make: () => T,
  ): T {
    const id = format(name, labels);
    const known = all.get(id);
    if (known) return known.held;
    const isFull = this.#counters.size + this.#histograms.size >= LIMITS.metrics_series_max;
    if (isFull && id !== name) return this.#find(all, { name, labels: {} }, make);
    const held = make();
    all.set(id, { name, labels, held });
    return held;
  }

  /** The present values by their Prometheus names, e.g. `keyspan_logins_total{result="ok"}`. */
  snapshot(): Record<string, number> {
    const values: Record<string, number> = {};
    for (const [id, { held }] of this.#counters) values[id] = held.value;
    for (const { name, labels, held } of this.#histograms.values()) {
      for (const [suffix, extra, value] of held.samples()) {
        values[format(name + suffix, { ...labels, ...extra })] = value;
      }
    }
    return values;
  }
}
