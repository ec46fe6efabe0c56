import type { Duplex } from 'node:stream';
import type { RunningCluster } from '../../cluster/running-cluster.js';
import { LIMITS } from '../../core/limits.js';
import type { P11Options, Slot } from './application.js';
import { Catalogs } from './catalog.js';
import { P11Connection } from './connection.js';

export type P11ServerOptions = Omit<P11Options, 'slots' | 'catalogs'> & {
  /** clusters in state ACTIVE, in the order of their slots */
  readonly clusters: () => readonly RunningCluster[];
};

/** What p11-kit-client.so speaks, over streams of applications that somebody let in. */
export class P11Server implements Disposable {
  readonly #options: P11Options;
  readonly #connections = new Set<P11Connection>();
  readonly #slots = new Map<string, Slot>();
  readonly #catalogs = new Catalogs();
  readonly #clusters: () => readonly RunningCluster[];
  readonly #unwatch: (() => void)[] = [];

  constructor(options: P11ServerOptions) {
    this.#clusters = options.clusters;
    const { clusters: _, ...rest } = options;
    this.#options = { ...rest, slots: () => this.#present(), catalogs: this.#catalogs };
  }

  /** connections that are open */
  get size(): number {
    return this.#connections.size;
  }

  /**
   * Serves one application over a stream.
   * @param cluster the one that it sees; all without it
   */
  accept(stream: Duplex, cluster?: string): void {
    if (this.#connections.size >= LIMITS.p11_connections_max) {
      stream.destroy();
      return;
    }
    const connection = new P11Connection(stream, this.#optionsFor(cluster));
    this.#connections.add(connection);
    stream.once('close', () => this.#connections.delete(connection));
  }

  #optionsFor(cluster: string | undefined): P11Options {
    if (cluster === undefined) return this.#options;
    const slots = (): readonly Slot[] =>
      this.#present().filter((one) => one.cluster.id === cluster);
    return { ...this.#options, slots };
  }

  [Symbol.dispose](): void {
    for (const unwatch of this.#unwatch) unwatch();
    for (const connection of this.#connections) connection.end();
  }

  /** A cluster keeps its number. */
  #present(): readonly Slot[] {
    return this.#clusters().map((cluster) => {
      const known = this.#slots.get(cluster.id);
      if (known?.cluster === cluster) return known;
      const slot = { id: known?.id ?? this.#slots.size + 1, cluster };
      this.#slots.set(cluster.id, slot);
      this.#unwatch.push(cluster.objects.onChange((id) => this.#catalogs.changed(cluster.id, id)));
      return slot;
    });
  }
}
