import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createCluster } from '../../src/cluster/lifecycle.js';
import { freeEni } from '../../src/cluster/network.js';
import { RunningCluster } from '../../src/cluster/running-cluster.js';
import { Secrets } from '../../src/cluster/secrets.js';
import type { Home } from '../../src/core/home.js';
import { silentLog } from '../../src/core/log.js';
import { readConfig } from '../../src/daemon/config.js';
import { addressesOf, ensureAuthorities, prepareHome } from '../../src/daemon/installation.js';
import { MemoryStore } from '../../src/store/memory.js';
import { InstallationKey, Sealer } from '../../src/store/sealed.js';

/** A cluster with real HSM processes in the test's own process, without any door. */
export class ClusterFixture implements AsyncDisposable {
  readonly store: MemoryStore;
  readonly cluster: RunningCluster;
  readonly home: Home;
  readonly secrets: Secrets;

  private constructor(parts: {
    store: MemoryStore;
    cluster: RunningCluster;
    home: Home;
    secrets: Secrets;
  }) {
    this.store = parts.store;
    this.cluster = parts.cluster;
    this.home = parts.home;
    this.secrets = parts.secrets;
  }

  static async start(hsms: number): Promise<ClusterFixture> {
    const root = mkdtempSync(join(tmpdir(), 'keyspan-cluster-'));
    const config = await readConfig(['--home', root, '--hsms', String(hsms)]);
    const { home, region, account } = config;
    await prepareHome(config);
    const store = new MemoryStore();
    const secrets = new Secrets(store, new Sealer(new InstallationKey(randomBytes(32))));
    await ensureAuthorities(store, secrets, config);
    const block = await addressesOf(store, config);
    const id = await createCluster(store, secrets, {
      account,
      region,
      hsms,
      block,
      nowMs: Date.now(),
    });
    const cluster = await RunningCluster.open(
      {
        home,
        store,
        secrets,
        log: silentLog(),
        changed: () => undefined,
        repaired: () => undefined,
        reshaped: () => undefined,
        openBackup: () => Promise.reject(new Error('there are no backups')),
        faults: false,
        freeEni: (taken) => freeEni(block, taken),
      },
      id,
    );
    const fixture = new ClusterFixture({ store, cluster, home, secrets });
    try {
      await cluster.start();
      const { signal } = new AbortController();
      await cluster.ready({ timeoutMs: 60_000, settleMs: 60_000, signal });
      return fixture;
    } catch (error) {
      await fixture[Symbol.asyncDispose]();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cluster[Symbol.asyncDispose]();
    await this.store[Symbol.asyncDispose]();
    for (const path of [this.home.root, this.home.runtime]) {
      rmSync(path, { recursive: true, force: true });
    }
  }
}
