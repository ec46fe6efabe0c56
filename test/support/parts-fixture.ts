import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RunningCluster } from '../../src/cluster/running-cluster.js';
import { Secrets } from '../../src/cluster/secrets.js';
import type { Call } from '../../src/core/call.js';
import { deadlineIn } from '../../src/core/deadline.js';
import { newRequestId } from '../../src/core/ids.js';
import { silentLog } from '../../src/core/log.js';
import { openClusterParts, type ClusterParts } from '../../src/daemon/cluster-parts.js';
import { readConfig, type DaemonConfig } from '../../src/daemon/config.js';
import { prepareHome } from '../../src/daemon/installation.js';
import { tlsOf } from '../../src/daemon/tls.js';
import { MemoryStore } from '../../src/store/memory.js';
import { InstallationKey, Sealer } from '../../src/store/sealed.js';
import { eventually } from './daemon-fixture.js';

export const newCall = (): Call => ({ requestId: newRequestId(), deadline: deadlineIn(20_000) });

/** The clusters of an installation with real HSM processes, in the test's own process. */
export class PartsFixture implements AsyncDisposable {
  readonly config: DaemonConfig;
  readonly store: MemoryStore;
  readonly secrets: Secrets;
  readonly sealer: Sealer;
  /** civil time */
  readonly clock = { nowMs: Date.now() };
  parts!: ClusterParts;
  #cleanup: (() => PromiseLike<void> | void)[] = [];

  private constructor(config: DaemonConfig) {
    this.config = config;
    this.store = new MemoryStore();
    this.sealer = new Sealer(new InstallationKey(randomBytes(32)));
    this.secrets = new Secrets(this.store, this.sealer);
  }

  /** @param args of the daemon, without its home */
  static async start(args: readonly string[] = []): Promise<PartsFixture> {
    const root = mkdtempSync(join(tmpdir(), 'keyspan-parts-'));
    const fixture = new PartsFixture(await readConfig(['--home', root, ...args]));
    try {
      await prepareHome(fixture.config);
      await fixture.open();
      return fixture;
    } catch (error) {
      await fixture[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** As a daemon does when it starts. */
  async open(): Promise<void> {
    const { config, store, secrets, sealer } = this;
    const nothing = (): void => undefined;
    this.parts = await openClusterParts(
      {
        config,
        store,
        secrets,
        sealer,
        log: silentLog(),
        civil: () => this.clock.nowMs,
        claimed: nothing,
        changed: nothing,
        repaired: nothing,
      },
      this.#cleanup,
    );
    const { clusters } = this.parts;
    await Promise.all(clusters.all.map((cluster) => cluster.start()));
    const { signal } = new AbortController();
    await Promise.all(
      clusters.all.map((one) => one.ready({ timeoutMs: 60_000, settleMs: 60_000, signal })),
    );
    const { own } = clusters;
    if (own?.members.some(({ channel }) => channel)) await tlsOf(own, secrets, []);
  }

  async close(): Promise<void> {
    for (const step of this.#cleanup.splice(0).reverse()) await step();
  }

  get own(): RunningCluster {
    const { own } = this.parts.clusters;
    if (!own) throw new Error('there is no cluster of its own');
    return own;
  }

  /** Until so many HSMs of the cluster serve, and no other is there. */
  async serving(cluster: RunningCluster, count: number): Promise<void> {
    await eventually(async () => {
      const { members } = cluster;
      const isSo = members.length === count && members.every(({ channel }) => channel);
      return isSo ? true : undefined;
    }, `${count} HSMs serve`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
    await this.store[Symbol.asyncDispose]();
    for (const path of [this.config.home.root, this.config.home.runtime]) {
      rmSync(path, { recursive: true, force: true });
    }
  }
}
