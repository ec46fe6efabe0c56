import { KeyspanError } from '../core/errors.js';
import type { ClusterId, HsmId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import type { HsmState } from '../protocol/admin.js';
import { KEYSPACE } from '../store/keyspace.js';
import type { ClusterView } from './description.js';
import { listClusters } from './facts.js';
import { freeEni, type Block, type Eni } from './network.js';
import type { Repair } from './rising.js';
import { RunningCluster, type RunningClusterOptions } from './running-cluster.js';

export interface ClustersOptions extends Pick<
  RunningClusterOptions,
  'home' | 'store' | 'secrets' | 'log' | 'faults' | 'openBackup' | 'syncMs'
> {
  readonly block: Block;
  /** an HSM's state changed; undefined: it left the cluster */
  readonly changed: (cluster: ClusterId, hsm: HsmId, state: HsmState | undefined) => void;
  readonly repaired: (cluster: ClusterId, hsm: HsmId, repair: Repair) => void;
  /** an HSM joined or left a cluster in which others serve */
  readonly reshaped: (cluster: ClusterId) => void;
}

/** The clusters of an installation while its daemon runs them. */
export class Clusters implements AsyncDisposable {
  readonly #options: ClustersOptions;
  readonly #running = new Map<ClusterId, RunningCluster>();

  private constructor(options: ClustersOptions) {
    this.#options = options;
  }

  /** Opens all that stand in the store; none is started. */
  static async open(options: ClustersOptions): Promise<Clusters> {
    const clusters = new Clusters(options);
    try {
      const ids = await listClusters(options.store);
      const opened = await Promise.allSettled(ids.map((id) => clusters.#open(id)));
      // in their order, also where one was opened sooner
      for (const one of opened) if (one.status === 'fulfilled') clusters.#add(one.value);
      for (const one of opened) if (one.status === 'rejected') throw one.reason;
      return clusters;
    } catch (error) {
      await clusters[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Opens a cluster that was written down. */
  async take(id: ClusterId): Promise<RunningCluster> {
    return this.#add(await this.#open(id));
  }

  #add(cluster: RunningCluster): RunningCluster {
    this.#running.set(cluster.id, cluster);
    return cluster;
  }

  async #open(id: ClusterId): Promise<RunningCluster> {
    const { block, changed, repaired, reshaped, ...common } = this.#options;
    return await RunningCluster.open(
      {
        ...common,
        changed: (hsm, state) => changed(id, hsm, state),
        repaired: (hsm, repair) => repaired(id, hsm, repair),
        reshaped: () => reshaped(id),
        freeEni: () => {
          this.checkRoom();
          return freeEni(block, this.takenEnis());
        },
      },
      id,
    );
  }

  get all(): RunningCluster[] {
    return [...this.#running.values()];
  }

  /** The one that backs KMS; undefined in an installation without one. */
  get own(): RunningCluster | undefined {
    return this.all.find(({ record }) => record.origin === 'installation');
  }

  get(id: string): RunningCluster | undefined {
    return this.#running.get(id as ClusterId);
  }

  /** The cluster of an HSM. */
  holding(hsm: string): RunningCluster | undefined {
    return this.all.find(({ members }) => members.some(({ id }) => id === hsm));
  }

  /** The addresses that HSMs have, in whichever cluster. */
  takenEnis(): Eni[] {
    const records = this.all.flatMap(({ members }) => members.map(({ record }) => record));
    return records.map(({ eniIp: ip, eniPort: port }) => ({ ip, port }));
  }

  /** @throws KeyspanError KeyspanRefused when `more` HSMs would be more than a machine is to run */
  checkRoom(more = 1): void {
    const max = LIMITS.hsms_per_installation_max;
    const running = this.all.reduce((sum, { members }) => sum + members.length, 0);
    if (running + more <= max) return;
    const bound = `hsms_per_installation_max, ${max}`;
    const sentence = `Each HSM is a process of this machine, and its bound is reached (${bound}).`;
    throw new KeyspanError('KeyspanRefused', sentence);
  }

  /** Ends a cluster that has no HSMs, and forgets it. */
  async erase(id: ClusterId): Promise<void> {
    const cluster = this.#running.get(id);
    if (!cluster) return;
    if (cluster.members.length > 0) {
      throw new KeyspanError('KeyspanRefused', `${id} still has HSMs`);
    }
    this.#running.delete(id);
    await cluster[Symbol.asyncDispose]();
    await eraseFacts(this.#options.store, id);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.all.map((cluster) => cluster[Symbol.asyncDispose]()));
  }
}

const WRITES_PER_COMMIT = 100;

/** The cluster's record goes last: what a crash leaves is erased again. */
async function eraseFacts(store: RunningClusterOptions['store'], id: ClusterId): Promise<void> {
  const prefixes = [
    KEYSPACE.ledger(id),
    KEYSPACE.hsms(id),
    KEYSPACE.removedHsms(id),
    KEYSPACE.hsmSecrets(id),
    KEYSPACE.userSecrets(id),
  ];
  const ranges = await Promise.all(prefixes.map((prefix) => store.range(prefix)));
  const found = ranges.flatMap(({ entries }) => entries.map(({ key }) => key));
  const keys = [...found, KEYSPACE.resourceTags(id), KEYSPACE.cluster(id)];
  for (let at = 0; at < keys.length; at += WRITES_PER_COMMIT) {
    const some = keys.slice(at, at + WRITES_PER_COMMIT);
    await store.commit({ compares: [], writes: some.map((key) => ({ op: 'delete', key })) });
  }
}

/** A cluster as descriptions of it show it. */
export const viewOf = ({ record, members }: RunningCluster): ClusterView => ({
  record,
  members: members.map(({ record: hsm, supervisor, isLeaving, isNew }) => ({
    record: hsm,
    state: supervisor.state,
    isLeaving,
    isNew,
  })),
});
