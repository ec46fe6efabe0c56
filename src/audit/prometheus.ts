import { Gauge, Registry, collectDefaultMetrics } from 'prom-client';

/** What names a series beside its name; values are few, never ids of keys or principals. */
export type Labels = Readonly<Record<string, string>>;

export interface Sample {
  /** `_bucket`, `_sum` and `_count` of a histogram */
  readonly suffix?: string;
  readonly labels: Labels;
  readonly value: number;
}

/** All series of one name, read when they are asked for. */
export interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly samples: () => readonly Sample[];
}

type Answer = Awaited<ReturnType<Gauge['get']>>;

/**
 * Numbers that are counted elsewhere. Only what reads the registry is the library's: its own
 * counters cost more a call than a whole event may.
 */
class Reading extends Gauge {
  readonly #family: Family;

  constructor(family: Family, registry: Registry) {
    super({ name: family.name, help: family.help, registers: [registry] });
    this.#family = family;
  }

  override async get(): Promise<Answer> {
    const { name, help, type, samples } = this.#family;
    const values = samples().map(({ suffix = '', labels, value }) => ({
      metricName: name + suffix,
      labels,
      value,
    }));
    // the library's declared type is a number that it does not use
    return { ...(await super.get()), name, help, type: type as unknown as Answer['type'], values };
  }
}

/** Families and the process's own metrics in Prometheus's text format. */
export class Exposition {
  readonly #registry = new Registry();

  constructor(families: readonly Family[]) {
    for (const family of families) void new Reading(family, this.#registry);
    collectDefaultMetrics({ register: this.#registry });
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  async text(): Promise<string> {
    return await this.#registry.metrics();
  }
}
